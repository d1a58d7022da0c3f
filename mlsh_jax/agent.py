"""The two levels of the hierarchy: what they consist of and how they act.

`SubPolicies` is φ: K stacked policies shared by all tasks. `Master` is θ: one network for one
task, with its own observation statistics and whatever its update rule keeps, so that nothing of it
outlives the task. How both learn is in `mlsh_jax.learners`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax.config import MLSHConfig
from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.errors import ConfigError
from mlsh_jax.rl.distributions import Categorical, Distribution
from mlsh_jax.rl.networks import Network, Params, for_all, make_network, select
from mlsh_jax.rl.normalization import RunningStatistics, normalize
from mlsh_jax.rl.rules import RuleState, get_rule
from mlsh_jax.rollout import Behavior, memoryless
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
class Master:
    """θ and all that is learned with it on one task.

    Attributes:
        params: of the master's network.
        opt_state: what its update rule keeps, such as the moments of an optimizer.
        statistics: of its observations.
        bias: what is added to the logits of its choices (`mlsh_jax.usage`), 0 unless they are
            balanced, `[K]`.
    """

    params: Params
    opt_state: RuleState
    statistics: RunningStatistics
    bias: jax.Array


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
        deterministic: whether sub-policies take their most probable action.
    """

    env: TaskEnvironment
    config: MLSHConfig
    master_network: Network
    subpolicy_network: Network
    master_indices: tuple[int, ...]
    subpolicy_indices: tuple[int, ...]
    critic_size: int
    num_shares: int = 1
    deterministic: bool = False

    def frozen(self) -> "Agent":
        """This one with sub-policies that learn no more (`deterministic_when_frozen`)."""
        return dataclasses.replace(self, deterministic=self.config.deterministic_when_frozen)

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
    env: TaskEnvironment,
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
    length, macro_length = env.episode_length, config.macro_length
    if length % macro_length:
        divisors = [n for n in range(1, length + 1) if length % n == 0]
        below = max(n for n in divisors if n < macro_length)
        above = [f" or {n}" for n in divisors if n > macro_length][:1]
        raise ConfigError(
            f"macro_length: {macro_length} does not divide the episode length of "
            f"{env.name}, {length} steps; use {below}{''.join(above)}"
        )
    if subpolicy_indices is None:
        subpolicy_indices = env.subpolicy_observation_indices
    critic_size = len(subpolicy_indices)
    if config.task_critic:
        critic_size = env.observation_size + num_task_features(env)
    subpolicy_network = make_network(
        config.subpolicy,
        len(subpolicy_indices),
        env.action_size if env.num_actions is None else env.num_actions,
        discrete=env.num_actions is not None,
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


def hierarchy(
    agent: Agent,
    subpolicies: SubPolicies,
    master: Master,
    forced: jax.Array | None = None,
    *,
    learning: bool = True,
) -> Behavior:
    """The policy π_{φ,θ} of one task.

    Args:
        agent: the functions.
        subpolicies: φ.
        master: θ of the task.
        forced: if given and not negative, the sub-policy that is active in every slice,
            whatever the master would choose (int32 scalar).
        learning: whether the master explores as its rule does while it learns.
    """

    def choose(observation: jax.Array, key: jax.Array) -> jax.Array:
        policy = master_policy(agent, master, observation, learning=learning)
        choice = policy.sample(key).astype(jnp.int32)
        return choice if forced is None else jnp.where(forced >= 0, forced, choice)

    return memoryless(choose, functools.partial(act, agent, subpolicies))


def master_policy(
    agent: Agent, master: Master, observation: jax.Array, *, learning: bool = True
) -> Categorical:
    """Distribution `[...]` of the choices of one task's master at `observation` `[..., O]`.

    Args:
        agent: the functions.
        master: θ of the task.
        observation: as the environment gives it.
        learning: whether the master explores as its rule does while it learns.
    """
    config, network = agent.config.master, agent.master_network
    view = normalize(master.statistics, agent.master_view(observation))
    rule = get_rule(config)
    policy_of = rule.policy if learning or rule.play is None else rule.play
    policy = policy_of(network, config, master.params, master.opt_state, view)
    assert isinstance(policy, Categorical), "masters choose among sub-policies"
    return Categorical(policy.logits + master.bias)


def act(
    agent: Agent, subpolicies: SubPolicies, observation: jax.Array, k: jax.Array, key: jax.Array
) -> jax.Array:
    """Actions `[E, ...]` of the active sub-policies `k` `[E]` at `observation` `[E, O]`."""
    policy = select(all_policies(agent, subpolicies, observation), k)
    action: jax.Array = policy.mode() if agent.deterministic else policy.sample(key)
    return action


def all_policies(agent: Agent, subpolicies: SubPolicies, observation: jax.Array) -> Distribution:
    """Distributions `[K, ...]` of the actions of all sub-policies at `observation` `[..., O]`."""
    view = normalize(subpolicies.statistics, agent.subpolicy_view(observation))
    return for_all(agent.subpolicy_network.policy, subpolicies.params, view)
