"""Algorithm 1: phases, what each may change, compilation and determinism."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from checks import assert_bitwise_equal, differ, entry
from probes import Clock, probe_agent, tiny_config

from mlsh_jax import mlsh
from mlsh_jax.agent import master_policy
from mlsh_jax.metrics import behavior_metrics
from mlsh_jax.tasks import sample_tasks

COUNT = functools.partial(optax.tree_utils.tree_get, key="count")


@pytest.fixture(scope="module")
def init(clock_agent):
    return jax.jit(functools.partial(mlsh.init, clock_agent))


@pytest.fixture(scope="module")
def begin(clock_agent):
    """New lives on the three tasks of the clock, in order."""

    @jax.jit
    def begin(key):
        tasks = sample_tasks(clock_agent.env, key, 3, stratify=True)
        return mlsh.begin_lives(clock_agent, key, tasks)

    return begin


@pytest.fixture(scope="module")
def collect(clock_agent):
    return jax.jit(functools.partial(mlsh.collect, clock_agent))


@pytest.fixture(scope="module", params=[(3, 0), (2, 1)], ids=lambda x: f"W={x[0]},U={x[1]}")
def phases(request, clock_agent, init, begin):
    """State and lives before and after W warmup and U joint iterations, W, U and metrics."""
    num_warmup, num_joint = request.param
    state, lives = init(jax.random.key(0)), begin(jax.random.key(1))
    run = functools.partial(
        mlsh.warmup_and_joint,
        clock_agent,
        warmup_iterations=num_warmup,
        joint_iterations=num_joint,
    )
    new, new_lives, metrics = jax.jit(run)(state, lives, jax.random.key(2))
    return (state, lives), (new, new_lives), num_warmup, num_joint, metrics


@pytest.fixture(scope="module")
def two_warmup_iterations(clock_agent):
    return jax.jit(functools.partial(mlsh.warmup, clock_agent, iterations=2))


def test_warmup_leaves_subpolicies_bitwise_unchanged(phases):
    (state, _), (new, _), _, num_joint, _ = phases
    if num_joint == 0:
        assert_bitwise_equal(state.subpolicies, new.subpolicies)
        assert_bitwise_equal(state.learner, new.learner)
    else:
        for k in range(2):
            assert differ(entry(state.subpolicies.params, k), entry(new.subpolicies.params, k))


def test_masters_learn_in_every_iteration_and_subpolicies_in_joint_ones(phases):
    (_, lives), (new, new_lives), num_warmup, num_joint, metrics = phases
    epochs = 2
    np.testing.assert_array_equal(COUNT(new.learner.opt_state), np.full(2, epochs * num_joint))
    steps = np.full(3, epochs * (num_warmup + num_joint))
    np.testing.assert_array_equal(COUNT(new_lives.masters.opt_state), steps)
    for g in range(3):
        assert differ(entry(lives.masters.params, g), entry(new_lives.masters.params, g))
    assert metrics["return"].shape == (num_warmup + num_joint,)
    assert all(np.isfinite(x).all() for x in metrics.values())


def test_meta_iteration_runs_the_phases_of_its_configuration(clock_agent, init, monkeypatch):
    def watched(agent, state, lives, *arguments):
        new, new_lives, metrics = phases(agent, state, lives, *arguments)
        reached = {"count": COUNT(new_lives.masters.opt_state)[None], "began": COUNT(lives)[None]}
        counted = {name: jnp.arange(1.0, 5.0) for name in ("return", "physics_failures")}
        return new, new_lives, metrics | reached | counted

    phases = mlsh.warmup_and_joint
    monkeypatch.setattr(mlsh, "warmup_and_joint", watched)
    state = init(jax.random.key(0))
    new, metrics = jax.jit(functools.partial(mlsh.meta_iteration, clock_agent))(state)
    num_warmup, num_joint, epochs = 2, 2, 2
    np.testing.assert_array_equal(metrics["began"], np.zeros(3))
    np.testing.assert_array_equal(metrics["count"], np.full(3, (num_warmup + num_joint) * epochs))
    np.testing.assert_array_equal(COUNT(new.learner.opt_state), np.full(2, num_joint * epochs))
    # Of the four iterations the last, the first, and all.
    assert (metrics["return"], metrics["return_start"]) == (4.0, 1.0)
    assert metrics["physics_failures"] == 1 + 2 + 3 + 4


@pytest.mark.parametrize(
    ("changes", "iteration"),
    [
        ({}, 2),
        ({"warmup_iterations": 0}, 1),
        ({"balance_usage": False}, 4),
        ({"balance_usage": False, "random_starts": 0.5}, 2),
    ],
)
def test_usage_is_told_of_the_last_iteration_in_which_masters_choose_freely(
    changes, iteration, monkeypatch
):
    def made_up(agent, state, lives, *_):
        counted = jnp.arange(1.0, 5.0)
        metrics = {"return": counted, "physics_failures": counted, "usage": counted[:, None]}
        return state, lives, metrics

    monkeypatch.setattr(mlsh, "warmup_and_joint", made_up)
    config = tiny_config(**{"warmup_iterations": 2, "joint_iterations": 2} | changes)
    agent = probe_agent(Clock(), config)
    _, metrics = mlsh.meta_iteration(agent, mlsh.init(agent, jax.random.key(0)))
    assert metrics["usage_free"].tolist() == [iteration] and metrics["usage"].tolist() == [4]


def test_sub_policies_are_credited_by_the_masters_that_acted(clock_agent, init, monkeypatch):
    acted = []

    def note(agent, subpolicies, learner, rollout, tasks, masters, *_):
        jax.debug.callback(lambda x: acted.append(x.tolist()), COUNT(masters.opt_state))
        return subpolicies, learner, {"task_gradient": jnp.zeros(3)}

    monkeypatch.setattr(mlsh, "update_subpolicies", note)
    jax.jit(functools.partial(mlsh.meta_iteration, clock_agent))(init(jax.random.key(0)))
    jax.effects_barrier()
    # 2 epochs an iteration: not those that have learned from what is credited.
    assert acted == [[4, 4, 4], [6, 6, 6]]


def test_warmup_changes_every_master_and_continues_its_episodes(
    clock_agent, init, begin, two_warmup_iterations
):
    phi = init(jax.random.key(0)).subpolicies
    lives = begin(jax.random.key(1))
    new, metrics = two_warmup_iterations(phi, lives, jax.random.key(2))
    for g in range(3):
        assert differ(entry(lives.masters.params, g), entry(new.masters.params, g))
    assert_bitwise_equal(lives.tasks, new.tasks)
    assert metrics["return"].shape == (2,)
    # 24 steps in episodes of 8: the endless task is at the end of its third episode.
    endless = int(jnp.argmax(lives.tasks.index == 0))
    np.testing.assert_array_equal(new.env_states.info["steps"][endless], np.full(4, 8))


def test_every_life_begins_with_new_masters(begin):
    one, two = begin(jax.random.key(1)), begin(jax.random.key(2))
    masters = [entry(lives.masters.params, g) for lives in (one, two) for g in range(3)]
    for i in range(6):
        assert all(differ(masters[i], masters[j]) for j in range(i))
    for lives in (one, two):
        np.testing.assert_array_equal(COUNT(lives.masters.opt_state), np.zeros(3))
        np.testing.assert_array_equal(lives.masters.statistics.count, np.zeros(3))


def test_every_life_begins_with_new_episodes_of_its_tasks(init, begin, collect):
    phi = init(jax.random.key(0)).subpolicies
    starts = []
    for seed in (1, 2):
        lives = begin(jax.random.key(seed))
        lives, data = collect(phi, lives, jax.random.key(seed))
        first = np.asarray(data.observation[:, 0, 0])  # [G, E, O]
        np.testing.assert_array_equal(first[..., 0], np.zeros((3, 4)))
        end = np.asarray([-1.0, 3.0, 5.0])[lives.tasks.index]
        np.testing.assert_array_equal(first[..., 2], np.repeat(end[:, None], 4, axis=1))
        starts.append(first[..., 1])
        assert (np.asarray(data.weight)[:, 0, 0] == 1).all()
    assert len(np.unique(starts)) == 2 * 3 * 4


def test_masters_act_on_their_own_task_and_learn_from_it_alone(
    clock_agent, init, begin, two_warmup_iterations
):
    phi = init(jax.random.key(0)).subpolicies
    lives = begin(jax.random.key(1))
    order = jnp.asarray([0, 2, 1])
    other = dataclasses.replace(
        lives,
        masters=jax.tree.map(lambda x: x.at[1:].set(x[order[1:]]), lives.masters),
    )
    one = two_warmup_iterations(phi, lives, jax.random.key(2))[0]
    two = two_warmup_iterations(phi, other, jax.random.key(2))[0]
    assert_bitwise_equal(entry(one.masters.params, 0), entry(two.masters.params, 0))
    assert differ(entry(one.masters.params, 1), entry(two.masters.params, 1))


def test_metrics_are_returns_per_episode_and_usage_per_task(clock_agent, init, begin, collect):
    phi = init(jax.random.key(0)).subpolicies
    lives = begin(jax.random.key(1))
    _, data = jax.device_get(collect(phi, lives, jax.random.key(3)))
    metrics = behavior_metrics(clock_agent, lives.tasks, data)
    # An episode has 8 steps, unless it terminates. Rewards are scaled for learners only.
    assert clock_agent.config.reward_scale == 0.5
    assert data.terminated.any()
    returns = np.asarray([data.reward[g].sum() / num_episodes(data, g, 8) for g in range(3)])
    usage = np.asarray([[np.mean(data.subpolicy[g] == k) for k in range(2)] for g in range(3)])
    by_kind = np.argsort(lives.tasks.index)
    np.testing.assert_allclose(metrics["return"], returns.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["task_return"], returns[by_kind], rtol=1e-5)
    np.testing.assert_allclose(metrics["usage"], usage.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(metrics["task_usage"], usage[by_kind], rtol=1e-5)


def num_episodes(data, g, episode_length):
    """Episodes in the rollout of a task, counted one environment after the other."""
    count = 0.0
    _, num_slices, macro_length, num_envs = data.reward.shape
    for e in range(num_envs):
        steps = 0
        for s in range(num_slices):
            steps += macro_length
            if data.terminated[g, s, -1, e]:
                count, steps = count + 1, 0
            elif data.truncated[g, s, e]:
                count, steps = count + steps / episode_length, 0
        count += steps / episode_length
    return count


def test_an_episode_that_terminates_counts_as_a_whole_one(clock_agent, init, begin, collect):
    lives = begin(jax.random.key(1))
    _, data = jax.device_get(collect(init(jax.random.key(0)).subpolicies, lives, jax.random.key(3)))
    num_tasks, num_slices, macro_length, num_envs = data.reward.shape
    assert (clock_agent.env.episode_length, num_slices, macro_length) == (8, 6, 2)
    terminated, truncated = np.zeros_like(data.terminated), np.zeros_like(data.truncated)
    truncated[:, 3] = True
    # Of the first task one environment terminates in its second slice, one in every slice, one in
    # the last one, after an episode that ran into the time limit.
    truncated[0, 3, :2] = False
    terminated[0, 1, -1, 0] = terminated[0, :, -1, 1] = terminated[0, 5, -1, 2] = True
    truncated[0, 5, 0] = True
    ones = np.ones_like(data.reward)
    data = dataclasses.replace(
        data, reward=ones, weight=ones, terminated=terminated, truncated=truncated
    )
    lives = dataclasses.replace(
        lives, tasks=dataclasses.replace(lives.tasks, index=jnp.arange(num_tasks))
    )
    returns = behavior_metrics(clock_agent, lives.tasks, data)["task_return"]
    episodes = (1 + 1) + 6 + (1 + 1) + 1.5 * (num_envs - 3)
    np.testing.assert_allclose(returns, [num_envs * 12 / episodes, 8, 8], rtol=1e-6)
    metrics = behavior_metrics(clock_agent, lives.tasks, data)
    np.testing.assert_allclose(metrics["episodes"], (episodes + 2 * 1.5 * num_envs) / 3, rtol=1e-6)


def test_where_all_physics_fails_at_once_the_return_is_a_number(clock_agent, init, begin, collect):
    lives = begin(jax.random.key(1))
    _, data = jax.device_get(collect(init(jax.random.key(0)).subpolicies, lives, jax.random.key(3)))
    nothing = np.zeros_like(data.reward)
    data = dataclasses.replace(
        data,
        reward=nothing,
        weight=nothing,
        terminated=np.zeros_like(data.terminated),
        truncated=np.ones_like(data.truncated),
        failed=np.ones_like(data.failed),
    )
    metrics = behavior_metrics(clock_agent, lives.tasks, data)
    assert metrics["return"] == 0 and metrics["waiting"] == 1


def test_metrics_count_episodes_whose_physics_failed(clock_agent, init, begin, collect):
    lives = begin(jax.random.key(1))
    _, data = jax.device_get(collect(init(jax.random.key(0)).subpolicies, lives, jax.random.key(3)))
    failed = np.zeros_like(data.failed)
    assert behavior_metrics(clock_agent, lives.tasks, data)["physics_failures"] == 0
    failed[0, 1, 2] = failed[2, 3, 0] = True
    data = dataclasses.replace(data, failed=failed)
    assert behavior_metrics(clock_agent, lives.tasks, data)["physics_failures"] == 2


def test_meta_iteration_compiles_once_and_is_deterministic(init, clock_iteration):
    def three_iterations(seed):
        state, metrics = init(jax.random.key(seed)), []
        for _ in range(3):
            state, last = clock_iteration(state)
            metrics.append(last)
        return state, metrics

    one, again, other = (three_iterations(seed) for seed in (0, 0, 1))
    assert clock_iteration._cache_size() == 1
    assert_bitwise_equal(one, again)
    assert differ(one[0].subpolicies, other[0].subpolicies)
    assert differ(one[1], other[1])


def test_every_iteration_draws_anew(init, clock_iteration):
    state = init(jax.random.key(0))
    new, _ = clock_iteration(state)
    rewound = dataclasses.replace(new, key=state.key)
    assert differ(new.key, state.key)
    assert differ(clock_iteration(new)[0].subpolicies, clock_iteration(rewound)[0].subpolicies)


def test_no_warmup_and_a_single_subpolicy_are_possible():
    config = tiny_config(num_subpolicies=1, warmup_iterations=0, joint_iterations=1)
    agent = probe_agent(Clock(), config)
    state = jax.eval_shape(functools.partial(mlsh.init, agent), jax.random.key(0))
    new, metrics = jax.eval_shape(functools.partial(mlsh.meta_iteration, agent), state)
    assert new == state
    assert metrics["usage"].shape == (1,)
    assert metrics["return_start"].shape == metrics["return"].shape == ()


def usage_of(agent, lives, rollouts):
    """How often masters would choose each sub-policy where slices began, `[G, K]`."""
    policies = jax.vmap(functools.partial(master_policy, agent))(
        lives.masters, rollouts.observation[:, :, 0]
    )
    return policies.probabilities().mean(axis=(1, 2))


@pytest.mark.parametrize("is_on", [True, False])
def test_balanced_masters_use_all_sub_policies_equally_often(
    clock_agent, init, begin, collect, is_on
):
    lives = begin(jax.random.key(1))
    # All masters prefer sub-policy 0, each by as much as it likes.
    params = jax.tree.map(jnp.copy, lives.masters.params)
    bias = params["policy"]["params"]["mlp"]["Dense_1"]["bias"]
    liking = jnp.asarray([3.0, 2.0, 1.0])
    params["policy"]["params"]["mlp"]["Dense_1"]["bias"] = bias.at[:, 0].add(liking)
    lives = dataclasses.replace(lives, masters=dataclasses.replace(lives.masters, params=params))
    state = init(jax.random.key(0))
    _, rollouts = collect(state.subpolicies, lives, jax.random.key(2))
    balanced = mlsh.balance_choices(clock_agent, lives, rollouts, jnp.asarray(is_on))
    usage = usage_of(clock_agent, balanced, rollouts)
    if is_on:
        # As much as each has in common with the others it counts less than these.
        free = np.asarray(usage_of(clock_agent, lives, rollouts))
        in_common = np.array([[np.minimum(a, b).sum() for b in free] for a in free]).sum(axis=1)
        even = np.average(usage, axis=0, weights=1 / in_common)
        np.testing.assert_allclose(even, [0.5, 0.5], atol=1e-3)
        # It is found from masters' own preferences, whatever their bias was before.
        again = mlsh.balance_choices(clock_agent, balanced, rollouts, jnp.asarray(is_on))
        assert_bitwise_equal(again, balanced)
        assert usage[0, 0] > usage[1, 0] > usage[2, 0]
    else:
        assert_bitwise_equal(balanced, lives)
        assert usage.mean(axis=0)[0] > 0.8


def test_choices_are_balanced_in_the_joint_phase_alone(clock_agent, init, begin, monkeypatch):
    def only_the_first(agent, lives, rollouts, is_on):
        bias = jnp.where(is_on, jnp.asarray([50.0, -50.0]), 0.0)
        bias = jnp.broadcast_to(bias, lives.masters.bias.shape)
        return dataclasses.replace(lives, masters=dataclasses.replace(lives.masters, bias=bias))

    monkeypatch.setattr(mlsh, "balance_choices", only_the_first)
    run = functools.partial(
        mlsh.warmup_and_joint, clock_agent, warmup_iterations=3, joint_iterations=2
    )
    state, lives = init(jax.random.key(0)), begin(jax.random.key(1))
    _, after, metrics = jax.jit(run)(state, lives, jax.random.key(2))
    first = np.asarray(metrics["usage"][:, 0])
    assert (first[:3] < 1).all()
    assert (first[3:] == 1).all()
    assert not after.masters.bias.any()
