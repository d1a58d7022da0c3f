"""Generalized advantages agree with a plain Python loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import gae_loop
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlsh_jax.rl.returns import generalized_advantages, standardize

T = 6
advantages = jax.jit(generalized_advantages)
NUMBERS = hnp.arrays(np.float32, T, elements=st.floats(-10, 10, width=32))
FLAGS = hnp.arrays(bool, T)


@settings(deadline=None, max_examples=100)
@given(NUMBERS, NUMBERS, NUMBERS, FLAGS, FLAGS, st.floats(0, 1), st.floats(0, 1))
def test_gae_matches_a_python_loop_with_truncation(
    reward, value, next_value, terminated, last, discount, gae_lambda
):
    got = advantages(
        reward, value, next_value, terminated, last, discount=discount, gae_lambda=gae_lambda
    )
    expected = gae_loop(reward, value, next_value, terminated, last, discount, gae_lambda)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_gae_treats_trailing_axes_as_independent_environments(rng):
    reward, value, next_value = rng.normal(size=(3, T, 2, 3))
    terminated, last = rng.random(size=(2, T, 2, 3)) < 0.3
    data = (reward, value, next_value, terminated, last)
    got = advantages(*data, discount=0.9, gae_lambda=0.8)
    for i in np.ndindex(2, 3):
        expected = gae_loop(*(x[:, *i] for x in data), 0.9, 0.8)
        np.testing.assert_allclose(got[:, *i], expected, rtol=1e-4, atol=1e-5)


def test_lambda_one_gives_discounted_returns_and_lambda_zero_one_step_errors():
    reward = jnp.asarray([1.0, 2.0, 4.0])
    value = jnp.asarray([10.0, 20.0, 30.0])
    next_value = jnp.asarray([20.0, 30.0, 40.0])
    never = jnp.zeros(3, bool)
    whole = advantages(reward, value, next_value, never, never, discount=0.5, gae_lambda=1.0)
    np.testing.assert_allclose(whole + value, [1 + 1 + 1 + 5, 2 + 2 + 10, 4 + 20])
    one_step = advantages(reward, value, next_value, never, never, discount=0.5, gae_lambda=0.0)
    np.testing.assert_allclose(one_step + value, [1 + 10, 2 + 15, 4 + 20])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_standardized_advantages_have_mean_zero_and_deviation_one_where_they_count(rng, scale):
    advantage = rng.normal(5, scale, size=(4, 25)).astype(np.float32)
    weight = (rng.random((4, 25)) < 0.6).astype(np.float32)
    got = np.asarray(standardize(jnp.asarray(advantage), jnp.asarray(weight)))
    counted = advantage[weight > 0].astype(np.float64)
    expected = (counted - counted.mean()) / counted.std()
    np.testing.assert_allclose(got[weight > 0], expected, rtol=1e-2, atol=1e-2)
    assert (got[weight == 0] == 0).all()


def test_advantages_that_spread_less_than_they_have_to_stay_small():
    small = jnp.asarray([0.1, -0.1, 0.1, -0.1])
    np.testing.assert_allclose(standardize(small, jnp.ones(4), 0.2), small / 0.2, rtol=1e-4)
    np.testing.assert_allclose(standardize(small, jnp.ones(4), 0.05), 10 * small, rtol=1e-4)


def test_standardizing_equal_or_no_advantages_gives_zeros():
    np.testing.assert_array_equal(standardize(jnp.full((8,), 2.0), jnp.ones(8)), jnp.zeros(8))
    np.testing.assert_array_equal(standardize(jnp.arange(8.0), jnp.zeros(8)), jnp.zeros(8))


@pytest.mark.parametrize("changed", range(5))
def test_shapes_that_would_only_broadcast_are_refused(rng, changed):
    data = [np.zeros((T, 3), np.float32) for _ in range(5)]
    data[changed] = data[changed][:, :1]
    with pytest.raises(AssertionError, match="shape"):
        generalized_advantages(*data, discount=0.9, gae_lambda=0.8)
    with pytest.raises(AssertionError, match="shape"):
        standardize(jnp.zeros((T, 3)), jnp.ones((T, 1)))
