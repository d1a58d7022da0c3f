"""Running mean and variance of observations.

Batches are merged by the parallel form of Welford's algorithm (Chan, Golub and LeVeque 1979),
which needs only sums: over a batch that is sharded across devices the result is the same.
"""

import jax
import jax.numpy as jnp
from flax import struct

# Standardized observations beyond this many standard deviations are clipped, so that a
# feature that was nearly constant so far cannot saturate a network.
_CLIP = 10.0


@struct.dataclass
class RunningStatistics:
    """Moments of all observations seen so far.

    Attributes:
        count: total weight, float32 scalar; 0 means that nothing was seen.
        mean: `[O]`.
        variance: population variance, `[O]`.
    """

    count: jax.Array
    mean: jax.Array
    variance: jax.Array


def init_statistics(size: int) -> RunningStatistics:
    """Statistics of no data, under which `normalize` is the identity."""
    return RunningStatistics(
        count=jnp.zeros(()), mean=jnp.zeros((size,)), variance=jnp.ones((size,))
    )


def update_statistics(
    statistics: RunningStatistics, batch: jax.Array, weight: jax.Array
) -> RunningStatistics:
    """Merges weighted observations into the statistics.

    Args:
        statistics: what was seen so far.
        batch: observations, `[..., O]`.
        weight: 1 for observations that count and 0 for those that do not, `[...]`.

    Returns:
        The statistics of old and new data together; unchanged if all weights are 0.
    """
    axes = tuple(range(weight.ndim))
    batch_count = jnp.sum(weight)
    safe_count = jnp.maximum(batch_count, 1e-8)
    batch_mean = jnp.sum(batch * weight[..., None], axis=axes) / safe_count
    deviation = (batch - batch_mean) ** 2 * weight[..., None]
    batch_variance = jnp.sum(deviation, axis=axes) / safe_count

    count = statistics.count + batch_count
    fraction = batch_count / jnp.maximum(count, 1e-8)
    delta = batch_mean - statistics.mean
    mean = statistics.mean + delta * fraction
    variance = (
        statistics.variance * (1 - fraction)
        + batch_variance * fraction
        + delta**2 * fraction * (1 - fraction)
    )
    return RunningStatistics(count=count, mean=mean, variance=variance)


def normalize(statistics: RunningStatistics, observation: jax.Array) -> jax.Array:
    """Standardizes `observation` `[..., O]` and clips it to ten standard deviations.

    With statistics of no data the observation is returned as it is.
    """
    standardized = (observation - statistics.mean) * jax.lax.rsqrt(statistics.variance + 1e-8)
    clipped = jnp.clip(standardized, -_CLIP, _CLIP)
    return jnp.where(statistics.count > 0, clipped, observation)
