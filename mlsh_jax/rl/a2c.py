"""Advantage actor-critic, the synchronous form of A3C (Mnih et al. 2016, arXiv 1602.01783).

One pass over the batch, without a ratio to the policy that collected it and so without a clip.
"""

import jax.numpy as jnp

from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.losses import Batch, Loss, Means, value_loss
from mlsh_jax.rl.networks import Network, Params
from mlsh_jax.rl.rules import on_policy


def a2c_terms(network: Network, config: LearnerConfig, params: Params, batch: Batch) -> Means:
    """The policy gradient of every row (section 4)."""
    del config
    distribution = network.policy(params, batch.observation)
    # Rows that do not count may have any probability, and 0 times infinity is not 0.
    log_prob = jnp.where(batch.weight > 0, distribution.log_prob(batch.action), 0.0)
    return {
        "policy_loss": -log_prob * batch.advantage,
        "value_loss": value_loss(network, params, batch),
        "entropy": distribution.entropy(),
    }


A2C = on_policy(Loss(("policy_loss", "value_loss", "entropy"), a2c_terms))
