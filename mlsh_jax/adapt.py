"""Fresh masters on given tasks with φ frozen: adaptation, evaluation and transfer.

The paper's tests on single tasks (section 6.1) are the warmup without a joint phase after it. The
same functions serve the evaluation at the end of a training run and the transfer to an environment
that φ has never seen.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax.agent import Agent, Master, SubPolicies, hierarchy
from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.metrics import Metrics
from mlsh_jax.mlsh import Lives, begin_lives, warmup
from mlsh_jax.rl.config import require
from mlsh_jax.rollout import (
    Behavior,
    Rollout,
    before_episodes,
    first_environments,
    rollout_all,
)
from mlsh_jax.tasks import Tasks, sample_tasks, select_tasks

RECORDED = 8
"""Environments of each task whose episodes are kept step by step, to look at."""


@struct.dataclass
class AdaptationState:
    """Masters that are learning, with φ held outside.

    Attributes:
        lives: masters and environments of G tasks.
        key: typed PRNG key.
    """

    lives: Lives
    key: jax.Array


@struct.dataclass
class FrozenState:
    """Masters that are learning and the φ they learn on, so that both are resumed together.

    Attributes:
        subpolicies: φ, which stays as it is.
        adaptation: the masters.
    """

    subpolicies: SubPolicies
    adaptation: AdaptationState


@struct.dataclass
class Episodes:
    """Whole episodes of G agents in E environments each.

    Attributes:
        returns: sum of rewards of an episode, `[G, E]`.
        lengths: env steps of an episode, `[G, E]`.
        terminated: whether an episode ended for good, as by a fall or at a goal, bool `[G, E]`.
        usage: share of slices that each sub-policy had, `[G, K]`.
        env_sums: every metric of the environment, summed over the episode, `[G, E]` each.
        env_finals: every metric of the environment at the last step, `[G, E]` each.
        steps_to_success: env steps until the environment first reported `success`, `[G, E]`;
            infinite where it never did, None where it reports none.
        failed: whether the physics failed in the episode, which says nothing then, bool `[G, E]`.
        recorded: the first `RECORDED` environments step by step, `[G, S, N, R, ...]`; what came
            after the episode has weight 0.
    """

    returns: jax.Array
    lengths: jax.Array
    terminated: jax.Array
    usage: jax.Array
    env_sums: dict[str, jax.Array]
    env_finals: dict[str, jax.Array]
    steps_to_success: jax.Array | None
    failed: jax.Array
    recorded: Rollout


@struct.dataclass
class Assessment:
    """What frozen sub-policies are worth on a set of G tasks.

    Attributes:
        initial: episodes with untrained masters, `[G, ...]`.
        adapted: episodes with the same masters after adaptation, `[G, ...]`.
        forced: episodes in which one sub-policy acts throughout, `[K, G, ...]`.
    """

    initial: Episodes
    adapted: Episodes
    forced: Episodes


def evaluation_tasks(env: TaskEnvironment, key: jax.Array, num_tasks: int) -> Tasks:
    """The tasks that an evaluation visits, in the order of `env.all_tasks()`.

    Args:
        env: a task distribution.
        key: for distributions that are infinite.
        num_tasks: how many tasks; of a finite distribution at least one of each.

    Returns:
        Every task of a finite distribution equally often, at least `num_tasks` in all; or
        `num_tasks` samples of an infinite one.
    """
    num_kinds = len(env.task_names)
    if not num_kinds:
        return sample_tasks(env, key, num_tasks, stratify=False)
    repeats = -(-num_tasks // num_kinds)
    return select_tasks(env.all_tasks(), jnp.repeat(jnp.arange(num_kinds), repeats))


def init_adaptation(agent: Agent, key: jax.Array, tasks: Tasks) -> AdaptationState:
    """Untrained masters at the start of episodes of `tasks`."""
    key, key_lives = jax.random.split(key)
    return AdaptationState(lives=begin_lives(agent, key_lives, tasks), key=key)


def adapt(
    agent: Agent, subpolicies: SubPolicies, state: AdaptationState, iterations: int
) -> tuple[AdaptationState, Metrics]:
    """Lets the masters learn for `iterations` iterations; metrics are `[iterations, ...]`."""
    key, key_warmup = jax.random.split(state.key)
    lives, metrics = warmup(agent.frozen(), subpolicies, state.lives, key_warmup, iterations)
    return AdaptationState(lives=lives, key=key), metrics


def iteration(agent: Agent, state: FrozenState) -> tuple[FrozenState, Metrics]:
    """Lets the masters learn for one iteration."""
    masters, metrics = adapt(agent, state.subpolicies, state.adaptation, 1)
    state = dataclasses.replace(state, adaptation=masters)
    return state, {name: values[0] for name, values in metrics.items()}


def evaluate(
    agent: Agent,
    subpolicies: SubPolicies,
    masters: Master,
    tasks: Tasks,
    forced: jax.Array,
    key: jax.Array,
    num_envs: int,
) -> Episodes:
    """Plays whole episodes from their start, learning nothing.

    Args:
        agent: the functions; `agent.env.episode_length` must be a multiple of N.
        subpolicies: φ.
        masters: θ of each task, `[G, ...]`.
        tasks: `[G, ...]`.
        forced: int32 `[G]`: a sub-policy that acts throughout, or -1 to let the master choose.
        key: typed PRNG key.
        num_envs: E, episodes per task.

    Returns:
        Results `[G, ...]`.
    """

    def behave(policy: tuple[Master, jax.Array]) -> Behavior:
        master, forced_k = policy
        return hierarchy(agent.frozen(), subpolicies, master, forced_k, learning=False)

    return play(agent, behave, (masters, forced), tasks, key, num_envs)


def play(
    agent: Agent,
    behave: Callable[[Any], Behavior],
    policies: Any,
    tasks: Tasks,
    key: jax.Array,
    num_envs: int,
) -> Episodes:
    """Plays one whole episode in each of E environments of every task.

    Args:
        agent: the functions; `agent.env` says how long an episode is.
        behave: makes a behavior from what is particular to a task.
        policies: what is particular to each task, `[G, ...]`.
        tasks: `[G, ...]`.
        key: typed PRNG key.
        num_envs: E.

    Returns:
        Results `[G, ...]`.
    """
    *_, rollouts = rollout_all(
        agent.env,
        behave,
        policies,
        key,
        tasks,
        before_episodes(agent.env, key, tasks, num_envs),
        num_slices=agent.env.episode_length // agent.config.macro_length,
        macro_length=agent.config.macro_length,
    )
    return jax.vmap(lambda data: _first_episodes(data, agent.config.num_subpolicies))(rollouts)


def compare(
    agent: Agent,
    subpolicies: SubPolicies,
    initial: Master,
    adapted: Master,
    tasks: Tasks,
    key: jax.Array,
    num_envs: int,
) -> Assessment:
    """Plays episodes with masters before and after adaptation and with each sub-policy alone.

    All of them are played by one call of `evaluate`, so that it is compiled once.

    Args:
        agent: the functions; says how long episodes are.
        subpolicies: φ.
        initial: untrained masters, `[G, ...]`.
        adapted: masters that have learned, `[G, ...]`.
        tasks: `[G, ...]`.
        key: typed PRNG key.
        num_envs: E, episodes per task and behavior.
    """
    num_tasks = tasks.index.shape[0]
    num_subpolicies = agent.config.num_subpolicies
    groups = [initial, adapted] + [initial] * num_subpolicies
    forced = jnp.repeat(jnp.array([-1, -1, *range(num_subpolicies)]), num_tasks)
    episodes = evaluate(
        agent,
        subpolicies,
        jax.tree.map(lambda *x: jnp.concatenate(x), *groups),
        jax.tree.map(lambda x: jnp.concatenate([x] * len(groups)), tasks),
        forced,
        key,
        num_envs,
    )
    grouped = jax.tree.map(lambda x: x.reshape(len(groups), num_tasks, *x.shape[1:]), episodes)
    return Assessment(
        initial=jax.tree.map(lambda x: x[0], grouped),
        adapted=jax.tree.map(lambda x: x[1], grouped),
        forced=jax.tree.map(lambda x: x[2:], grouped),
    )


@functools.partial(jax.jit, static_argnames=("agent", "num_envs", "iterations"))
def assess(
    agent: Agent,
    subpolicies: SubPolicies,
    tasks: Tasks,
    key: jax.Array,
    num_envs: int,
    iterations: int,
) -> tuple[Assessment, Metrics]:
    """Measures frozen sub-policies: fresh masters before and after adaptation, and each alone.

    It is compiled (`jax.jit`) once for each agent and shapes.

    Args:
        agent: the functions; `agent.env` says how long an episode is.
        subpolicies: φ.
        tasks: `[G, ...]`.
        key: typed PRNG key.
        num_envs: E, episodes per task and behavior.
        iterations: of adaptation.

    Returns:
        The assessment and the learning curve of the adaptation, `[iterations, ...]`: among others
        `return`, `usage` and, of several sub-policies, `divergence` `[iterations, K]`, how far each
        is from the one most like it where masters chose.

    Raises:
        ConfigError: a number is impossible, or the sub-policies are more or fewer than the agent's.
    """
    require(num_envs >= 1, "num_envs", f"must be at least 1, got {num_envs}")
    require(iterations >= 0, "iterations", f"must be at least 0, got {iterations}")
    given = jax.tree.leaves(subpolicies.params)[0].shape[0]
    expected = agent.config.num_subpolicies
    require(given == expected, "num_subpolicies", f"the agent has {expected}, φ has {given}")
    key_init, key_play = jax.random.split(key)
    start = init_adaptation(agent, key_init, tasks)
    end, curve = adapt(agent, subpolicies, start, iterations)
    assessment = compare(
        agent,
        subpolicies,
        start.lives.masters,
        end.lives.masters,
        tasks,
        key_play,
        num_envs,
    )
    return assessment, curve


def _first_episodes(data: Rollout, num_subpolicies: int) -> Episodes:
    """Summarizes the first episode of every environment of one task's rollout."""
    # A slice belongs to the first episode until one before it has ended.
    ended = jnp.any(data.terminated, axis=1) | data.truncated  # [S, E]
    ended_before = jnp.cumsum(ended, axis=0) - ended
    in_first = (ended_before == 0).astype(data.reward.dtype)  # [S, E]
    weight = data.weight * in_first[:, None]  # [S, N, E]

    usage = jax.nn.one_hot(data.subpolicy, num_subpolicies) * in_first[..., None]

    def time_last(values: jax.Array) -> jax.Array:
        return jnp.moveaxis(values, 2, 0).reshape(values.shape[2], -1)  # [E, S*N]

    flat_weight = time_last(weight)
    last_step = flat_weight.shape[1] - 1 - jnp.argmax(flat_weight[:, ::-1] > 0, axis=1)

    def final(metric: jax.Array) -> jax.Array:
        return jnp.take_along_axis(time_last(metric), last_step[:, None], axis=1)[:, 0]

    def steps_until(metric: jax.Array) -> jax.Array:
        positive = time_last(metric * weight) > 0
        # The steps of an episode are all there up to its end, so that a place among them counts.
        return jnp.where(positive.any(axis=1), jnp.argmax(positive, axis=1) + 1.0, jnp.inf)

    return Episodes(
        returns=jnp.sum(data.reward * weight, axis=(0, 1)),
        lengths=jnp.sum(weight, axis=(0, 1)),
        # Of the first one alone: another one follows a failure of the physics.
        terminated=jnp.any(data.terminated & (weight > 0), axis=(0, 1)),
        usage=usage.sum(axis=(0, 1)) / in_first.sum(),
        env_sums={n: jnp.sum(m * weight, axis=(0, 1)) for n, m in data.env_metrics.items()},
        env_finals={n: final(m) for n, m in data.env_metrics.items()},
        steps_to_success=jax.tree.map(steps_until, data.env_metrics.get("success")),
        failed=(data.failed & (ended_before == 0)).any(axis=0),
        recorded=first_environments(dataclasses.replace(data, weight=weight), RECORDED),
    )
