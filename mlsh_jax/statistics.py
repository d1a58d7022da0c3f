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
    """The interquartile mean over seeds, or over seeds and tasks, and its 95 % interval.

    A percentile bootstrap that draws seeds, each with all of its tasks.

    Args:
        values: one per seed, `[R]`, or one per seed and task, `[R, M]`; at least one. Of a single
            seed the interval is the value.
    """
    array = np.asarray(values, np.float64)
    rows = np.random.default_rng(0).integers(0, len(array), (_RESAMPLES, len(array)))
    means = _trimmed(array[rows].reshape(_RESAMPLES, -1))
    return Interval(interquartile_mean(array.ravel()), *_ends(means))


def probability_of_improvement(ones: np.ndarray, others: np.ndarray) -> Interval:
    """How probable it is that a run does better on a task than a run of another method.

    The Mann-Whitney statistic, on average over tasks (Agarwal et al. 2021, section 4.3), and its
    95 % percentile-bootstrap interval; half of a draw counts.

    Args:
        ones: scores of R runs on M tasks, `[R, M]`.
        others: of the other method, `[R', M]`.
    """
    wins = (1 + np.sign(ones[:, None] - others)).mean(axis=-1) / 2  # [R, R']
    rng = np.random.default_rng(0)
    of_ones, of_others = (_resampled(rng, count) for count in wins.shape)
    means = np.einsum("br,rs,bs->b", of_ones, wins, of_others)
    return Interval(float(wins.mean()), *_ends(means))


def profile_interval(scores: np.ndarray, thresholds: np.ndarray) -> list[Interval]:
    """The performance profile: which share of runs and tasks has a score of at least a threshold.

    With 95 % percentile-bootstrap intervals (Agarwal et al. 2021, section 4.2).

    Args:
        scores: of R runs on M tasks, `[R, M]`.
        thresholds: `[I]`.
    """
    reached = (scores[..., None] >= thresholds).mean(axis=1)  # [R, I]
    means = _resampled(np.random.default_rng(0), len(scores)) @ reached  # [B, I]
    return [
        Interval(float(estimate), *_ends(of_threshold))
        for estimate, of_threshold in zip(reached.mean(axis=0), means.T, strict=True)
    ]


def _resampled(rng: np.random.Generator, count: int) -> np.ndarray:
    """Weights of `count` runs in each bootstrap sample, `[B, R]`."""
    return rng.multinomial(count, np.full(count, 1 / count), _RESAMPLES) / count


def _ends(means: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _trimmed(values: np.ndarray) -> np.ndarray:
    """Means `[...]` of the middle halves of `[..., R]`."""
    import scipy.stats  # takes a second, for which every experiment would wait

    return np.asarray(scipy.stats.trim_mean(values, 0.25, axis=-1))
