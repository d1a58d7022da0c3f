"""Algorithm 1: phases, what each may change, compilation and determinism."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from checks import assert_bitwise_equal, differ, entry
from jax.flatten_util import ravel_pytree
from probes import Clock, probe_agent, tiny_config

from mlsh_jax import mlsh
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
def one_joint_iteration(clock_agent):
    return jax.jit(functools.partial(mlsh.joint, clock_agent, iterations=1))


@pytest.fixture(scope="module")
def two_warmup_iterations(clock_agent):
    return jax.jit(functools.partial(mlsh.warmup, clock_agent, iterations=2))


def test_warmup_leaves_subpolicies_bitwise_unchanged(clock_agent, init, monkeypatch):
    # The joint phase is replaced by one that reports what it was given and then marks φ.
    def joint(agent, state, lives, key, iterations):
        given = ravel_pytree((state.subpolicies, state.opt_state))[0]
        metrics = {"return": jnp.zeros(1), "given": given[None], "count": COUNT(lives)[None]}
        marked = jax.tree.map(lambda x: x + 1, state.subpolicies)
        return dataclasses.replace(state, subpolicies=marked), lives, metrics

    monkeypatch.setattr(mlsh, "joint", joint)
    state = init(jax.random.key(0))
    new, metrics = jax.jit(functools.partial(mlsh.meta_iteration, clock_agent))(state)
    before = ravel_pytree((state.subpolicies, state.opt_state))[0]
    np.testing.assert_array_equal(metrics["given"], before)
    # What the iteration returns is what the joint phase returned, and masters did learn before.
    assert_bitwise_equal(new.subpolicies, jax.tree.map(lambda x: x + 1, state.subpolicies))
    warmup_iterations, epochs = 2, 2
    np.testing.assert_array_equal(metrics["count"], np.full(3, warmup_iterations * epochs))


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


def test_joint_phase_changes_masters_and_subpolicies(init, begin, one_joint_iteration):
    state = init(jax.random.key(0))
    lives = begin(jax.random.key(1))
    new, new_lives, metrics = one_joint_iteration(state, lives, jax.random.key(2))
    for k in range(2):
        assert differ(entry(state.subpolicies.params, k), entry(new.subpolicies.params, k))
    for g in range(3):
        assert differ(entry(lives.masters.params, g), entry(new_lives.masters.params, g))
    np.testing.assert_array_equal(COUNT(new.opt_state), [2, 2])
    np.testing.assert_array_equal(COUNT(new_lives.masters.opt_state), [2, 2, 2])
    assert all(np.isfinite(x).all() for x in metrics.values())


def test_every_life_begins_with_new_masters_and_new_episodes(begin):
    one, two = begin(jax.random.key(1)), begin(jax.random.key(2))
    masters = [entry(lives.masters.params, g) for lives in (one, two) for g in range(3)]
    for i in range(6):
        assert all(differ(masters[i], masters[j]) for j in range(i))
    for lives in (one, two):
        np.testing.assert_array_equal(COUNT(lives.masters.opt_state), np.zeros(3))
        np.testing.assert_array_equal(lives.masters.statistics.count, np.zeros(3))
        np.testing.assert_array_equal(lives.env_states.info["steps"], np.zeros((3, 4)))
        np.testing.assert_array_equal(lives.env_states.info["task"][:, 0], lives.tasks.task)
    episodes = np.stack([x.env_states.obs[..., 1] for x in (one, two)])
    assert len(np.unique(episodes)) == 2 * 3 * 4


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


def test_metrics_are_returns_per_episode_and_usage_per_task(clock_agent, init, begin):
    phi = init(jax.random.key(0)).subpolicies
    lives = begin(jax.random.key(1))
    collect = jax.jit(functools.partial(mlsh.collect, clock_agent))
    _, data = jax.device_get(collect(phi, lives, jax.random.key(3)))
    metrics = mlsh.behaviour_metrics(clock_agent, lives.tasks, data)
    # S x N = 12 steps of each environment; an episode has 8. Rewards are scaled for learners only.
    assert clock_agent.config.reward_scale == 0.5
    returns = np.asarray([sum(data.reward[g].ravel()) / 4 / 12 * 8 for g in range(3)])
    usage = np.asarray([[np.mean(data.subpolicy[g] == k) for k in range(2)] for g in range(3)])
    by_kind = np.argsort(lives.tasks.index)
    np.testing.assert_allclose(metrics["return"], returns.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["task_return"], returns[by_kind], rtol=1e-5)
    np.testing.assert_allclose(metrics["usage"], usage.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(metrics["task_usage"], usage[by_kind], rtol=1e-5)


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
