"""How the two levels of the hierarchy act, and what each of them sees."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Clock, probe_agent, tiny_config

from mlsh_jax.agent import all_policies, hierarchy, master_policy
from mlsh_jax.errors import ConfigError
from mlsh_jax.learners import init_master, init_subpolicies
from mlsh_jax.rl.normalization import RunningStatistics, init_statistics

CONFIG = tiny_config(macro_length=3, num_envs=2, steps_per_iteration=24)
AGENT = probe_agent(Clock(), CONFIG, episode_length=9)


@pytest.fixture(scope="module")
def phi():
    return jax.jit(functools.partial(init_subpolicies, AGENT))(jax.random.key(0))


@pytest.fixture(scope="module")
def theta():
    return jax.jit(functools.partial(init_master, AGENT))(jax.random.key(1))


def test_subpolicies_see_only_their_part_of_the_observation(rng):
    class Narrow(Clock):
        subpolicy_observation_indices = (2, 0)

    agent = probe_agent(Narrow(), CONFIG, episode_length=9)
    observation = jnp.asarray(rng.normal(size=(4, 3)))
    np.testing.assert_array_equal(agent.subpolicy_view(observation), observation[:, [2, 0]])
    subpolicies, _ = jax.jit(functools.partial(init_subpolicies, agent))(jax.random.key(0))
    assert subpolicies.statistics.mean.shape == (2,)
    act = hierarchy(
        agent, subpolicies, jax.jit(functools.partial(init_master, agent))(jax.random.key(1))
    ).act
    k = jnp.zeros(4, jnp.int32)
    hidden_moved = observation.at[:, 1].add(100.0)
    for seed in range(5):
        a, b = (act(o, k, (), jax.random.key(seed))[0] for o in (observation, hidden_moved))
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("forced", [-1, 0, 1])
def test_forcing_overrides_the_master_and_minus_one_does_not(phi, theta, forced):
    observation = jax.random.normal(jax.random.key(0), (200, 3))
    choose = hierarchy(AGENT, phi[0], theta, jnp.asarray(forced)).choose
    free, _ = hierarchy(AGENT, phi[0], theta).choose(observation, (), jax.random.key(2))
    got, _ = choose(observation, (), jax.random.key(2))
    assert set(np.unique(free)) == {0, 1}
    np.testing.assert_array_equal(got, free if forced < 0 else np.full(200, forced))


def test_episodes_must_consist_of_whole_slices():
    with pytest.raises(ConfigError, match=r"^macro_length: 3 .* 8 "):
        probe_agent(Clock(), CONFIG, episode_length=8)
    probe_agent(Clock(), CONFIG, episode_length=9)


def test_both_levels_act_on_observations_as_they_learn_from_them(phi, theta, rng):
    observation = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    mean, deviation = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.5, 2.0, 3.0])
    seen = RunningStatistics(jnp.float32(9), mean, deviation**2)
    nothing = init_statistics(3)

    def of_master(statistics, observation):
        master = dataclasses.replace(theta, statistics=statistics)
        return master_policy(AGENT, master, observation).logits

    def of_subpolicies(statistics, observation):
        subpolicies = dataclasses.replace(phi[0], statistics=statistics)
        return all_policies(AGENT, subpolicies, observation).logits

    for logits in (of_master, of_subpolicies):
        got, raw = logits(seen, observation), logits(nothing, observation)
        expected = logits(nothing, (observation - mean) / deviation)
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)
        assert not np.allclose(got, raw, rtol=1e-3, atol=1e-5)
