"""Statistics over seeds against plain calculations."""

import numpy as np
import pytest
import scipy.stats

from mlsh_jax.statistics import (
    interquartile_interval,
    interquartile_mean,
    probability_of_improvement,
    profile_interval,
)


def test_interquartile_mean_leaves_out_a_quarter_at_either_end():
    assert interquartile_mean([1000.0, 1.0, 2.0, 3.0, 4.0, -500.0, 3.0, 2.0]) == 2.5
    assert interquartile_mean([7.0]) == 7.0


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(60):
        interval = interquartile_interval(rng.normal(3.0, 1.0, 12))
        assert interval.low <= interval.estimate <= interval.high
        hits += interval.low <= 3.0 <= interval.high
    assert 48 <= hits <= 60


def test_interval_of_equal_values_is_that_value():
    assert interquartile_interval([2.0, 2.0, 2.0]) == pytest.approx((2.0, 2.0, 2.0))
    assert str(interquartile_interval([2.0])) == "2.00 [2.00, 2.00]"


def test_of_seeds_and_tasks_whole_seeds_are_drawn():
    # The middle half of 1 2 3 4 5 6 7 8; a seed with all of its tasks is drawn or is not.
    values = np.array([[1.0, 8.0, 3.0, 6.0], [5.0, 4.0, 7.0, 2.0]])
    interval = interquartile_interval(values)
    assert interval.estimate == scipy.stats.trim_mean(values.ravel(), 0.25) == 4.5
    assert (interval.low, interval.high) == (4.5, 4.5)  # as either seed alone
    apart = interquartile_interval(values + np.array([[0.0], [10.0]]))
    assert (apart.low, apart.high) == (4.5, 14.5)


def test_probability_of_improvement_is_the_share_of_pairs_that_are_won(rng):
    ones, others = rng.integers(0, 4, (5, 3)), rng.integers(0, 4, (7, 3))
    of_tasks = [scipy.stats.mannwhitneyu(ones[:, m], others[:, m]).statistic / 35 for m in range(3)]
    interval = probability_of_improvement(ones, others)
    assert interval.estimate == pytest.approx(np.mean(of_tasks))
    assert interval.low <= interval.estimate <= interval.high
    back = probability_of_improvement(others, ones)
    assert back.estimate == pytest.approx(1 - interval.estimate)
    assert probability_of_improvement(ones + 9, others) == pytest.approx((1.0, 1.0, 1.0))


def test_whole_runs_are_drawn_and_not_tasks():
    # One run wins on all tasks and one loses on all: a sample has either, both or one of them.
    ones, others = np.array([[1.0] * 50, [-1.0] * 50]), np.zeros((1, 50))
    assert probability_of_improvement(ones, others) == (0.5, 0.0, 1.0)
    assert probability_of_improvement(others, ones) == (0.5, 0.0, 1.0)
    assert profile_interval(ones, np.array([0.0])) == [(0.5, 0.0, 1.0)]


def test_the_interval_of_a_probability_covers_it_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    truth = scipy.stats.norm.cdf(1 / np.sqrt(2))
    hits = 0
    for _ in range(60):
        interval = probability_of_improvement(
            rng.normal(1.0, 1.0, (15, 1)), rng.normal(0.0, 1.0, (15, 1))
        )
        hits += interval.low <= truth <= interval.high
    assert 50 <= hits <= 60


def test_a_profile_is_the_share_of_scores_that_are_reached():
    scores = np.array([[0.1, 0.5], [0.9, 0.5], [0.5, 0.2]])
    profile = profile_interval(scores, np.array([0.0, 0.5, 0.6]))
    np.testing.assert_allclose([point.estimate for point in profile], [1.0, 4 / 6, 1 / 6])
    assert profile[0] == (1.0, 1.0, 1.0)
    assert profile[2].low == 0.0 < profile[2].high
