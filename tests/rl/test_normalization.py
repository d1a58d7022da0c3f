"""Running statistics agree with NumPy on all the data at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlsh_jax.rl.normalization import init_statistics, normalize, update_statistics

update = jax.jit(update_statistics)
OBSERVATIONS = hnp.arrays(
    np.float32, (3, 2, 4, 2), elements=st.floats(-100, 100, width=32).map(lambda x: round(x, 2))
)
WEIGHTS = hnp.arrays(np.float32, (3, 2, 4), elements=st.sampled_from([0.0, 1.0]))


def merge(batches, weights):
    """Statistics after a sequence of batches `[B, ..., O]` with weights `[B, ...]`."""
    data = zip(batches, weights, strict=True)
    return functools.reduce(lambda s, x: update(s, *x), data, init_statistics(batches.shape[-1]))


@settings(deadline=None, max_examples=60)
@given(OBSERVATIONS, WEIGHTS)
def test_merged_batches_have_the_moments_of_the_concatenation(batches, weights):
    statistics = merge(batches, weights)
    seen = batches[weights > 0].astype(np.float64)
    assert statistics.count == len(seen)
    if len(seen):
        np.testing.assert_allclose(statistics.mean, seen.mean(axis=0), rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(statistics.variance, seen.var(axis=0), rtol=1e-3, atol=1e-2)


def test_order_and_size_of_batches_do_not_matter(rng):
    data = jnp.asarray(rng.normal(3, 2, size=(64, 2)), jnp.float32)
    whole = update(init_statistics(2), data, jnp.ones(64))
    parts = merge(data[::-1].reshape(4, 16, 2), jnp.ones((4, 16)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), whole, parts)


def test_batch_without_weight_leaves_statistics_bitwise_unchanged(rng):
    data = jnp.asarray(rng.normal(5, 3, size=(8, 2)), jnp.float32)
    before = update(init_statistics(2), data, jnp.ones(8))
    after = update(before, data * 7, jnp.zeros(8))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_nothing_seen_means_identity(rng):
    observation = jnp.asarray(rng.normal(0, 1000, size=(5, 2)), jnp.float32)
    np.testing.assert_array_equal(normalize(init_statistics(2), observation), observation)


def test_seen_data_become_standard(rng):
    data = jnp.asarray(rng.normal([30.0, -2.0], [5.0, 0.1], size=(1000, 2)), jnp.float32)
    standard = normalize(update(init_statistics(2), data, jnp.ones(1000)), data)
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-2)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=1e-2)


def test_outliers_are_clipped_to_ten_standard_deviations():
    statistics = update(init_statistics(1), jnp.asarray([[-1.0], [1.0]]), jnp.ones(2))
    got = normalize(statistics, jnp.asarray([[1e6], [-1e6], [5.0]]))
    np.testing.assert_allclose(got[:, 0], [10.0, -10.0, 5.0], rtol=1e-5)


def test_constant_feature_stays_finite():
    statistics = update(init_statistics(1), jnp.full((4, 1), 2.0), jnp.ones(4))
    assert normalize(statistics, jnp.asarray([2.0])) == 0
