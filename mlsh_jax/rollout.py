"""Sliced rollouts: the master chooses a sub-policy, which then acts for N steps.

One rollout gives both views of the data (paper, section 4.2): the macro view, in which a slice is
one transition of the master, and the step view, in which it is N transitions of the sub-policy
that was active. `rollout` is for the E environments of one task, `rollout_all` for G tasks.

An episode that terminates inside a slice is over until the slice ends: its environment is frozen
and its remaining steps have weight 0. The next slice starts with a new episode of the same task.
So it is where the physics failed, and there the failing step has weight 0 as well and the episode
counts as truncated.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.rl.networks import select
from mlsh_jax.tasks import Tasks


@struct.dataclass
class Rollout:
    """S slices of N steps in E environments of one task.

    Attributes:
        observation: before each step, `[S, N, E, O]`.
        action: `[S, N, E]` or `[S, N, E, A]`.
        reward: `[S, N, E]`, zero once an episode is over.
        weight: 1 for steps of a running episode whose physics did not fail, else 0, `[S, N, E]`.
        terminated: whether the episode ended for good at or before this step of the slice,
            bool `[S, N, E]`.
        truncated: whether it ran into its time limit in this slice, or its physics failed, bool
            `[S, E]`.
        failed: whether its physics failed in this slice, bool `[S, E]`.
        subpolicy: active sub-policy k of each slice, int32 `[S, E]`.
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
    next_observation: jax.Array
    env_metrics: dict[str, jax.Array]


@struct.dataclass
class MacroView:
    """A rollout as the master sees it: one transition per slice.

    Attributes:
        observation: at the start of the slice, `[S, E, O]`.
        action: the choice k, int32 `[S, E]`.
        reward: sum over the slice, `[S, E]`.
        next_observation: `[S, E, O]`.
        terminated: whether the episode ended for good inside the slice, bool `[S, E]`.
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
    per_slice = ("truncated", "failed", "subpolicy", "next_observation")
    return Rollout(
        **{n: jax.tree.map(lambda x: x[:, :, :count], getattr(rollout, n)) for n in per_step},
        **{n: getattr(rollout, n)[:, :count] for n in per_slice},
    )


def macro_view(rollout: Rollout) -> MacroView:
    """The rollout at the master's time resolution (paper, section 4.2, "warmup")."""
    return MacroView(
        observation=rollout.observation[:, 0],
        action=rollout.subpolicy,
        reward=rollout.reward.sum(axis=1),
        next_observation=rollout.next_observation,
        terminated=rollout.terminated[:, -1],
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


def restart_finished(env: TaskEnvironment, key: jax.Array, task: Any, env_state: Any) -> Any:
    """Replaces the environments `[E, ...]` whose episode is over by new episodes of `task`."""
    fresh = start_episodes(env, key, task, env_state.done.shape[0])

    def choose(done: jax.Array, new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(done > 0, n, o), new, old)

    return jax.vmap(choose)(env_state.done, fresh, env_state)


@dataclasses.dataclass(frozen=True)
class Behavior:
    """What acts in a rollout; both functions are for a batch of E environments.

    Attributes:
        choose: `(observation [E, O], key) -> k [E]`, called at the start of a slice.
        act: `(observation [E, O], k [E], key) -> action [E, ...]`, called at every step.
    """

    choose: Callable[[jax.Array, jax.Array], jax.Array]
    act: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def rollout(
    env: TaskEnvironment,
    behavior: Behavior,
    key: jax.Array,
    task: Any,
    env_state: Any,
    *,
    num_slices: int,
    macro_length: int,
) -> tuple[Any, Rollout]:
    """Collects S slices of N steps in each of the E environments of one task.

    Args:
        env: the environment.
        behavior: chooses sub-policies and actions.
        key: typed PRNG key.
        task: one task.
        env_state: where the environments are, `[E, ...]`.
        num_slices: S.
        macro_length: N.

    Returns:
        Where the environments are afterwards, and what happened.
    """

    def step(choice, env_state, key):
        observation, running = env_state.obs, 1.0 - env_state.done
        action = behavior.act(observation, choice, key)
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
        return env_state, transition

    def one_slice(env_state, key):
        key_restart, key_choice, key_steps = jax.random.split(key, 3)
        env_state = restart_finished(env, key_restart, task, env_state)
        choice = behavior.choose(env_state.obs, key_choice)  # [E], held for N steps
        step_keys = jax.random.split(key_steps, macro_length)
        env_state, transitions = jax.lax.scan(functools.partial(step, choice), env_state, step_keys)
        end_of_slice = {
            "truncated": env_state.info["truncated"],
            "failed": env_state.info["failed"],
            "subpolicy": choice,
            "next_observation": env_state.obs,
        }
        return env_state, Rollout(**transitions, **end_of_slice)

    return jax.lax.scan(one_slice, env_state, jax.random.split(key, num_slices))


def rollout_all(
    env: TaskEnvironment,
    behave: Callable[[Any], Behavior],
    policies: Any,
    key: jax.Array,
    tasks: Tasks,
    env_states: Any,
    *,
    num_slices: int,
    macro_length: int,
) -> tuple[Any, Rollout]:
    """`rollout` on G tasks at once.

    Args:
        env: as in `rollout`.
        behave: makes a behavior from what is particular to a task.
        policies: what is particular to each task, such as its master, `[G, ...]`.
        key: typed PRNG key.
        tasks: `[G, ...]`.
        env_states: `[G, E, ...]`.
        num_slices: S.
        macro_length: N.

    Returns:
        Where the environments are afterwards, `[G, E, ...]`, and what happened,
        `[G, S, N, E, ...]`.
    """

    def one_task(key, policy, task, env_state):
        return rollout(
            env,
            behave(policy),
            key,
            task,
            env_state,
            num_slices=num_slices,
            macro_length=macro_length,
        )

    keys = jax.random.split(key, tasks.index.shape[0])
    return jax.vmap(one_task)(keys, policies, tasks.task, env_states)


def subpolicy_actions(policy: Callable, params: Any, observation: jax.Array, k: jax.Array) -> Any:
    """Action distribution of the active sub-policy of each environment.

    All K sub-policies are evaluated, which for small networks is cheaper than gathering
    parameters per environment.

    Args:
        policy: of one sub-policy, `(params, observation) -> Distribution`.
        params: stacked, `[K, ...]`.
        observation: as sub-policies see it, `[..., O]`.
        k: active sub-policy, int32 `[...]`.

    Returns:
        Distribution with leading axes `[...]`.
    """
    return select(jax.vmap(policy, in_axes=(0, None))(params, observation), k)
