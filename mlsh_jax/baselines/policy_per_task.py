"""A policy of its own for each task, from scratch and without hierarchy: plain PPO or A2C.

What a fresh master on trained sub-policies has to beat on a task (paper, section 6.1: a new single
policy from scratch). Each is what `single_policy` would be on that task alone.
"""

import dataclasses
import functools
from typing import Any

import jax

from mlsh_jax.adapt import Episodes, play
from mlsh_jax.agent import Agent
from mlsh_jax.baselines import single_policy
from mlsh_jax.baselines.method import Method, Setting
from mlsh_jax.baselines.single_policy import SinglePolicyState
from mlsh_jax.metrics import Metrics, behavior_metrics
from mlsh_jax.tasks import Tasks


def make_method(setting: Setting) -> Method[SinglePolicyState]:
    """The policies as a method; they adapt to nothing.

    Every part of the state has a leading task axis, `[G, ...]`, and its tasks are `[G, 1, ...]`.

    Raises:
        ConfigError: the learner does not suit the batches of a task.
    """
    num_tasks = setting.tasks.index.shape[0]
    of_one = dataclasses.replace(setting.config, num_tasks=1)
    agent, full_agent = single_policy.make_agents(
        dataclasses.replace(setting, config=of_one, num_shares=1)
    )
    return Method(
        name="policy_per_task",
        init=functools.partial(init, agent, tasks=setting.tasks),
        iteration=functools.partial(iteration, agent),
        adapt=lambda state, key: state,
        play=lambda state, key: evaluate(full_agent, state, key, setting.num_episodes),
        env_steps=num_tasks * agent.config.steps_per_iteration,
        num_tasks=num_tasks,
        spread=tuple(field.name for field in dataclasses.fields(SinglePolicyState)),
    )


def init(agent: Agent, key: jax.Array, tasks: Tasks) -> SinglePolicyState:
    """Untrained policies at the start of episodes of `tasks`, `[G, ...]`."""
    num_tasks = tasks.index.shape[0]
    alone: Tasks = jax.tree.map(lambda x: x[:, None], tasks)
    keys = jax.random.split(key, num_tasks)
    state: SinglePolicyState = jax.vmap(functools.partial(single_policy.init, agent))(keys, alone)
    return state


def iteration(agent: Agent, state: SinglePolicyState) -> tuple[SinglePolicyState, Metrics]:
    """Collects D steps of each task and improves its policy from these."""
    state, rollouts, updates = jax.vmap(functools.partial(single_policy.learn, agent))(state)
    tasks, rollouts = _without_groups((state.tasks, rollouts))
    metrics = behavior_metrics(agent, tasks, rollouts) | {
        f"policy/{name}": value.mean() for name, value in updates.items()
    }
    return state, metrics


def evaluate(agent: Agent, state: SinglePolicyState, key: jax.Array, num_envs: int) -> Episodes:
    """Plays whole episodes of every task with its policy."""
    behave = functools.partial(single_policy.behavior, agent.frozen())
    return play(agent, behave, state.policy, _without_groups(state.tasks), key, num_envs)


def _without_groups(tree: Any) -> Any:
    """Groups of one task each, `[G, 1, ...]`, as `[G, ...]`."""
    return jax.tree.map(lambda x: x[:, 0], tree)
