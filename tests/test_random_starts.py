"""Episodes that begin with another sub-policy than was chosen (`MLSHConfig.random_starts`)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import assert_bitwise_equal, differ
from probes import Clock, probe_agent
from rollouts import AGENT, CONFIG, E, G, K, N, S, make_rollout, updating

from mlsh_jax import mlsh
from mlsh_jax.metrics import behavior_metrics
from mlsh_jax.rollout import Starts, memoryless, rollout, start_episodes
from mlsh_jax.tasks import sample_tasks

TASK, NUM_ENVS = 0, 20  # of episodes that do not terminate


@pytest.mark.parametrize("goes_on", [False, True])
def test_starts_act_at_the_start_of_episodes_and_all_else_is_as_chosen(rng, goes_on):
    env = AGENT.env
    behavior = memoryless(
        choose=lambda observation, key: jax.random.randint(key, observation.shape[:1], 0, K),
        act=lambda observation, k, key: k,
    )
    state = start_episodes(env, jax.random.key(0), TASK, NUM_ENVS)
    if not goes_on:
        state = state.replace(done=jnp.ones_like(state.done))
    play = jax.jit(lambda starts: rollout(
        env, behavior, jax.random.key(1), TASK, state, (), starts, num_slices=S, macro_length=N
    )[2])  # fmt: skip
    free = play(None)
    assert not free.imposed.any()
    first, length = rng.integers(0, K, (S, NUM_ENVS)), rng.integers(0, 8, (S, NUM_ENVS))
    data = play(Starts(jnp.asarray(first), jnp.asarray(length)))
    np.testing.assert_array_equal(data.subpolicy, free.subpolicy)
    expected = np.repeat(np.asarray(free.subpolicy), N, axis=0)  # [S * N, E]
    for s in [3] if goes_on else [0, 3]:  # where episodes of 9 steps begin
        for e in range(NUM_ENVS):
            expected[s * N : s * N + length[s, e], e] = first[s, e]
    expected = expected.reshape(S, N, NUM_ENVS)
    np.testing.assert_array_equal(data.action, expected)
    # Where the same one was chosen all is as it was chosen.
    np.testing.assert_array_equal(data.imposed, expected != free.subpolicy[:, None])
    assert 0 < data.imposed.mean() < 0.5


def test_sub_policies_learn_nothing_from_steps_that_were_imposed(phi, rng):
    hierarchy = dataclasses.replace(CONFIG, credit="hierarchy")
    update = updating(dataclasses.replace(AGENT, config=hierarchy))
    data, other = make_rollout(rng), make_rollout(rng)
    length = np.where(rng.random((G, S, 1, E)) < 0.4, rng.integers(1, N + 1, (G, S, 1, E)), 0)
    some = jnp.asarray(np.arange(N)[:, None] < length)  # the first steps of some slices

    def learn(imposed, mixed):
        there = some & mixed
        new = data.replace(
            imposed=some & imposed,
            reward=jnp.where(there, other.reward * data.weight, data.reward),
            action=jnp.where(there, other.action, data.action),
        )
        subpolicies, learner, _ = update(*phi, new, jax.random.key(5))
        return subpolicies.params, learner.critics, learner.opt_state

    assert_bitwise_equal(learn(True, False), learn(True, True))
    for one, two in zip(learn(False, False), learn(False, True), strict=True):
        assert differ(one, two)
    for one, two in zip(learn(False, False), learn(True, False), strict=True):
        assert differ(one, two)


@pytest.fixture(scope="module")
def agent():
    config = dataclasses.replace(
        CONFIG, random_starts=0.5, num_tasks=G, num_envs=40, steps_per_iteration=40 * S * N
    )
    # A rollout is an episode, so that none begins in the middle of one.
    return probe_agent(Clock(), config, episode_length=S * N)


@pytest.fixture(scope="module")
def lives(agent):
    tasks = sample_tasks(agent.env, jax.random.key(0), G, stratify=True)
    return jax.jit(functools.partial(mlsh.begin_lives, agent))(jax.random.key(1), tasks)


def test_a_share_of_the_joint_phase_begins_at_random(agent, lives):
    joint = jnp.asarray([True, False, True])
    draw = jax.jit(functools.partial(mlsh.random_starts, agent))
    starts = jax.device_get(draw(lives, jax.random.key(2), joint))
    assert starts.length.shape == starts.subpolicy.shape == (G, S, 40)
    assert (starts.length[1] == 0).all()
    begin = starts.length[[0, 2]]
    assert np.mean(begin > 0) == pytest.approx(0.5, abs=0.1)  # of 320
    assert set(np.unique(begin)) == set(range(S * N // 2 + 1))
    for k in range(K):
        assert np.mean(starts.subpolicy == k) == pytest.approx(0.5, abs=0.1)


def test_starts_are_random_in_the_joint_phase_alone(agent, lives, monkeypatch):
    def with_imposed(agent, tasks, rollouts):
        return behavior_metrics(agent, tasks, rollouts) | {"imposed": rollouts.imposed.mean()}

    monkeypatch.setattr(mlsh, "behavior_metrics", with_imposed)
    run = functools.partial(mlsh.warmup_and_joint, agent, warmup_iterations=3, joint_iterations=2)
    state = jax.jit(functools.partial(mlsh.init, agent))(jax.random.key(3))
    imposed = np.asarray(jax.jit(run)(state, lives, jax.random.key(4))[2]["imposed"])
    assert (imposed[:3] == 0).all()
    assert (imposed[3:] > 0.02).all()  # of half the episodes a quarter, if another one was chosen
