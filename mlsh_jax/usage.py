"""Whether sub-policies are all used, and whether they differ.

Masters that are free to choose leave a sub-policy that was slow to learn alone, so that it never
learns. Where each has to be chosen as often as the others, those tasks get it for which it is
*comparatively* good, and no task loses more by that than another would.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mlsh_jax.rl.distributions import Distribution, Gaussian

_STEPS = 20


def balancing_bias(logits: jax.Array) -> jax.Array:
    """The bias of each choice with which softmax(logits + bias) is uniform on average.

    It is the dual of an assignment of rows to choices in equal shares that gives the least of the
    rows' preferences away (entropic optimal transport; Cuturi 2013, arXiv 1306.0895), found by
    scaling all choices in turn.

    Args:
        logits: of every row, `[B, K]`.

    Returns:
        `[K]`, with mean 0.
    """
    num_choices = logits.shape[-1]

    def scale(bias: jax.Array, _: None) -> tuple[jax.Array, None]:
        usage = jax.nn.softmax(logits + bias).mean(axis=0)
        # A choice that nobody makes gets as much as 14 nats in a step.
        bias = bias - jnp.log(usage * num_choices + 1e-6)
        return bias - bias.mean(), None

    return jax.lax.scan(scale, jnp.zeros(num_choices), length=_STEPS)[0]


def nearest_divergence(policies: Distribution) -> jax.Array:
    """How differently each sub-policy acts from the one that is most like it.

    Means of continuous actions are clipped as environments clip actions: beyond that they do the
    same.

    Args:
        policies: of K > 1 sub-policies at the same observations, `[K, B]`.

    Returns:
        The mean of both Kullback-Leibler divergences of a pair, in nats, `[K]`.
    """
    if isinstance(policies, Gaussian):
        policies = dataclasses.replace(policies, mean=jnp.clip(policies.mean, -1.0, 1.0))

    def of_pair(one: Distribution, other: Distribution) -> jax.Array:
        return one.kl_divergence(other).mean()

    of_one = jax.vmap(of_pair, in_axes=(None, 0))
    pairs = jax.vmap(of_one, in_axes=(0, None))(policies, policies)  # [K, K]
    symmetric = (pairs + pairs.T) / 2
    return jnp.where(jnp.eye(len(symmetric)) > 0, jnp.inf, symmetric).min(axis=1)
