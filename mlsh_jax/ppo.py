"""Proximal policy optimisation (Schulman et al. 2017) as a pure update rule.

The rule serves both levels. A master is one learner, vmapped over tasks; the sub-policies are
K learners on the same batch with different weights, vmapped over K. A transition of weight 0
contributes nothing, and a minibatch without any weight leaves parameters and optimizer as they
were: this is what "each sub-policy only from the slices in which it was active" rests on.
"""

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mlsh_jax.config import PPOConfig
from mlsh_jax.networks import Network, Params


@struct.dataclass
class Batch:
    """Transitions to learn from, in any order.

    Attributes:
        observation: as the policy sees it, `[B, O]`.
        critic_observation: as the value function sees it, `[B, C]`.
        action: `[B]` or `[B, A]`.
        log_prob: of the action under the policy before the update, `[B]`.
        advantage: `[B]`.
        target: of the value function, `[B]`.
        weight: 1 or 0, `[B]`.
    """

    observation: jax.Array
    critic_observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    target: jax.Array
    weight: jax.Array


def make_optimizer(config: PPOConfig) -> optax.GradientTransformation:
    """Adam with PPO's usual epsilon (Engstrom et al. 2020)."""
    return optax.adam(config.learning_rate, eps=1e-5)


def loss(
    network: Network, config: PPOConfig, params: Params, batch: Batch
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Clipped surrogate, squared value error and entropy bonus, as weighted means.

    Policy and value networks share no parameters and Adam is invariant to the scale of the
    gradient, so that the value error needs no coefficient.

    Returns:
        The scalar to minimise and its parts.
    """
    total = jnp.maximum(jnp.sum(batch.weight), 1e-8)

    def mean(x: jax.Array) -> jax.Array:
        return jnp.sum(x * batch.weight) / total

    distribution = network.policy(params, batch.observation)
    log_ratio = distribution.log_prob(batch.action) - batch.log_prob
    # Rows that do not count may have any ratio, and 0 times infinity is not 0.
    log_ratio = jnp.where(batch.weight > 0, log_ratio, 0.0)
    ratio = jnp.exp(log_ratio)
    clipped_ratio = jnp.clip(ratio, 1 - config.clip_epsilon, 1 + config.clip_epsilon)
    policy_loss = -mean(jnp.minimum(ratio * batch.advantage, clipped_ratio * batch.advantage))
    value = network.value(params, batch.critic_observation)
    value_loss = 0.5 * mean((value - batch.target) ** 2)
    entropy = mean(distribution.entropy())
    metrics = {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        # Schulman's low-variance estimator, http://joschu.net/blog/kl-approx.html
        "kl": mean(ratio - 1 - log_ratio),
        "clip_fraction": mean(jnp.abs(ratio - 1) > config.clip_epsilon),
    }
    return policy_loss + value_loss - config.entropy_coefficient * entropy, metrics


def update(
    network: Network,
    config: PPOConfig,
    params: Params,
    opt_state: optax.OptState,
    batch: Batch,
    key: jax.Array,
) -> tuple[Params, optax.OptState, dict[str, jax.Array]]:
    """Runs all epochs of PPO on one batch.

    Args:
        network: the functions that `params` belong to.
        config: epochs, minibatches and coefficients.
        params: parameters before the update.
        opt_state: of `make_optimizer(config)`.
        batch: transitions, `[B, ...]`; B must be a multiple of `config.num_minibatches`.
        key: for the order of the minibatches.

    Returns:
        New parameters, new optimizer state, and metrics averaged over the gradient steps whose
        minibatch had any weight.
    """
    optimizer = make_optimizer(config)
    gradient = jax.grad(loss, argnums=2, has_aux=True)
    batch_size = batch.weight.shape[0]

    def step(carry, indices: jax.Array | None):
        params, opt_state = carry
        minibatch = batch if indices is None else jax.tree.map(lambda x: x[indices], batch)
        grads, metrics = gradient(network, config, params, minibatch)
        updates, new_opt_state = optimizer.update(grads, opt_state, params)
        new = (optax.apply_updates(params, updates), new_opt_state)
        has_data = jnp.any(minibatch.weight > 0)
        carry = jax.tree.map(lambda n, o: jnp.where(has_data, n, o), new, (params, opt_state))
        return carry, (metrics, has_data)

    if config.num_minibatches == 1:
        indices, length = None, config.epochs
    else:
        keys = jax.random.split(key, config.epochs)
        orders = jax.vmap(lambda k: jax.random.permutation(k, batch_size))(keys)
        length = config.epochs * config.num_minibatches
        indices = orders.reshape(length, batch_size // config.num_minibatches)
    (params, opt_state), (metrics, has_data) = jax.lax.scan(
        step, (params, opt_state), indices, length
    )
    return params, opt_state, mean_where(metrics, has_data)


def mean_where(metrics: dict[str, jax.Array], counts: jax.Array) -> dict[str, jax.Array]:
    """Means of `[n]` arrays over the entries that count (bool `[n]`); 0 if none does."""
    number = jnp.maximum(jnp.sum(counts), 1)
    return {name: jnp.sum(jnp.where(counts, x, 0.0)) / number for name, x in metrics.items()}
