"""Statistics over seeds against plain calculations."""

import numpy as np
import pytest

from mlsh_jax.statistics import interquartile_interval, interquartile_mean


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
