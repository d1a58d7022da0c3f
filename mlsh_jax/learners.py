"""The two levels of the hierarchy: what they consist of, how they act and how they learn.

`SubPolicies` is φ: K stacked policies shared by all tasks; a `SubPolicyLearner` holds the critics
and optimizers that train them. `Master` is θ: one network for one task, with its own optimizer
and observation statistics, so that nothing of it outlives the task.
Both learn by `mlsh_jax.rl.updates` from their own view of a rollout.

Statistics absorb a rollout before it is learned from, and the probabilities that PPO compares
with are computed under the new statistics: a master, whose first rollout is all it knows of the
scale of its observations, learns from well-scaled inputs at once.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mlsh_jax.config import MLSHConfig, PPOConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.rl import updates
from mlsh_jax.rl.networks import Network, Params, init_stack, make_network, select
from mlsh_jax.rl.normalization import (
    RunningStatistics,
    init_statistics,
    normalize,
    update_statistics,
)
from mlsh_jax.rl.returns import generalized_advantages, standardize
from mlsh_jax.rollout import Behavior, Rollout, macro_view, subpolicy_actions
from mlsh_jax.tasks import Tasks, num_task_features, task_features


@struct.dataclass
class SubPolicies:
    """φ, everything that is shared by all tasks and transferred to new ones.

    Attributes:
        params: of K policies, leading axis `[K, ...]`.
        statistics: of the part of the observation that sub-policies see.
    """

    params: Params
    statistics: RunningStatistics


@struct.dataclass
class SubPolicyLearner:
    """What improves φ and is not needed to act.

    Attributes:
        critics: parameters of the value functions of the K sub-policies, `[K, ...]`.
        statistics: of what the critics see.
        opt_state: of the optimizers of a sub-policy and its critic, `[K, ...]`.
    """

    critics: Params
    statistics: RunningStatistics
    opt_state: optax.OptState


@struct.dataclass
class Master:
    """θ and all that is learned with it on one task.

    Attributes:
        params: of the master's network.
        opt_state: of its optimizer.
        statistics: of its observations.
    """

    params: Params
    opt_state: optax.OptState
    statistics: RunningStatistics


@dataclasses.dataclass(frozen=True)
class Agent:
    """The static half of the algorithm: which functions act on `SubPolicies` and `Master`.

    Attributes:
        env: a task distribution with an episode limit (`envs.wrappers.EpisodeWrapper`).
        config: numbers of the algorithm.
        master_network: over K choices.
        subpolicy_network: over the environment's actions.
        master_indices: entries of the observation that masters see.
        subpolicy_indices: entries of the observation that sub-policies see.
        critic_size: how much the critics of the sub-policies see.
        num_shares: in how many equal shares tasks lie on different devices.
    """

    env: Any
    config: MLSHConfig
    master_network: Network
    subpolicy_network: Network
    master_indices: tuple[int, ...]
    subpolicy_indices: tuple[int, ...]
    critic_size: int
    num_shares: int = 1

    def master_view(self, observation: jax.Array) -> jax.Array:
        """The part `[..., o]` of `observation` `[..., O]` that masters see."""
        return observation[..., jnp.asarray(self.master_indices)]

    def subpolicy_view(self, observation: jax.Array) -> jax.Array:
        """The part `[..., o]` of `observation` `[..., O]` that sub-policies see."""
        return observation[..., jnp.asarray(self.subpolicy_indices)]

    def critic_view(self, observation: jax.Array, tasks: Tasks) -> jax.Array:
        """What `[G, ..., C]` the critics of the sub-policies see at `observation` `[G, ..., O]`."""
        if not self.config.task_critic:
            return self.subpolicy_view(observation)
        features = task_features(self.env, tasks)  # [G, F]
        num_tasks, size = features.shape
        features = features.reshape(num_tasks, *(1,) * (observation.ndim - 2), size)
        features = jnp.broadcast_to(features, (*observation.shape[:-1], size))
        return jnp.concatenate([observation, features], axis=-1)


def make_agent(
    env: Any,
    config: MLSHConfig,
    subpolicy_indices: tuple[int, ...] | None = None,
    num_shares: int = 1,
) -> Agent:
    """Builds the networks that fit an environment.

    Args:
        env: a task distribution with an episode limit.
        config: numbers of the algorithm.
        subpolicy_indices: entries of the observation that sub-policies see; by default those
            that the environment shows them.
        num_shares: in how many equal shares tasks lie on different devices.

    Raises:
        ConfigError: if episodes do not consist of whole slices.
    """
    if env.episode_length % config.macro_length:
        raise ConfigError(
            f"macro_length: {config.macro_length} does not divide the episode length of "
            f"{env.name}, {env.episode_length} steps"
        )
    discrete = env.num_actions is not None
    if subpolicy_indices is None:
        subpolicy_indices = env.subpolicy_observation_indices
    critic_size = len(subpolicy_indices)
    if config.task_critic:
        critic_size = env.observation_size + num_task_features(env)
    subpolicy_network = make_network(
        config.subpolicy,
        len(subpolicy_indices),
        env.num_actions if discrete else env.action_size,
        discrete=discrete,
        critic_size=critic_size,
    )
    master_indices = tuple(range(env.observation_size))
    if config.master_sees_place_only:
        master_indices = env.place_indices
    num_seen = len(master_indices)
    master_network = make_network(
        config.master, num_seen, config.num_subpolicies, discrete=True, critic_size=num_seen
    )
    return Agent(
        env=env,
        config=config,
        master_network=master_network,
        subpolicy_network=subpolicy_network,
        master_indices=master_indices,
        subpolicy_indices=subpolicy_indices,
        critic_size=critic_size,
        num_shares=num_shares,
    )


def init_subpolicies(agent: Agent, key: jax.Array) -> tuple[SubPolicies, SubPolicyLearner]:
    """Untrained φ, and what improves it."""
    params = init_stack(agent.subpolicy_network, key, agent.config.num_subpolicies)
    opt_state = jax.vmap(updates.make_optimizer(agent.config.subpolicy).init)(params)
    critics = {"value": params.pop("value")}
    return (
        SubPolicies(params, init_statistics(len(agent.subpolicy_indices))),
        SubPolicyLearner(critics, init_statistics(agent.critic_size), opt_state),
    )


def init_master(agent: Agent, key: jax.Array) -> Master:
    """An untrained θ for one task, with a new optimizer and no statistics."""
    params = agent.master_network.init(key)
    return Master(
        params=params,
        opt_state=updates.make_optimizer(agent.config.master).init(params),
        statistics=init_statistics(len(agent.master_indices)),
    )


def hierarchy(
    agent: Agent, subpolicies: SubPolicies, master: Master, forced: jax.Array | None = None
) -> Behavior:
    """The policy π_{φ,θ} of one task.

    Args:
        agent: the functions.
        subpolicies: φ.
        master: θ of the task.
        forced: if given and not negative, the sub-policy that is active in every slice,
            whatever the master would choose (int32 scalar).
    """

    def choose(observation: jax.Array, key: jax.Array) -> jax.Array:
        view = normalize(master.statistics, agent.master_view(observation))
        choice = agent.master_network.policy(master.params, view).sample(key).astype(jnp.int32)
        return choice if forced is None else jnp.where(forced >= 0, forced, choice)

    return Behavior(choose=choose, act=functools.partial(act, agent, subpolicies))


def act(
    agent: Agent, subpolicies: SubPolicies, observation: jax.Array, k: jax.Array, key: jax.Array
) -> jax.Array:
    """Samples actions `[E, ...]` of the active sub-policies `k` `[E]` at `observation` `[E, O]`."""
    view = normalize(subpolicies.statistics, agent.subpolicy_view(observation))
    policy = agent.subpolicy_network.policy
    return subpolicy_actions(policy, subpolicies.params, view, k).sample(key)


def update_master(
    agent: Agent, master: Master, rollout: Rollout, key: jax.Array
) -> tuple[Master, dict[str, jax.Array]]:
    """Improves θ of one task from the macro view of a rollout of that task.

    Args:
        agent: the functions.
        master: θ before.
        rollout: `[S, N, E, ...]`.
        key: for minibatches.

    Returns:
        θ after, and the metrics of `updates.update`.
    """
    config = agent.config.master
    network = agent.master_network
    macro = macro_view(rollout)
    weight = jnp.ones_like(macro.reward)
    statistics, observation = _absorb(
        config, master.statistics, agent.master_view(macro.observation), weight
    )
    next_observation = normalize(statistics, agent.master_view(macro.next_observation))
    value = network.value(master.params, observation)
    advantage = generalized_advantages(
        macro.reward * agent.config.reward_scale,
        value,
        network.value(master.params, next_observation),
        macro.terminated,
        macro.truncated,
        discount=config.discount,
        gae_lambda=config.gae_lambda,
    )
    batch = updates.Batch(
        observation=observation,
        critic_observation=observation,
        action=macro.action,
        log_prob=network.policy(master.params, observation).log_prob(macro.action),
        advantage=standardize(advantage, weight),
        target=advantage + value,
        weight=weight,
    )
    batch = _flatten(batch, weight.shape)
    params, opt_state, metrics = updates.update(
        network, config, master.params, master.opt_state, batch, key
    )
    return Master(params=params, opt_state=opt_state, statistics=statistics), metrics


def update_subpolicies(
    agent: Agent,
    subpolicies: SubPolicies,
    learner: SubPolicyLearner,
    rollout: Rollout,
    tasks: Tasks,
    key: jax.Array,
) -> tuple[SubPolicies, SubPolicyLearner, dict[str, jax.Array]]:
    """Improves φ from the step view of the rollouts of all tasks.

    Each sub-policy learns from the slices in which it was active and from no others; the
    parameters of one that was never active stay as they are. A slice is a segment of its own: it
    bootstraps from the value that the critic of the *same* sub-policy gives to the slice's last
    observation, never from that of the sub-policy that acts next (openai/mlsh, issue 7).

    Args:
        agent: the functions.
        subpolicies: φ before.
        learner: what improves it.
        rollout: of all tasks, `[G, S, N, E, ...]`.
        tasks: `[G, ...]`.
        key: for minibatches.

    Returns:
        φ and its learner after, and the metrics of `updates.update`, averaged over the
        sub-policies that were active.
    """
    config = agent.config.subpolicy
    network = agent.subpolicy_network
    shape = rollout.reward.shape  # [G, S, N, E]
    k = jnp.broadcast_to(rollout.subpolicy[:, :, None], shape)
    statistics, observation = _absorb(
        config,
        subpolicies.statistics,
        agent.subpolicy_view(rollout.observation),
        rollout.weight,
    )
    # A critic that sees what its sub-policy sees shares its input, so that it is made once.
    critic_statistics, critic_observation = statistics, observation
    if agent.config.task_critic:
        critic_statistics, critic_observation = _absorb(
            config,
            learner.statistics,
            agent.critic_view(rollout.observation, tasks),
            rollout.weight,
        )
    last_observation = normalize(
        critic_statistics, agent.critic_view(rollout.next_observation, tasks)
    )

    value = select(_stacked(network.value, learner.critics, critic_observation), k)
    last_value = select(
        _stacked(network.value, learner.critics, last_observation), rollout.subpolicy
    )
    next_value = jnp.concatenate([value[:, :, 1:], last_value[:, :, None]], axis=2)

    def time_first(x: jax.Array) -> jax.Array:
        return jnp.moveaxis(x, 2, 0)

    # What follows a step in its slice does not count where the physics failed.
    counts = time_first(rollout.weight) > 0
    followed_by_nothing = jnp.concatenate([~counts[1:], jnp.ones_like(counts[:1])])
    advantage = generalized_advantages(
        time_first(rollout.reward * agent.config.reward_scale),
        time_first(value),
        time_first(next_value),
        time_first(rollout.terminated),
        followed_by_nothing,
        discount=config.discount,
        gae_lambda=config.gae_lambda,
    )
    advantage = jnp.moveaxis(advantage, 0, 2)
    distribution = subpolicy_actions(network.policy, subpolicies.params, observation, k)
    batch = updates.Batch(
        observation=observation,
        critic_observation=critic_observation,
        action=rollout.action,
        log_prob=distribution.log_prob(rollout.action),
        advantage=advantage,
        target=advantage + value,
        weight=rollout.weight,
    )
    batch, k = jax.vmap(lambda task: _flatten(task, shape[1:]))((batch, k))
    params, opt_state, metrics = updates.update_owners(
        network,
        config,
        subpolicies.params | learner.critics,
        learner.opt_state,
        dataclasses.replace(batch, advantage=_standardize_by_owner(agent, batch, k)),
        k,
        key,
        agent.num_shares,
    )
    critics = {"value": params.pop("value")}
    return (
        SubPolicies(params, statistics),
        SubPolicyLearner(critics, critic_statistics, opt_state),
        metrics,
    )


def _standardize_by_owner(agent: Agent, batch: updates.Batch, k: jax.Array) -> jax.Array:
    """Advantages standardized over the rows of each sub-policy, in the shape of `k`."""

    def of_one(owner: jax.Array) -> jax.Array:
        return standardize(batch.advantage, batch.weight * (k == owner))

    return select(jax.vmap(of_one)(jnp.arange(agent.config.num_subpolicies)), k)


def _absorb(
    config: PPOConfig, statistics: RunningStatistics, raw: jax.Array, weight: jax.Array
) -> tuple[RunningStatistics, jax.Array]:
    """Statistics that have seen `raw`, where they are kept, and `raw` normalized by them."""
    if config.normalize_observations:
        statistics = update_statistics(statistics, raw, weight)
    return statistics, normalize(statistics, raw)


def _stacked(function, params: Params, observation: jax.Array) -> jax.Array:
    """`function` of all K parameter sets at the same observations, `[K, ...]`."""
    return jax.vmap(function, in_axes=(0, None))(params, observation)


def _flatten(tree: Any, batch_shape: tuple[int, ...]) -> Any:
    """Merges the leading `batch_shape` axes of every array into one axis `[B, ...]`."""
    return jax.tree.map(lambda x: x.reshape((-1, *x.shape[len(batch_shape) :])), tree)
