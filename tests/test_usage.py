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
    service_warnings,
)

balance = jax.jit(balancing_bias)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 5.0))
def test_with_the_bias_all_choices_are_made_equally_often(seed, scale):
    logits = scale * np.random.default_rng(seed).normal(size=(1, 60, 3)) + [4.0, 0.0, -1.0]
    bias = np.asarray(balance(jnp.asarray(logits, jnp.float32)))
    np.testing.assert_allclose(softmax(logits[0] + bias, axis=1).mean(axis=0), 1 / 3, atol=0.02)
    assert abs(bias.mean()) < 1e-5


def test_the_bias_is_that_of_a_balanced_assignment(rng):
    logits = rng.normal(size=(3, 40, 4)) + np.asarray([1.0, 0.0, 0.0, -1.0])
    usage = softmax(logits, axis=-1).mean(axis=1)
    weight = np.array([1 / sum(np.minimum(a, b).sum() for b in usage) for a in usage])
    weight /= weight.sum()
    # The dual: the only stationary point of a convex function.
    dual = scipy.optimize.minimize(
        lambda b: weight @ logsumexp(logits + b, axis=-1).mean(axis=1) - b.mean(),
        np.zeros(4),
        tol=1e-10,
    )
    expected = dual.x - dual.x.mean()
    np.testing.assert_allclose(balance(jnp.asarray(logits, jnp.float32)), expected, atol=1e-3)


def test_each_task_keeps_the_choice_it_likes_comparatively_best():
    # Both prefer choice 0, the second one by less.
    logits = jnp.asarray([[[6.0, 0.0]], [[3.0, 0.0]]])
    assert (logits[:, 0] + balance(logits)).argmax(axis=1).tolist() == [0, 1]


def test_tasks_that_want_the_same_count_as_one():
    # 6 of 9 tasks want the same, 2 another and 1 a third choice: nobody has to give way.
    wanted = jnp.repeat(jnp.arange(3), jnp.asarray([6, 2, 1]))
    np.testing.assert_allclose(balance(20.0 * jnp.eye(3)[wanted][:, None]), 0.0, atol=1e-4)
    # Copies of all tasks change nothing either.
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 3)))
    np.testing.assert_allclose(balance(jnp.repeat(logits, 3, axis=0)), balance(logits), atol=1e-4)


def test_a_choice_that_nobody_makes_is_made_after_balancing():
    logits = jnp.asarray([[[40.0, 0.0]]] * 10)
    chosen = jax.nn.softmax(logits + balance(logits))[0, 0]
    np.testing.assert_allclose(chosen, [0.5, 0.5], atol=0.01)


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


def test_tasks_that_are_not_served_are_told_where_it_is_known_what_is_possible():
    returns = {"a": 8.4, "b": 8.6, "c": 2.0, "d": -3.0, "e": 0.0, "f": float("nan")}
    best = {"a": 10.0, "b": 10.0, "c": 4.0, "d": -1.0, "f": 1.0}
    (line,) = service_warnings(returns, best)
    assert "less than 0.85 of what is possible on 2 of 6 tasks, least on c (2 of 4)" in line
    assert service_warnings({"b": 8.6}, best) == [] and service_warnings(returns, {}) == []


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
