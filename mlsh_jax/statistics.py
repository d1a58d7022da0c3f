"""Statistics over seeds (Agarwal et al. 2021, arXiv 2108.13264)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_RESAMPLES = 10_000


class Interval(NamedTuple):
    """An estimate and what it may be instead.

    Attributes:
        estimate: of the values.
        low: lower end of the interval.
        high: upper end.
    """

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        """The estimate and the interval, for tables."""
        return f"{self.estimate:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interquartile_mean(values: Sequence[float] | np.ndarray) -> float:
    """The mean of the middle half of the values."""
    return float(_trimmed(np.asarray(values)))


def interquartile_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """The interquartile mean over seeds and its 95 % percentile-bootstrap interval.

    Args:
        values: one per seed, at least one; of a single one the interval is the value.
    """
    array = np.asarray(values, np.float64)
    rows = np.random.default_rng(0).integers(0, len(array), (_RESAMPLES, len(array)))
    means = _trimmed(array[rows])
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(interquartile_mean(array), float(low), float(high))


def _trimmed(values: np.ndarray) -> np.ndarray:
    """Means `[...]` of the middle halves of `[..., R]`."""
    import scipy.stats  # takes a second, for which every experiment would wait

    return np.asarray(scipy.stats.trim_mean(values, 0.25, axis=-1))
