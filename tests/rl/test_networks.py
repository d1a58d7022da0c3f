"""Networks and the stacking of sub-policies."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import tiny_ppo

from mlsh_jax.rl.networks import for_all, init_stack, make_network, select


def stack(network):
    """Parameters of three sub-policies."""
    return jax.jit(functools.partial(init_stack, network, count=3))(jax.random.key(0))


@pytest.mark.parametrize(("discrete", "activation"), [(True, "tanh"), (False, "swish")])
def test_network_maps_any_leading_axes(discrete, activation):
    network = make_network(tiny_ppo(activation=activation), 3, 4, discrete=discrete, critic_size=3)
    params = jax.jit(network.init)(jax.random.key(0))
    observation = jax.random.normal(jax.random.key(1), (2, 5, 3))
    assert network.value(params, observation).shape == (2, 5)
    distribution = network.policy(params, observation)
    assert distribution.entropy().shape == (2, 5)
    assert distribution.sample(jax.random.key(2)).shape == ((2, 5) if discrete else (2, 5, 4))
    one = network.policy(params, observation[1, 2])
    np.testing.assert_allclose(one.entropy(), distribution.entropy()[1, 2], rtol=1e-5)


def test_an_untrained_categorical_policy_is_nearly_uniform():
    network = make_network(tiny_ppo(hidden_sizes=(64, 64)), 3, 4, discrete=True, critic_size=3)
    observation = jax.random.normal(jax.random.key(1), (100, 3))
    entropy = network.policy(jax.jit(network.init)(jax.random.key(0)), observation).entropy()
    assert entropy.min() > 0.99 * np.log(4)


def test_policy_and_value_share_no_parameters():
    network = make_network(tiny_ppo(), 3, 4, discrete=True, critic_size=3)
    params = jax.jit(network.init)(jax.random.key(0))
    observation = jnp.ones(3)
    of_value = jax.grad(network.value)(params, observation)
    of_policy = jax.grad(lambda p: network.policy(p, observation).log_prob(jnp.asarray(1)))(params)
    used = [jax.tree.map(lambda g: bool((g != 0).any()), x) for x in (of_value, of_policy)]
    for leaf in jax.tree.leaves(jax.tree.map(lambda a, b: a and b, *used)):
        assert not leaf
    assert all(any(jax.tree.leaves(x)) for x in used)


def test_stacked_subpolicies_start_different():
    network = make_network(tiny_ppo(), 3, 4, discrete=True, critic_size=3)
    params = stack(network)
    values = jax.vmap(network.value, in_axes=(0, None))(params, jnp.ones(3))
    assert len(np.unique(np.asarray(values))) == 3


def test_select_picks_the_named_entry_at_every_position(rng):
    stacked = jnp.asarray(rng.normal(size=(3, 2, 5, 4)))
    index = jnp.asarray(rng.integers(0, 3, size=(2, 5)))
    got = select({"wide": stacked, "narrow": stacked[..., 0]}, index)
    for i in np.ndindex(2, 5):
        np.testing.assert_array_equal(got["wide"][i], stacked[index[i]][i])
        np.testing.assert_array_equal(got["narrow"][i], stacked[index[i]][i][0])


@pytest.mark.parametrize("discrete", [True, False])
def test_the_active_subpolicy_acts(discrete, rng):
    network = make_network(tiny_ppo(), 3, 4, discrete=discrete, critic_size=3)
    params = stack(network)
    observation = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    k = jnp.asarray([0, 1, 2, 2, 1, 0])
    mode = select(for_all(network.policy, params, observation), k)
    for e in range(6):
        own = jax.tree.map(lambda x, e=e: x[k[e]], params)
        expected = network.policy(own, observation[e])
        jax.tree.map(
            lambda got, want, e=e: np.testing.assert_allclose(got[e], want, rtol=1e-4, atol=1e-6),
            mode,
            expected,
        )
