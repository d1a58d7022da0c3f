"""Generalized advantage estimation with termination, truncation and weights."""

import chex
import jax
import jax.numpy as jnp


def generalized_advantages(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    last: jax.Array,
    *,
    discount: float,
    gae_lambda: float,
) -> jax.Array:
    """Generalized advantage estimates (Schulman et al. 2016, equation 16).

    A terminal transition is followed by nothing, so its bootstrap is 0. A transition that is
    `last` without being terminal (a time limit, or the end of a slice) bootstraps from the value
    of its own successor, and no later transition contributes to it.

    Args:
        reward: `[T, ...]`.
        value: V(o_t), `[T, ...]`.
        next_value: V of the observation that t led to, before any reset, `[T, ...]`.
        terminated: whether the episode ended for good at t, bool `[T, ...]`.
        last: whether t is the last transition of its segment, bool `[T, ...]`; terminal
            transitions and t = T - 1 are last whatever this says.
        discount: γ.
        gae_lambda: λ.

    Returns:
        Advantages, `[T, ...]`; add `value` for the targets of the value function (TD(λ)).
    """
    chex.assert_equal_shape([reward, value, next_value, terminated, last])
    continues = 1.0 - terminated.astype(reward.dtype)
    carries_on = continues * (1.0 - last.astype(reward.dtype))
    delta = reward + discount * next_value * continues - value

    def backward(following: jax.Array, step: tuple[jax.Array, jax.Array]):
        delta_t, carries_on_t = step
        advantage = delta_t + discount * gae_lambda * carries_on_t * following
        return advantage, advantage

    _, advantages = jax.lax.scan(
        backward, jnp.zeros_like(reward[0]), (delta, carries_on), reverse=True
    )
    return advantages


def standardize(
    advantage: jax.Array, weight: jax.Array, smallest_deviation: jax.Array | float = 0.0
) -> jax.Array:
    """Shifts and scales advantages to weighted mean 0 and standard deviation 1.

    Args:
        advantage: `[...]`.
        weight: 0 for entries that do not count, `[...]`.
        smallest_deviation: that is scaled to 1; smaller ones stay smaller. Scalar.

    Returns:
        `[...]`, zero where the weight is zero.
    """
    chex.assert_equal_shape([advantage, weight])
    total = jnp.maximum(jnp.sum(weight), 1e-8)
    deviation = advantage - jnp.sum(advantage * weight) / total
    std = jnp.sqrt(jnp.sum(weight * deviation**2) / total)
    return jnp.where(weight > 0, deviation / jnp.maximum(std, smallest_deviation + 1e-8), 0.0)
