"""Whether sub-policies are all used and whether they differ."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

from mlsh_jax.rl.distributions import Categorical, Gaussian
from mlsh_jax.usage import (
    balancing_bias,
    nearest_divergence,
    separation_warnings,
)

balance = jax.jit(balancing_bias)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 5.0))
def test_with_the_bias_no_choice_has_less_than_half_of_its_share(seed, scale):
    logits = scale * np.random.default_rng(seed).normal(size=(60, 3)) + [4.0, 0.0, -1.0]
    bias = np.asarray(balance(jnp.asarray(logits, jnp.float32)))
    shares = softmax(logits + bias, axis=1).mean(axis=0)
    assert shares.min() > 0.5 / 3 - 0.01
    # Whoever has more than that has it by choice.
    assert (bias >= 0).all() and (shares[bias > 0] < 0.5 / 3 + 0.01).all()


def test_the_bias_is_that_of_a_balanced_assignment(rng):
    logits = rng.normal(size=(40, 4)) + np.asarray([1.0, 0.0, 0.0, -1.0])
    # The dual of what has to be at least: the least of a convex function, of biases from 0 on.
    dual = scipy.optimize.minimize(
        lambda b: logsumexp(logits + b, axis=1).mean() - 0.5 * b.mean(),
        np.zeros(4),
        bounds=[(0, None)] * 4,
        tol=1e-12,
    )
    assert sorted(dual.x > 0) == [False, False, False, True]
    np.testing.assert_allclose(balance(jnp.asarray(logits, jnp.float32)), dual.x, atol=1e-3)


def test_each_task_keeps_the_choice_it_likes_comparatively_best():
    # All prefer choice 0, the last one by less.
    logits = jnp.asarray([[6.0, 0.0], [6.0, 0.0], [6.0, 0.0], [1.0, 0.0]])
    assert (logits + balance(logits)).argmax(axis=1).tolist() == [0, 0, 0, 1]


def test_who_is_chosen_often_enough_is_left_alone(rng):
    # As 6 of 9 tasks want the same, 2 another and 1 a third choice.
    logits = 5.0 * jnp.eye(3)[jnp.repeat(jnp.arange(3), jnp.asarray([5, 2, 2]))]
    np.testing.assert_array_equal(balance(logits), 0.0)


def test_a_choice_that_nobody_makes_is_made_after_balancing():
    logits = jnp.asarray([[40.0, 0.0]] * 10)
    np.testing.assert_allclose(jax.nn.softmax(logits + balance(logits))[0], [0.75, 0.25], atol=0.01)


def test_divergence_is_that_from_the_most_similar_sub_policy(rng):
    logits = rng.normal(size=(3, 20, 4))
    logits[2] = logits[0] + 0.01 * rng.normal(size=(20, 4))
    probabilities = softmax(logits, axis=-1)

    def kl(i, j):
        p, q = probabilities[i], probabilities[j]
        return (p * np.log(p / q)).sum(axis=-1).mean()

    def mean(i, j):
        return (kl(i, j) + kl(j, i)) / 2

    expected = [mean(0, 2), min(mean(1, 0), mean(1, 2)), mean(0, 2)]
    got = nearest_divergence(Categorical(jnp.asarray(logits)))
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_means_beyond_what_environments_take_are_no_difference():
    mean = jnp.asarray([[[2.0, -3.0]], [[9.0, -1.0]], [[9.0, 0.0]]])
    got = nearest_divergence(Gaussian(mean, jnp.zeros_like(mean)))
    np.testing.assert_allclose(got, [0.0, 0.0, 0.5], atol=1e-6)


@pytest.mark.parametrize(
    ("divergence", "usage", "expected"),
    [
        ([2.0, 3.0], [[1.0, 0.0], [0.0, 1.0]], []),
        ([0.02, 2.0, 0.02], [], ["sub-policies 0 and 2 act alike"]),
        ([2.0, 2.0], [[1.0, 0.0], [0.995, 0.005]], ["sub-policy 1 is never used"]),
        # It serves one task of many.
        ([2.0, 2.0], [[1.0, 0.0]] * 200 + [[0.0, 1.0]], []),
        (
            [0.0, 0.0, 0.0],
            [[1.0, 0.0, 0.0]],
            [
                "sub-policies 0, 1 and 2 each act like another one",
                "sub-policies 1 and 2 are never used",
            ],
        ),
        ([], [], []),
    ],
)
def test_a_person_is_told_what_has_not_separated(divergence, usage, expected):
    lines = separation_warnings(divergence, usage)
    assert [line[: len(text)] for line, text in zip(lines, expected, strict=True)] == expected
    page, heading = "docs/choosing_k_n_w_u.md", "Symptoms"
    assert all(line.endswith(f"; {page} says under {heading} what to try") for line in lines)
    assert f"\n## {heading}\n" in (Path(__file__).parents[1] / page).read_text()
