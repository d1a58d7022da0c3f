"""Episodes that begin with another sub-policy than was chosen (`MLSHConfig.random_starts`)."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import assert_bitwise_equal, differ
from probes import Clock, probe_agent
from rollouts import AGENT, CONFIG, E, G, K, N, S, make_rollout, updating

from mlsh_jax import mlsh
from mlsh_jax.rollout import memoryless, rollout, start_episodes
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
    starts = rng.integers(-1, K, (S, NUM_ENVS))
    data = play(jnp.asarray(starts))
    expected = np.array(free.subpolicy)
    episodes = [range(3), range(3, S)]  # an episode of 9 steps, and what there is of the next one
    for e in range(NUM_ENVS):
        for slices in episodes[goes_on:]:
            for s in itertools.takewhile(lambda s, e=e: starts[s, e] >= 0, slices):
                expected[s, e] = starts[s, e]
    np.testing.assert_array_equal(data.subpolicy, expected)
    np.testing.assert_array_equal(data.action, np.repeat(expected[:, None], N, axis=1))
    # One that was chosen anyway is a choice like all others.
    np.testing.assert_array_equal(data.imposed, expected != free.subpolicy)
    assert 0 < data.imposed.sum() < (starts >= 0).sum()


def test_sub_policies_learn_nothing_from_slices_that_were_imposed(phi, rng):
    hierarchy = dataclasses.replace(CONFIG, credit="hierarchy")
    update = updating(dataclasses.replace(AGENT, config=hierarchy))
    data, other = make_rollout(rng), make_rollout(rng)
    some = jnp.asarray(rng.random((G, S, E)) < 0.4)

    def learn(imposed, mixed):
        there = some[:, :, None] & mixed
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
    drawn = np.asarray(draw(lives, jax.random.key(2), joint))
    assert drawn.shape == (G, S, 40)
    assert (drawn[1] == -1).all()
    for k in range(K):  # half of 320 slices, a quarter for each
        assert np.mean(drawn[[0, 2]] == k) == pytest.approx(0.25, abs=0.08)


def test_who_is_needless_is_judged_by_choices_of_the_joint_phase(agent, lives, monkeypatch):
    """Not by what was drawn, nor by the warmup."""

    def first(agent, lives, key, is_joint):
        return jnp.full((G, S, 40), jnp.where(is_joint & (jnp.arange(S) < 2), 0, -1)[:, None])

    def second(agent, lives, rollouts, is_on):  # is chosen in the joint phase
        bias = jnp.where(is_on, jnp.asarray([-50.0, 50.0]), 0.0)
        bias = jnp.broadcast_to(bias, lives.masters.bias.shape)
        return dataclasses.replace(lives, masters=dataclasses.replace(lives.masters, bias=bias))

    judged = {}

    def find_needless(agent, metrics, tasks, usage, paid):
        judged.update(usage=usage, paid=paid, reported=metrics["usage"])
        return jnp.zeros(K, bool)

    monkeypatch.setattr(mlsh, "random_starts", first)
    monkeypatch.setattr(mlsh, "balance_choices", second)
    monkeypatch.setattr(mlsh, "find_needless", find_needless)

    @jax.jit
    def run(state, lives, key):
        mlsh.warmup_and_joint(agent, state, lives, key, warmup_iterations=3, joint_iterations=2)
        return judged

    state = jax.jit(functools.partial(mlsh.init, agent))(jax.random.key(3))
    judged = run(state, lives, jax.random.key(4))
    assert judged["usage"].shape == (2, G, K) and judged["paid"].shape == (2, G)
    np.testing.assert_array_equal(judged["usage"][..., 1], 1.0)
    np.testing.assert_array_equal(judged["reported"][3:, 0], 2 / S)


def test_starts_are_random_in_the_joint_phase_alone(agent, lives, monkeypatch):
    def second(agent, lives, key, is_joint):
        return jnp.full((G, S, 40), jnp.where(is_joint, 1, -1))

    monkeypatch.setattr(mlsh, "random_starts", second)
    run = functools.partial(mlsh.warmup_and_joint, agent, warmup_iterations=3, joint_iterations=2)
    state = jax.jit(functools.partial(mlsh.init, agent))(jax.random.key(3))
    used = np.asarray(jax.jit(run)(state, lives, jax.random.key(4))[2]["usage"][:, 1])
    assert (used[:3] < 0.9).all()
    assert (used[3:] == 1).all()
