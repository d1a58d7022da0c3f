"""What a learner minimizes: a batch, and what every row of it contributes.

The rules that are a loss of rows (`mlsh_jax.rl.ppo`, `mlsh_jax.rl.a2c`) serve both levels:
everything else (passes, minibatches, blocks of one owner) is `mlsh_jax.rl.updates`, which takes
the loss. A transition of weight 0 contributes nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.distributions import Distribution
from mlsh_jax.rl.networks import Network, Params

Means = dict[str, jax.Array]


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


class Loss(NamedTuple):
    """What the rows of a batch contribute under a rule.

    Attributes:
        names: of the terms; "policy_loss", "value_loss" and "entropy" are among them, others are
            metrics.
        terms: `(network, config, params, batch [B]) -> {name: [B]}`.
    """

    names: tuple[str, ...]
    terms: Callable[[Network, LearnerConfig, Params, Batch], Means]


def make_batch(
    policy: Distribution,
    observation: jax.Array,
    critic_observation: jax.Array,
    action: jax.Array,
    value: jax.Array,
    advantage: jax.Array,
    weight: jax.Array,
) -> Batch:
    """What both levels learn from, `[...]`, once they have valued it.

    Args:
        policy: distributions of the policy before the update, `[...]`.
        observation: as the policy sees it, `[..., O]`.
        critic_observation: as the value function sees it, `[..., C]`.
        action: `[...]` or `[..., A]`.
        value: of the value function before the update, `[...]`.
        advantage: as estimated, `[...]`; together with the value it is the new target, TD(λ).
        weight: 1 or 0, `[...]`.
    """
    log_prob = policy.log_prob(action)
    # A shape that only broadcasts would weigh rows with one another's advantages.
    chex.assert_equal_shape([log_prob, value, advantage, weight])
    return Batch(
        observation=observation,
        critic_observation=critic_observation,
        action=action,
        log_prob=log_prob,
        advantage=advantage,
        target=advantage + value,
        weight=weight,
    )


def objective(config: LearnerConfig, means: Means) -> jax.Array:
    """Policy loss, squared value error and entropy bonus, to minimize.

    Policy and value networks share no parameters and Adam is invariant to the scale of the
    gradient, so that the value error needs no coefficient.
    """
    bonus = config.entropy_coefficient * means["entropy"]
    return means["policy_loss"] + means["value_loss"] - bonus


def batch_objective(
    network: Network, config: LearnerConfig, loss: Loss, params: Params, batch: Batch
) -> tuple[jax.Array, Means]:
    """The objective of one learner on the weighted means of a batch `[B]`, and those means."""
    total = jnp.maximum(jnp.sum(batch.weight), 1e-8)
    rows = loss.terms(network, config, params, batch)
    means = {name: jnp.sum(x * batch.weight) / total for name, x in rows.items()}
    return objective(config, means), means


def value_loss(network: Network, params: Params, batch: Batch) -> jax.Array:
    """Half the squared error of the value function, `[B]`."""
    return 0.5 * (network.value(params, batch.critic_observation) - batch.target) ** 2
