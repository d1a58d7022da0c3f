"""Sliced rollouts: the master chooses a sub-policy, which then acts for N steps.

One rollout gives both views of the data (paper, section 4.1): the macro view, in which a slice is
one transition of the master, and the step view, in which it is N transitions of the sub-policy
that was active. `rollout` is for the E environments of one task, `rollout_all` for G tasks.

An episode that terminates inside a slice is over until the slice ends: its environment is frozen
and its remaining steps have weight 0. The next slice starts with a new episode of the same task.
The same holds where the physics failed; there the failing step has weight 0 as well and the episode
counts as truncated.

With `restart_within_slices` a new episode begins in the step after a termination instead, and the
choice holds on until the slice ends: nothing waits but for time limits and failed physics, and the
macro view knows nothing of what came after the first termination, for which its choice was not
made.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.tasks import Tasks


@struct.dataclass
class Rollout:
    """S slices of N steps in E environments of one task.

    Attributes:
        observation: before each step, `[S, N, E, O]`.
        action: `[S, N, E]` or `[S, N, E, A]`.
        reward: `[S, N, E]`, zero once an episode is over.
        weight: 1 for steps of a running episode whose physics did not fail, else 0, `[S, N, E]`.
        terminated: whether the episode ended for good at this step; where environments wait for the
            end of the slice also at the steps after it, bool `[S, N, E]`.
        truncated: whether it ran into its time limit in this slice, or its physics failed, bool
            `[S, E]`.
        failed: whether its physics failed in this slice, bool `[S, E]`.
        subpolicy: active sub-policy k of each slice, int32 `[S, E]`.
        imposed: whether the behavior had chosen another one, bool `[S, E]`.
        next_observation: at the end of each slice, before any restart, `[S, E, O]`.
        env_metrics: what the environment reports at each step, `[S, N, E]` each.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    weight: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    failed: jax.Array
    subpolicy: jax.Array
    imposed: jax.Array
    next_observation: jax.Array
    env_metrics: dict[str, jax.Array]


@struct.dataclass
class MacroView:
    """A rollout as the master sees it: one transition per slice.

    Attributes:
        observation: at the start of the slice, `[S, E, O]`.
        action: the choice k, int32 `[S, E]`.
        reward: sum over the slice, or up to the first termination in it, `[S, E]`.
        next_observation: `[S, E, O]`, of no meaning after a termination.
        terminated: whether an episode ended for good inside the slice, bool `[S, E]`.
        truncated: bool `[S, E]`.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    next_observation: jax.Array
    terminated: jax.Array
    truncated: jax.Array


def first_environments(rollout: Rollout, count: int) -> Rollout:
    """The part of the rollout of one task that its first `count` environments made."""
    per_step = ("observation", "action", "reward", "weight", "terminated", "env_metrics")
    per_slice = ("truncated", "failed", "subpolicy", "imposed", "next_observation")
    return Rollout(
        **{n: jax.tree.map(lambda x: x[:, :, :count], getattr(rollout, n)) for n in per_step},
        **{n: getattr(rollout, n)[:, :count] for n in per_slice},
    )


def macro_view(rollout: Rollout) -> MacroView:
    """The rollout at the master's time resolution (paper, section 4.1, "warmup")."""
    ended_before = rollout.terminated.cumsum(axis=1) - rollout.terminated > 0  # [S, N, E]
    return MacroView(
        observation=rollout.observation[:, 0],
        action=rollout.subpolicy,
        reward=(rollout.reward * ~ended_before).sum(axis=1),
        next_observation=rollout.next_observation,
        terminated=rollout.terminated.any(axis=1),
        truncated=rollout.truncated,
    )


def start_episodes(env: TaskEnvironment, key: jax.Array, task: Any, num_envs: int) -> Any:
    """Environment states `[E, ...]` at the start of episodes of `task`."""
    keys = jax.random.split(key, num_envs)
    return jax.vmap(env.reset_to_task, in_axes=(0, None))(keys, task)


