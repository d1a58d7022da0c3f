"""Proximal policy optimization (Schulman et al. 2017, arXiv 1707.06347)."""

import jax.numpy as jnp

from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.losses import Batch, Loss, Means, value_loss
from mlsh_jax.rl.networks import Network, Params
from mlsh_jax.rl.rules import on_policy


def ppo_terms(network: Network, config: LearnerConfig, params: Params, batch: Batch) -> Means:
    """The clipped surrogate of every row (equation 7), and how far the policy has moved."""
    distribution = network.policy(params, batch.observation)
    log_ratio = distribution.log_prob(batch.action) - batch.log_prob
    # Rows that do not count may have any ratio, and 0 times infinity is not 0.
    log_ratio = jnp.where(batch.weight > 0, log_ratio, 0.0)
    ratio = jnp.exp(log_ratio)
    clipped_ratio = jnp.clip(ratio, 1 - config.clip_epsilon, 1 + config.clip_epsilon)
    return {
        "policy_loss": -jnp.minimum(ratio * batch.advantage, clipped_ratio * batch.advantage),
        "value_loss": value_loss(network, params, batch),
        "entropy": distribution.entropy(),
        # Schulman's low-variance estimator, http://joschu.net/blog/kl-approx.html
        "kl": ratio - 1 - log_ratio,
        "clip_fraction": jnp.abs(ratio - 1) > config.clip_epsilon,
    }


PPO = on_policy(
    Loss(
        ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction"),
        ppo_terms,
    )
)
