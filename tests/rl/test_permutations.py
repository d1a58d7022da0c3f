"""Orders of rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsh_jax.rl.permutations import order_by, random_order

sort_once = jax.jit(order_by)


@settings(deadline=None)
@given(size=st.sampled_from([1, 2, 7, 300]), kinds=st.integers(1, 16), seed=st.integers(0, 2**31))
def test_positions_are_in_stable_order_of_their_values(size, kinds, seed):
    values = np.random.default_rng(seed).integers(0, kinds, size)
    expected = np.argsort(values, kind="stable")
    np.testing.assert_array_equal(sort_once(jnp.asarray(values)), expected)


@pytest.mark.parametrize("size", [1, 2, 7, 256, 257, 12_800])
def test_every_position_comes_once(size):
    order = np.asarray(random_order(jax.random.key(size), size))
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_all_permutations_are_equally_likely():
    keys = jax.random.split(jax.random.key(0), 24_000)
    orders = np.asarray(jax.vmap(lambda key: random_order(key, 4))(keys))
    _, counts = np.unique(orders @ 4 ** np.arange(4), return_counts=True)
    assert len(counts) == 24
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_squared < 52.0  # 23 degrees of freedom; 1 in 2000 is larger


def test_minibatches_of_a_large_batch_are_random():
    size, num_minibatches = 100_000, 10  # 15 random bits: each row shares them with two others
    order = np.asarray(random_order(jax.random.key(1), size))
    minibatch = np.empty(size, int)
    minibatch[order] = np.repeat(np.arange(num_minibatches), size // num_minibatches)
    # Neighbors are in the same minibatch as often as chance has it.
    together = (minibatch[1:] == minibatch[:-1]).mean()
    assert abs(together - 1 / num_minibatches) < 0.004
    for part in np.split(minibatch, 10):
        counts = np.bincount(part, minlength=num_minibatches)
        assert abs(counts - 1000).max() < 130