def before_episodes(env: TaskEnvironment, key: jax.Array, tasks: Tasks, num_envs: int) -> Any:
    """Environment states `[G, E, ...]` in which no episode has begun.

    They count as finished, so that a rollout starts with new episodes. Making real ones here
    instead would compile the environment's reset once more.

    Args:
        env: as in `rollout`.
        key: any typed PRNG key. JAX traces a reset, which takes a second, once for each kind of
            arguments, and where these lie is part of it: a key and tasks of the program itself
            are of the kind that the rollout will reset with.
        tasks: `[G, ...]`.
        num_envs: E.
    """
    batch_shape = tasks.index.shape[0], num_envs

    def blank(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.broadcast_to(key, (*batch_shape, *leaf.shape))
        return jnp.zeros((*batch_shape, *leaf.shape), leaf.dtype)

    first = jax.tree.map(lambda leaf: leaf[0], tasks.task)
    state = jax.tree.map(blank, jax.eval_shape(env.reset_to_task, key, first))
    return state.replace(done=jnp.ones_like(state.done))


def restart(ended: jax.Array, fresh: Any, env_state: Any) -> Any:
    """Replaces the environments `[E, ...]` that have `ended` (bool `[E]`) by `fresh` ones."""

    def choose(ended: jax.Array, new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(ended, n, o), new, old)

    return jax.vmap(choose)(ended, fresh, env_state)


@struct.dataclass
class Feedback:
    """What came of one step, for behaviors that remember.

    Attributes:
        action: what was done, `[E]` or `[E, A]`.
        reward: of the step, `[E]`.
        weight: 0 where the episode was over before the step or its physics failed in it, `[E]`.
        terminated: whether the episode ended for good, bool `[E]`.
        truncated: whether it ran into its time limit or its physics failed, bool `[E]`.
    """

    action: jax.Array
    reward: jax.Array
    weight: jax.Array
    terminated: jax.Array
    truncated: jax.Array


@dataclasses.dataclass(frozen=True)
class Behavior:
    """What acts in a rollout; all functions are for a batch of E environments.

    A memory `[E, ...]` goes with the environments from step to step, through slices and across the
    ends of episodes, and whoever calls `rollout` keeps it from one rollout to the next. So a
    recurrent policy remembers in `act`; one that learns within a life hears of rewards and of
    ends in `remember`; and one that terminates its choices by itself remembers the choice, with
    slices of one step, and makes a new one in `choose` when it likes. Most have none
    (`memoryless`).

    Attributes:
        choose: `(observation [E, O], memory, key) -> (k [E], memory)`, called at the start of a
            slice.
        act: `(observation [E, O], k [E], memory, key) -> (action [E, ...], memory)`, called at
            every step.
        remember: `(memory, Feedback) -> memory`, called after every step.
    """

    choose: Callable[[jax.Array, Any, jax.Array], tuple[jax.Array, Any]]
    act: Callable[[jax.Array, jax.Array, Any, jax.Array], tuple[jax.Array, Any]]
    remember: Callable[[Any, Feedback], Any]


def memoryless(
    choose: Callable[[jax.Array, jax.Array], jax.Array],
    act: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
) -> Behavior:
    """A behavior that remembers nothing; its memory is whatever it is given, such as `()`.

    Args:
        choose: `(observation [E, O], key) -> k [E]`.
        act: `(observation [E, O], k [E], key) -> action [E, ...]`.
    """
    return Behavior(
        choose=lambda observation, memory, key: (choose(observation, key), memory),
        act=lambda observation, k, memory, key: (act(observation, k, key), memory),
        remember=lambda memory, feedback: memory,
    )


def rollout(
    env: TaskEnvironment,
    behavior: Behavior,
    key: jax.Array,
    task: Any,
    env_state: Any,
    memory: Any = (),
    starts: jax.Array | None = None,
    *,
    num_slices: int,
    macro_length: int,
    restart_within_slices: bool = False,
) -> tuple[Any, Any, Rollout]:
    """Collects S slices of N steps in each of the E environments of one task.

    Args:
        env: the environment.
        behavior: chooses sub-policies and actions.
        key: typed PRNG key.
        task: one task.
        env_state: where the environments are, `[E, ...]`.
        memory: of the behavior, `[E, ...]`; none for one that is memoryless.
        starts: sub-policies that act at the start of episodes whatever the behavior chooses, int32
            `[S, E]`: in one that begins with slice s those from s on, up to the first that is
            negative, also in an episode that begins within a slice in between.
        num_slices: S.
        macro_length: N.
        restart_within_slices: whether a new episode begins right after one that terminated, rather
            than with the next slice. All of a slice begin in the same state, drawn once.

    Returns:
        Where the environments are afterwards, the memory, and what happened.
    """

    def step(choice, fresh, carry, key):
        env_state, memory = carry
        if restart_within_slices:  # of one that was truncated the last observation is still needed
            env_state = restart(env_state.info["terminated"], fresh, env_state)
        observation, running = env_state.obs, 1.0 - env_state.done
        action, memory = behavior.act(observation, choice, memory, key)
        env_state = jax.vmap(env.step)(env_state, action)
        weight = jnp.where(env_state.info["failed"], 0.0, running)
        transition = {
            "observation": observation,
            "action": action,
            "reward": env_state.reward * weight,
            "weight": weight,
            "terminated": env_state.info["terminated"],
            "env_metrics": env_state.metrics,
        }
        feedback = Feedback(
            action=action,
            reward=transition["reward"],
            weight=weight,
            terminated=transition["terminated"],
            truncated=env_state.info["truncated"],
        )
        return (env_state, behavior.remember(memory, feedback)), transition

    def one_slice(carry, inputs):
        (env_state, memory, is_start), (key, start) = carry, inputs
        key_restart, key_choice, key_steps = jax.random.split(key, 3)
        fresh = start_episodes(env, key_restart, task, env_state.done.shape[0])
        is_start |= env_state.done > 0
        env_state = restart(env_state.done > 0, fresh, env_state)
        choice, memory = behavior.choose(env_state.obs, memory, key_choice)
        is_start &= start >= 0
        is_imposed = is_start & (start != choice)
        choice = jnp.where(is_imposed, start, choice)
        (env_state, memory), transitions = jax.lax.scan(
            functools.partial(step, choice, fresh),  # the choice [E] holds for N steps
            (env_state, memory),
            jax.random.split(key_steps, macro_length),
        )
        end_of_slice = {
            "truncated": env_state.info["truncated"],
            "failed": env_state.info["failed"],
            "subpolicy": choice,
            "imposed": is_imposed,
            "next_observation": env_state.obs,
        }
        return (env_state, memory, is_start), Rollout(**transitions, **end_of_slice)

    if starts is None:
        starts = jnp.full((num_slices, env_state.done.shape[0]), -1)
    (env_state, memory, _), data = jax.lax.scan(
        one_slice,
        (env_state, memory, jnp.zeros(starts.shape[1:], bool)),
        (jax.random.split(key, num_slices), starts),
    )
    return env_state, memory, data


def rollout_all(
    env: TaskEnvironment,
    behave: Callable[[Any], Behavior],
    policies: Any,
    key: jax.Array,
    tasks: Tasks,
    env_states: Any,
    memories: Any = (),
    starts: jax.Array | None = None,
    *,
    num_slices: int,
    macro_length: int,
    restart_within_slices: bool = False,
) -> tuple[Any, Any, Rollout]:
    """`rollout` on G tasks at once.

    Args:
        env: as in `rollout`.
        behave: makes a behavior from what is particular to a task.
        policies: what is particular to each task, such as its master, `[G, ...]`.
        key: typed PRNG key.
        tasks: `[G, ...]`.
        env_states: `[G, E, ...]`.
        memories: of the behaviors, `[G, E, ...]`.
        starts: as in `rollout`, `[G, S, E]`.
        num_slices: S.
        macro_length: N.
        restart_within_slices: as in `rollout`.

    Returns:
        Where the environments are afterwards, `[G, E, ...]`, the memories, and what happened,
        `[G, S, N, E, ...]`.
    """

    def one_task(key, policy, task, env_state, memory, starts):
        return rollout(
            env,
            behave(policy),
            key,
            task,
            env_state,
            memory,
            starts,
            num_slices=num_slices,
            macro_length=macro_length,
            restart_within_slices=restart_within_slices,
        )

    keys = jax.random.split(key, tasks.index.shape[0])
    return jax.vmap(one_task)(keys, policies, tasks.task, env_states, memories, starts)
