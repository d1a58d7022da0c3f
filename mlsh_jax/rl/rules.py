"""What an update rule is. Which there are says `mlsh_jax.rl.config.RULES`.

A rule owns what a learner keeps beside its parameters (moments of an optimizer, a target network,
a replay memory), says how it acts while it learns, and improves the parameters from transitions in
the order of time. A rule that is a loss of rows (`on_policy`) serves sub-policies as well.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax.rl import updates
from mlsh_jax.rl.config import RULES, LearnerConfig
from mlsh_jax.rl.distributions import Distribution
from mlsh_jax.rl.losses import Batch, Loss, Means, make_batch
from mlsh_jax.rl.networks import Network, Params
from mlsh_jax.rl.returns import generalized_advantages, standardize

RuleState = Any
"""What a rule keeps beside the parameters; a pytree."""


@struct.dataclass
class Transitions:
    """What one learner went through, in the order of time, in E environments.

    Attributes:
        observation: as it was seen, not normalized, `[T, E, O]`.
        action: `[T, E]` or `[T, E, A]`.
        reward: `[T, E]`.
        next_observation: what followed, before any reset, `[T, E, O]`.
        terminated: whether the episode ended for good, bool `[T, E]`.
        last: whether the next row does not go on from here, bool `[T, E]`.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    next_observation: jax.Array
    terminated: jax.Array
    last: jax.Array


class Rule(NamedTuple):
    """An update rule.

    Attributes:
        init: `(config, params, observation_size) -> state`.
        policy: `(network, config, params, state, observation [..., O]) -> Distribution [...]`: how
            to act, at normalized observations.
        play: as `policy`, how to act when nothing is learned; None where that is no other way.
        update: `(network, config, params, state, transitions, normalize, key) -> (params, state,
            metrics)`, where `normalize` maps observations as they were seen to what networks see.
        loss: what rows contribute, where the rule is a loss of rows.
    """

    init: Callable[[LearnerConfig, Params, int], RuleState]
    policy: Callable[[Network, LearnerConfig, Params, RuleState, jax.Array], Distribution]
    update: Callable[..., tuple[Params, RuleState, Means]]
    loss: Loss | None = None
    play: Callable[..., Distribution] | None = None


def get_rule(config: LearnerConfig) -> Rule:
    """The rule that a configuration names."""
    module, _, name = RULES[config.rule].implementation.partition(":")
    return getattr(importlib.import_module(module), name)


def subpolicy_loss(config: LearnerConfig) -> Loss:
    """The loss of a rule that sub-policies learn by."""
    loss = get_rule(config).loss
    assert loss is not None, f"{config.rule} is for masters alone"
    return loss


def on_policy(loss: Loss) -> Rule:
    """The rule that minimizes a loss of rows with Adam."""

    def update(
        network: Network,
        config: LearnerConfig,
        params: Params,
        state: RuleState,
        transitions: Transitions,
        normalize: Callable[[jax.Array], jax.Array],
        key: jax.Array,
    ) -> tuple[Params, RuleState, Means]:
        batch = advantage_batch(network, config, params, transitions, normalize)
        return updates.update(network, config, loss, params, state, batch, key)

    return Rule(
        init=lambda config, params, _: updates.make_optimizer(config).init(params),
        policy=act_by_policy,
        update=update,
        loss=loss,
    )


def act_by_policy(
    network: Network,
    config: LearnerConfig,
    params: Params,
    state: RuleState,
    observation: jax.Array,
) -> Distribution:
    """Acting of rules that learn a stochastic policy: by that policy (`Rule.policy`)."""
    del config, state
    return network.policy(params, observation)


def advantage_batch(
    network: Network,
    config: LearnerConfig,
    params: Params,
    transitions: Transitions,
    normalize: Callable[[jax.Array], jax.Array],
) -> Batch:
    """Transitions with standardized advantages, `[T * E, ...]`, for rules that learn from these."""
    weight = jnp.ones_like(transitions.reward)
    observation = normalize(transitions.observation)
    value = network.value(params, observation)
    advantage = generalized_advantages(
        transitions.reward,
        value,
        network.value(params, normalize(transitions.next_observation)),
        transitions.terminated,
        transitions.last,
        discount=config.discount,
        gae_lambda=config.gae_lambda,
    )
    batch = make_batch(
        network.policy(params, observation),
        observation,
        observation,
        transitions.action,
        value,
        advantage,
        weight,
    )
    batch = dataclasses.replace(batch, advantage=standardize(advantage, weight))
    return merge_time(batch)


def merge_time(tree: Any) -> Any:
    """Merges time and environments: `[T, E, ...]` to `[T * E, ...]`."""
    return jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), tree)
