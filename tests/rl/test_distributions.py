"""Action distributions agree with SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from mlsh_jax.rl.distributions import Categorical, Gaussian

NUM_SAMPLES = 20_000


@pytest.fixture
def logits(rng):
    return rng.normal(size=(5, 4)).astype(np.float32) * 2


@pytest.fixture
def gaussian(rng):
    mean = rng.normal(size=(5, 3)).astype(np.float32)
    log_std = rng.uniform(-1, 0.5, size=(3,)).astype(np.float32)
    return Gaussian(mean=jnp.asarray(mean), log_std=jnp.asarray(log_std))


def test_categorical_log_prob_and_entropy_match_scipy(logits):
    distribution = Categorical(jnp.asarray(logits))
    log_probs = scipy.special.log_softmax(logits, axis=-1)
    for action in range(4):
        got = distribution.log_prob(jnp.full((5,), action))
        np.testing.assert_allclose(got, log_probs[:, action], rtol=1e-5, atol=1e-6)
    expected = scipy.stats.entropy(np.exp(log_probs), axis=-1)
    np.testing.assert_allclose(distribution.entropy(), expected, rtol=1e-5)


def test_categorical_samples_have_the_frequencies_of_the_softmax(logits):
    keys = jax.random.split(jax.random.key(0), NUM_SAMPLES)
    samples = jax.vmap(Categorical(jnp.asarray(logits)).sample)(keys)  # [samples, 5]
    assert samples.dtype == jnp.int32
    frequency = np.stack([(np.asarray(samples) == a).mean(axis=0) for a in range(4)], axis=-1)
    np.testing.assert_allclose(frequency, scipy.special.softmax(logits, axis=-1), atol=0.015)


def test_categorical_mode_is_the_most_probable_action(logits):
    np.testing.assert_array_equal(Categorical(jnp.asarray(logits)).mode(), logits.argmax(axis=-1))


def test_categorical_survives_impossible_actions():
    distribution = Categorical(jnp.asarray([0.0, -1e9]))
    assert distribution.entropy() == 0
    assert distribution.log_prob(jnp.asarray(0)) == 0


def test_gaussian_log_prob_and_entropy_match_scipy(gaussian, rng):
    action = rng.normal(size=(5, 3)).astype(np.float32)
    scale = np.exp(gaussian.log_std)
    expected = scipy.stats.norm.logpdf(action, gaussian.mean, scale).sum(axis=-1)
    np.testing.assert_allclose(gaussian.log_prob(jnp.asarray(action)), expected, rtol=1e-4)
    entropy = scipy.stats.norm.entropy(scale=scale).sum()
    np.testing.assert_allclose(gaussian.entropy(), np.full(5, entropy), rtol=1e-5)


def test_gaussian_samples_have_the_moments_of_the_distribution(gaussian):
    keys = jax.random.split(jax.random.key(0), NUM_SAMPLES)
    samples = np.asarray(jax.vmap(gaussian.sample)(keys))  # [samples, 5, 3]
    np.testing.assert_allclose(samples.mean(axis=0), gaussian.mean, atol=0.05)
    expected = np.broadcast_to(np.exp(gaussian.log_std), (5, 3))
    np.testing.assert_allclose(samples.std(axis=0), expected, rtol=0.03)
    correlation = np.corrcoef(samples.reshape(NUM_SAMPLES, -1).T)
    assert np.abs(correlation - np.eye(15)).max() < 0.05


def test_gaussian_mode_is_the_mean(gaussian):
    np.testing.assert_array_equal(gaussian.mode(), gaussian.mean)


def test_distributions_can_be_mapped_and_indexed(logits, gaussian):
    first = jax.tree.map(lambda x: x[0], Categorical(jnp.asarray(logits)))
    np.testing.assert_allclose(first.entropy(), Categorical(jnp.asarray(logits)).entropy()[0])
    wide = Gaussian(gaussian.mean, jnp.broadcast_to(gaussian.log_std, gaussian.mean.shape))
    mapped = jax.vmap(lambda d: d.entropy())(wide)
    np.testing.assert_allclose(mapped, gaussian.entropy(), rtol=1e-6)


def test_categorical_divergence_matches_scipy(logits):
    other = logits[::-1]
    got = Categorical(jnp.asarray(logits)).kl_divergence(Categorical(jnp.asarray(other)))
    p, q = (scipy.special.softmax(x, axis=-1) for x in (logits, other))
    np.testing.assert_allclose(got, scipy.stats.entropy(p, q, axis=-1), rtol=1e-4, atol=1e-6)


def test_gaussian_divergence_is_the_mean_difference_of_log_probabilities(gaussian, rng):
    other = Gaussian(mean=gaussian.mean + 0.3, log_std=gaussian.log_std - 0.2)
    keys = jax.random.split(jax.random.key(1), NUM_SAMPLES)
    samples = jax.vmap(gaussian.sample)(keys)  # [samples, 5, 3]
    differences = gaussian.log_prob(samples) - other.log_prob(samples)
    got = gaussian.kl_divergence(other)
    np.testing.assert_allclose(got, differences.mean(axis=0), rtol=0.05)
    np.testing.assert_allclose(gaussian.kl_divergence(gaussian), np.zeros(5), atol=1e-6)
