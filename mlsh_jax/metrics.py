"""What is reported of the rollouts of an iteration."""

import jax
import jax.numpy as jnp

from mlsh_jax.agent import Agent
from mlsh_jax.rollout import Rollout
from mlsh_jax.tasks import Tasks, task_mean

Metrics = dict[str, jax.Array]
"""Scalars and small vectors by their names."""


def behavior_metrics(agent: Agent, tasks: Tasks, rollouts: Rollout) -> Metrics:
    """Return per episode and use of the sub-policies, in all and per task.

    `episodes` is how many each task has had on average, parts of them included.
    Where the environment reports `success`, its rate is the share of environments that were
    successful at any step of the rollout. `physics_failures` counts the episodes that ended because
    the physics was not finite; `waiting` is the share of steps that do not count, since an episode
    had ended before its slice did.

    Returns are those of the rollouts alone. Of ones that are much shorter than episodes that
    terminate they are too high at the start of a life, when none has come to its end yet.
    """
    episodes = _num_episodes(rollouts, agent.env.episode_length)  # [G]
    task_returns = rollouts.reward.sum(axis=(1, 2, 3)) / episodes
    usage = subpolicy_usage(agent, rollouts)
    metrics = {
        "return": task_returns.mean(),
        "episodes": episodes.mean(),
        "usage": usage.mean(axis=0),
        "physics_failures": rollouts.failed.sum().astype(jnp.float32),
        "waiting": (1.0 - rollouts.weight).mean(),
    }
    if "success" in rollouts.env_metrics:
        metrics["success_rate"] = (rollouts.env_metrics["success"] > 0).any(axis=(1, 2)).mean()
    if agent.env.task_names:
        num_kinds = len(agent.env.task_names)
        metrics["task_return"] = task_mean(task_returns, tasks.index, num_kinds)
        metrics["task_usage"] = task_mean(usage, tasks.index, num_kinds)
    return metrics


def subpolicy_usage(agent: Agent, rollouts: Rollout, counts: jax.Array | bool = True) -> jax.Array:
    """Share of slices that each sub-policy had in each task, `[G, K]`.

    Args:
        agent: the functions.
        rollouts: of all tasks.
        counts: which slices count, bool `[G, S, E]`; all by default. Without any there is no usage.
    """
    had = jax.nn.one_hot(rollouts.subpolicy, agent.config.num_subpolicies)  # [G, S, E, K]
    counts = jnp.broadcast_to(counts, rollouts.subpolicy.shape)
    number = jnp.maximum(counts.sum(axis=(1, 2)), 1)
    return (had * counts[..., None]).sum(axis=(1, 2)) / number[:, None]


def _num_episodes(rollouts: Rollout, episode_length: int) -> jax.Array:
    """How many episodes rollouts consist of, `[G]`.

    One that terminates counts as a whole one, of any other the share of its full length that ran: a
    rollout may begin and end in the middle of it.
    """
    running = rollouts.weight > 0  # [G, S, N, E]
    terminated = rollouts.terminated & running
    num_tasks, num_slices, macro_length, num_envs = running.shape
    time = jnp.arange(num_slices * macro_length).reshape(num_slices, macro_length, 1)
    # A slice in which an episode was truncated waits for its own last step.
    is_last = time % macro_length == macro_length - 1
    ended = terminated | (rollouts.truncated[:, :, None] & is_last)

    def next_one(happens: jax.Array) -> jax.Array:
        """When something happens next, `[G, S * N, E]`; at the end of time if it does not."""
        when = jnp.where(happens, time, time.size).reshape(num_tasks, -1, num_envs)
        return jax.lax.cummin(when, axis=1, reverse=True)

    next_termination = next_one(terminated)
    terminates = (next_termination == next_one(ended)) & (next_termination < time.size)
    steps = running.reshape(terminates.shape) & ~terminates
    episodes = terminated.sum(axis=(1, 2, 3)) + steps.sum(axis=(1, 2)) / episode_length
    return jnp.maximum(episodes, 1.0 / episode_length)  # not a step, where all physics failed
