"""Who learns from which steps, and what is kept of a life, checked on rollouts made by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from checks import assert_bitwise_equal, differ, entry
from probes import Clock, probe_agent
from rollouts import (
    AGENT,
    CONFIG,
    TASKS,
    E,
    G,
    K,
    N,
    S,
    make_rollout,
    update_phi,
    update_theta,
    updating,
)

from mlsh_jax.agent import hierarchy
from mlsh_jax.learners import init_master, init_subpolicies, update_master


def normalizing(agent):
    """The same agent with observation statistics at both levels."""
    levels = {
        level: dataclasses.replace(getattr(agent.config, level), normalize_observations=True)
        for level in ("master", "subpolicy")
    }
    return dataclasses.replace(agent, config=dataclasses.replace(agent.config, **levels))


@pytest.mark.parametrize("active", range(K))
def test_inactive_subpolicy_is_left_bitwise_unchanged(phi, rng, active):
    subpolicies, learner = phi
    data = make_rollout(rng, subpolicy=np.full((G, S, E), active))
    new, new_learner, _ = update_phi(subpolicies, learner, data, jax.random.key(5))
    before, after = (
        (phi.params, learner.critics, learner.opt_state)
        for phi, learner in ((subpolicies, learner), (new, new_learner))
    )
    assert_bitwise_equal(entry(before, 1 - active), entry(after, 1 - active))
    for old_part, new_part in zip(entry(before, active), entry(after, active), strict=True):
        assert differ(old_part, new_part)


@pytest.mark.parametrize("k", range(K))
def test_subpolicy_does_not_depend_on_slices_in_which_it_was_inactive(phi, rng, k):
    data = make_rollout(rng)
    other = make_rollout(rng, subpolicy=data.subpolicy)
    own = data.subpolicy == k
    assert 0 < own.mean() < 1

    def mix(a, b):
        # Axes up to E are [G, S, N, E] or [G, S, E].
        mask = own[:, :, None] if a.shape[2:4] == (N, E) else own
        return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, b)

    mixed = jax.tree.map(mix, data, other)
    one, two = (update_phi(*phi, d, jax.random.key(5)) for d in (data, mixed))
    assert_bitwise_equal(entry(one[0].params, k), entry(two[0].params, k))
    assert_bitwise_equal(entry(one[1].critics, k), entry(two[1].critics, k))
    assert_bitwise_equal(entry(one[1].opt_state, k), entry(two[1].opt_state, k))
    assert differ(entry(one[0].params, 1 - k), entry(two[0].params, 1 - k))


def test_steps_after_termination_teach_nothing(phi, rng):
    data = make_rollout(rng)
    dead = data.weight == 0
    assert dead.any()
    other = make_rollout(rng)
    mixed = data.replace(
        observation=jnp.where(dead[..., None], other.observation, data.observation),
        action=jnp.where(dead, 1 - data.action, data.action),
    )
    one, two = (update_phi(*phi, d, jax.random.key(5))[0].params for d in (data, mixed))
    assert_bitwise_equal(one, two)


def test_final_observation_of_a_terminated_slice_teaches_nothing(phi, theta, rng):
    data = make_rollout(rng)
    over = data.terminated[:, :, -1, :, None]
    moved = jnp.where(over, data.next_observation + 1, data.next_observation)
    changed = data.replace(next_observation=moved)
    one, two = (update_phi(*phi, d, jax.random.key(5)) for d in (data, changed))
    assert_bitwise_equal(one, two)
    masters = [update_theta(theta, entry(d, 0), jax.random.key(5))[0] for d in (data, changed)]
    assert_bitwise_equal(masters[0].params, masters[1].params)
    # That of the other slices does.
    changed = data.replace(next_observation=data.next_observation + 1)
    three = update_phi(*phi, changed, jax.random.key(5))
    assert differ(three[0].params, two[0].params)
    assert differ(three[1].critics, two[1].critics)


def test_master_statistics_belong_to_its_life_and_count_macro_observations(rng):
    agent = normalizing(AGENT)
    fresh = jax.jit(functools.partial(init_master, agent))(jax.random.key(1))
    assert fresh.statistics.count == 0
    data = entry(make_rollout(rng), 0)
    new, _ = jax.jit(functools.partial(update_master, agent))(fresh, data, jax.random.key(0))
    start = np.asarray(data.observation[:, 0]).reshape(-1, 3)
    assert new.statistics.count == S * E
    np.testing.assert_allclose(new.statistics.mean, start.mean(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(new.statistics.variance, start.var(axis=0), rtol=1e-3)


def test_subpolicy_statistics_count_living_steps_of_all_tasks(phi, rng):
    agent = normalizing(AGENT)
    data = make_rollout(rng)
    statistics = updating(agent)(*phi, data, jax.random.key(0))[0].statistics
    seen = np.asarray(data.observation)[np.asarray(data.weight) > 0]
    assert statistics.count == len(seen)
    np.testing.assert_allclose(statistics.mean, seen.mean(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(statistics.variance, seen.var(axis=0), rtol=1e-3)


def test_critics_have_statistics_of_all_that_they_have_seen(rng):
    """Of the whole observation and the task, over updates, and of steps that count alone."""
    config = dataclasses.replace(normalizing(AGENT).config, task_critic=True)
    agent = probe_agent(Clock(), config, episode_length=9)
    phi, learner = jax.jit(functools.partial(init_subpolicies, agent))(jax.random.key(0))
    update = updating(agent)
    seen = []
    for seed in range(2):
        data = make_rollout(rng)
        phi, learner, _ = update(phi, learner, data, jax.random.key(seed))
        views = agent.critic_view(data.observation, TASKS)
        seen.append(np.asarray(views, np.float64)[np.asarray(data.weight) > 0])
    expected = np.concatenate(seen)
    assert expected.shape[1] == agent.critic_size > len(agent.subpolicy_indices)
    assert learner.statistics.count == phi.statistics.count == len(expected)
    np.testing.assert_allclose(learner.statistics.mean, expected.mean(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(learner.statistics.variance, expected.var(axis=0), rtol=1e-3)


def test_without_normalization_statistics_stay_empty(phi, theta, rng):
    data = make_rollout(rng)
    assert update_phi(*phi, data, jax.random.key(0))[0].statistics.count == 0
    assert update_theta(theta, entry(data, 0), jax.random.key(0))[0].statistics.count == 0


def test_masters_see_only_the_place_if_asked_to(rng):
    class Placed(Clock):
        place_indices = (1,)

    config = dataclasses.replace(CONFIG, master_sees_place_only=True)
    agent = probe_agent(Placed(), config, episode_length=9)
    assert probe_agent(Placed(), CONFIG, episode_length=9).master_indices == (0, 1, 2)
    fresh = jax.jit(functools.partial(init_master, agent))(jax.random.key(1))
    update = jax.jit(functools.partial(update_master, agent))
    data = entry(make_rollout(rng), 0)
    hidden = jnp.asarray([5.0, 0.0, -5.0])
    moved = data.replace(
        observation=data.observation + hidden, next_observation=data.next_observation + hidden
    )
    one, two = (update(fresh, d, jax.random.key(0))[0] for d in (data, moved))
    assert_bitwise_equal(one, two)
    placed = data.replace(observation=data.observation + hidden[::-1] + 1)
    assert differ(update(fresh, placed, jax.random.key(0))[0].params, one.params)
    phi, _ = jax.jit(functools.partial(init_subpolicies, agent))(jax.random.key(0))
    choose = hierarchy(agent, phi, one).choose
    observation = jnp.asarray(rng.normal(size=(100, 3)), jnp.float32)
    seen, same = (choose(o, (), jax.random.key(2))[0] for o in (observation, observation + hidden))
    np.testing.assert_array_equal(seen, same)


def test_new_masters_differ_and_have_new_optimizers(theta):
    other = jax.jit(functools.partial(init_master, AGENT))(jax.random.key(2))
    assert differ(theta.params, other.params)
    assert optax.tree_utils.tree_get(other.opt_state, "count") == 0
