"""One policy for all tasks, without hierarchy: plain PPO (paper, figures 5 and 7).

It is the special case K = 1 of the sub-policies: the same rollouts, the same update and the
same environments, with no master and the whole observation in view.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax.adapt import Episodes, play
from mlsh_jax.agent import Agent, SubPolicies, act, make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.learners import SubPolicyLearner, init_subpolicies, update_subpolicies
from mlsh_jax.mlsh import Metrics, behavior_metrics
from mlsh_jax.rollout import Behavior, before_episodes, rollout_all
from mlsh_jax.tasks import Tasks


@struct.dataclass
class SinglePolicyState:
    """A policy that is learning.

    Attributes:
        policy: parameters with a leading axis of 1.
        learner: its critic and optimizer, `[1, ...]`.
        tasks: `[G, ...]`.
        env_states: where the environments are, `[G, E, ...]`.
        key: typed PRNG key.
    """

    policy: SubPolicies
    learner: SubPolicyLearner
    tasks: Tasks
    env_states: Any
    key: jax.Array


def make_single_policy(env: Any, config: MLSHConfig) -> Agent:
    """The functions of a single policy that sees the whole observation.

    `config.subpolicy` is its update rule; `config.num_subpolicies` must be 1.
    """
    return make_agent(env, config, subpolicy_indices=tuple(range(env.observation_size)))


def init(agent: Agent, key: jax.Array, tasks: Tasks) -> SinglePolicyState:
    """An untrained policy at the start of episodes of `tasks`."""
    key, key_policy = jax.random.split(key)
    policy, learner = init_subpolicies(agent, key_policy)
    return SinglePolicyState(
        policy=policy,
        learner=learner,
        tasks=tasks,
        env_states=before_episodes(agent.env, key_policy, tasks, agent.config.num_envs),
        key=key,
    )


def iteration(agent: Agent, state: SinglePolicyState) -> tuple[SinglePolicyState, Metrics]:
    """Collects D steps per task and improves the policy from all of them."""
    key, key_collect, key_update = jax.random.split(state.key, 3)
    env_states, rollouts = rollout_all(
        agent.env,
        lambda _: behavior(agent, state.policy),
        None,
        key_collect,
        state.tasks,
        state.env_states,
        num_slices=agent.config.num_slices,
        macro_length=agent.config.macro_length,
    )
    policy, learner, update_metrics = update_subpolicies(
        agent, state.policy, state.learner, rollouts, state.tasks, key_update
    )
    metrics = behavior_metrics(agent, state.tasks, rollouts) | {
        f"policy/{name}": value for name, value in update_metrics.items()
    }
    state = dataclasses.replace(
        state, policy=policy, learner=learner, env_states=env_states, key=key
    )
    return state, metrics


def evaluate(
    agent: Agent, policy: SubPolicies, tasks: Tasks, key: jax.Array, num_envs: int
) -> Episodes:
    """Plays whole episodes of `tasks`, `[G, ...]`."""
    return play(agent, lambda _: behavior(agent, policy), None, tasks, key, num_envs)


def behavior(agent: Agent, policy: SubPolicies) -> Behavior:
    """The policy, which is always active."""

    def choose(observation: jax.Array, key: jax.Array) -> jax.Array:
        del key
        return jnp.zeros(observation.shape[:1], jnp.int32)

    return Behavior(choose=choose, act=lambda o, k, key: act(agent, policy, o, k, key))
