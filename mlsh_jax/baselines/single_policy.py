"""One policy for all tasks, without hierarchy: plain PPO (paper, section 6.1).

It is the special case K = 1 of the sub-policies: the same rollouts, the same update and the
same environments, with no master and the whole observation in view.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax.adapt import Episodes, play
from mlsh_jax.agent import Agent, SubPolicies, act, make_agent
from mlsh_jax.baselines.method import Method, Setting
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.learners import SubPolicyLearner, init_subpolicies, update_subpolicies
from mlsh_jax.metrics import Metrics, behavior_metrics
from mlsh_jax.rollout import Behavior, Rollout, before_episodes, memoryless, rollout_all
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


def make_method(setting: Setting) -> Method[SinglePolicyState]:
    """The policy as a method; it adapts to nothing.

    Raises:
        ConfigError: the learner does not suit the batches.
    """
    return _method("single_policy", setting, make_agents(setting))


def make_finetuning(
    setting: Setting, policy: SubPolicies, trained: MLSHConfig
) -> Method[SinglePolicyState]:
    """A policy that was trained on other tasks, which all of them shared, and goes on to learn.

    What fresh masters on trained sub-policies have to beat (paper, section 6.1: a shared policy,
    fine-tuned). It sees what sub-policies see, and its critic and optimizer begin anew.

    Args:
        setting: environments, tasks and batches.
        policy: a φ of K = 1, on the host: a program cannot close over arrays of other processes.
        trained: how it was trained.

    Raises:
        ConfigError: there are several sub-policies, or the learner does not suit the batches.
    """
    if trained.num_subpolicies != 1:
        raise ConfigError(
            f"shared_policy: has {trained.num_subpolicies} sub-policies; take a run with "
            "--num-subpolicies 1"
        )
    as_trained = {
        name: getattr(trained.subpolicy, name)
        for name in ("hidden_sizes", "activation", "normalize_observations")
    }
    learner = dataclasses.replace(setting.learner, **as_trained)
    agents = make_agents(
        dataclasses.replace(setting, learner=learner), setting.env.subpolicy_observation_indices
    )
    return _method("shared_policy", setting, agents, policy)


def _method(
    name: str,
    setting: Setting,
    agents: tuple[Agent, Agent],
    policy: SubPolicies | None = None,
) -> Method[SinglePolicyState]:
    """The policy of a learning and a playing agent; `policy` as in `init`."""
    agent, full_agent = agents
    num_tasks = setting.tasks.index.shape[0]
    return Method(
        name=name,
        init=functools.partial(init, agent, tasks=setting.tasks, policy=policy),
        iteration=functools.partial(iteration, agent),
        adapt=lambda state, key: state,
        play=lambda state, key: evaluate(
            full_agent, state.policy, state.tasks, key, setting.num_episodes
        ),
        env_steps=num_tasks * agent.config.steps_per_iteration,
        num_tasks=num_tasks,
        spread=("tasks", "env_states"),
    )


def make_agents(setting: Setting, seen: tuple[int, ...] | None = None) -> tuple[Agent, Agent]:
    """A single policy that learns, and one that plays whole episodes.

    Nothing happens for it at the ends of slices, through which its returns go on, nor does it wait
    for them where an episode has terminated: its advantages are those of plain PPO. What slices
    leave is that episodes that begin within one of them begin in the same state
    (`MLSHConfig.restart_within_slices`).

    Args:
        setting: environments, tasks and batches.
        seen: entries of the observation that it sees; None for all.

    Raises:
        ConfigError: the learner does not suit the batches.
    """
    envs, config = (setting.env, setting.full_env), setting.config
    steps_of_env = config.steps_per_iteration // config.num_envs
    lengths = (env.episode_length for env in envs)
    slice_length = math.gcd(config.macro_length, steps_of_env, *lengths)
    try:
        config = dataclasses.replace(
            config,
            num_subpolicies=1,
            macro_length=slice_length,
            subpolicy=setting.learner,
            # Plain PPO, whatever sub-policies learn with.
            task_critic=False,
            equal_tasks=False,
            credit="hierarchy",
            restart_within_slices=True,
        )
    except ConfigError as error:
        raise ConfigError(str(error).replace("subpolicy.", f"{setting.option}.", 1)) from None
    agent, full_agent = (
        make_agent(
            env,
            config,
            subpolicy_indices=tuple(range(env.observation_size)) if seen is None else seen,
            num_shares=setting.num_shares,
        )
        for env in envs
    )
    return agent, full_agent


def init(
    agent: Agent, key: jax.Array, tasks: Tasks, policy: SubPolicies | None = None
) -> SinglePolicyState:
    """A policy at the start of episodes of `tasks`, untrained if none is given."""
    key, key_policy = jax.random.split(key)
    untrained, learner = init_subpolicies(agent, key_policy)
    return SinglePolicyState(
        policy=untrained if policy is None else policy,
        learner=learner,
        tasks=tasks,
        env_states=before_episodes(agent.env, key_policy, tasks, agent.config.num_envs),
        key=key,
    )


def iteration(agent: Agent, state: SinglePolicyState) -> tuple[SinglePolicyState, Metrics]:
    """Collects D steps per task and improves the policy from all of them."""
    state, rollouts, update_metrics = learn(agent, state)
    metrics = behavior_metrics(agent, state.tasks, rollouts) | {
        f"policy/{name}": value for name, value in update_metrics.items()
    }
    return state, metrics


def learn(
    agent: Agent, state: SinglePolicyState
) -> tuple[SinglePolicyState, Rollout, dict[str, jax.Array]]:
    """The iteration and what it came from.

    Returns:
        The state after it, the steps `[G, S, N, E, ...]` and metrics of the update.
    """
    key, key_collect, key_update = jax.random.split(state.key, 3)
    env_states, _, rollouts = rollout_all(
        agent.env,
        lambda _: behavior(agent, state.policy),
        None,
        key_collect,
        state.tasks,
        state.env_states,
        num_slices=agent.config.num_slices,
        macro_length=agent.config.macro_length,
        restart_within_slices=agent.config.restart_within_slices,
    )
    policy, learner, update_metrics = update_subpolicies(
        agent, state.policy, state.learner, rollouts, state.tasks, None, key_update
    )
    state = dataclasses.replace(
        state, policy=policy, learner=learner, env_states=env_states, key=key
    )
    return state, rollouts, update_metrics


def evaluate(
    agent: Agent, policy: SubPolicies, tasks: Tasks, key: jax.Array, num_envs: int
) -> Episodes:
    """Plays whole episodes of `tasks`, `[G, ...]`."""
    return play(agent, lambda _: behavior(agent.frozen(), policy), None, tasks, key, num_envs)


def behavior(agent: Agent, policy: SubPolicies) -> Behavior:
    """The policy, which is always active."""

    def choose(observation: jax.Array, key: jax.Array) -> jax.Array:
        del key
        return jnp.zeros(observation.shape[:1], jnp.int32)

    return memoryless(choose, functools.partial(act, agent, policy))
