"""The contract of a task distribution: a Brax environment whose task is data.

A task is a pytree of arrays handed to `reset_to_task` and kept in
`state.info["task"]`; it is never a constant of the compiled program, so one compilation
serves every task of a distribution, also under `jax.vmap` over keys and tasks.
"""

import abc
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import envs.quiet  # noqa: F401  (before Brax, which imports what would print)

# isort: split
from brax.envs.base import Env, State

from envs.errors import EnvError
from envs.scene import Scene

__all__ = ["Env", "EnvError", "Scene", "State", "Task", "TaskEnv"]

PHYSICS_NAN = "physics_nan"
"""Metric of environments with physics: 1 in a step in which it failed, else 0."""

Task = Any
"""A pytree of arrays with the same structure, shapes and dtypes for all tasks."""


class TaskEnv(Env):
    """A distribution of tasks that share dynamics, observations and actions.

    Every function is pure and works on a single instance; batch with `jax.vmap`. Keys are
    typed (`jax.random.key`). `reset_to_task` and `step` return states of one pytree
    structure with the same dtypes, so that states can be scanned over and selected between.

    `state.done` (float32, 0 or 1) means *terminated*, or, where `state.metrics[PHYSICS_NAN]` is 1,
    that the physics failed: the state is then the one before the step, the reward 0. The time
    limit is added by `envs.wrappers.EpisodeWrapper`.

    Actions: a continuous environment takes float32 `[action_size]` in [-1, 1] and has
    `num_actions` None. A discrete one takes an integer in `range(num_actions)`, as a scalar
    or with shape [1]; its `action_size` is 1, the width of the array that Brax would pass.

    Attributes:
        name: the name it is registered under.
        episode_length: env steps of an episode in the definition of the task (T).
        num_actions: number of discrete actions, None where actions are continuous.
        task_names: one name per row of `all_tasks()`, empty where tasks are infinitely many.
    """

    name: str
    episode_length: int
    num_actions: int | None
    task_names: tuple[str, ...]

    @abc.abstractmethod
    def sample_task(self, key: jax.Array) -> Task:
        """Draws a task from the distribution."""

    @abc.abstractmethod
    def reset_to_task(self, key: jax.Array, task: Task) -> State:
        """Starts an episode of `task`; everything else random is drawn from `key`."""

    @abc.abstractmethod
    def all_tasks(self) -> Task | None:
        """Returns all M tasks stacked along a leading axis, None if there are infinitely many."""

    def reset(self, rng: jax.Array) -> State:
        """Starts an episode of a task drawn from the distribution (Brax's signature)."""
        key_task, key_reset = jax.random.split(rng)
        return self.reset_to_task(key_reset, self.sample_task(key_task))

    @property
    def subpolicy_observation_indices(self) -> tuple[int, ...]:
        """Entries of the observation that sub-policies see; all unless a subclass narrows it."""
        return tuple(range(self.observation_size))

    @property
    def place_indices(self) -> tuple[int, ...]:
        """Entries of the observation that say where in the world an agent is; all by default."""
        return tuple(range(self.observation_size))

    def scene(self, task: Task, observation: np.ndarray | None = None) -> Scene | None:
        """Returns what there is to draw of a world, None (the default) where there is nothing.

        With a scene a run leaves pictures of episodes. An environment with a body (the attribute
        `sys`, as Brax's have it) is drawn as that body, any other as a ball of
        `Scene.agent_radius`.

        Args:
            task: a single task, no batch; its values must be known (not inside `jax.jit`).
            observation: the first one of an episode, float32 [O], for a world that is another in
                every episode; None for what all episodes of the task share.
        """
        del task, observation
        return None

    def best_returns(self, episode_length: int) -> np.ndarray | None:
        """Returns what an optimal player that knows the task earns on average, exactly.

        Args:
            episode_length: env steps of an episode.

        Returns:
            Undiscounted returns of all M tasks, float64 [M]; None (the default) where they are not
            known, or tasks are infinitely many (`best_return_of`).
        """
        del episode_length
        return None

    def best_return_of(self, task: Task, episode_length: int) -> float | None:
        """Returns what an optimal player earns on a task, where tasks are too many to be listed.

        Args:
            task: a single task, whose values are known (not inside `jax.jit`).
            episode_length: env steps of an episode.

        Returns:
            Its undiscounted return, on average; None (the default) where that is not known.
        """
        del task, episode_length
        return None

    def positions(self, observation: np.ndarray, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns x and y of the agent, [..., 2], from what was recorded of states.

        By default from the metrics `x_position` and `y_position`. Needed where there is a scene.

        Args:
            observation: [..., O].
            metrics: of the same states, [...] each.
        """
        del observation
        return np.stack([metrics["x_position"], metrics["y_position"]], axis=-1)

    def item_positions(
        self, task: Task, observation: np.ndarray, metrics: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Returns x and y of the I items of the scene in R episodes of T steps, [R, 1 + T, I, 2].

        NaN where one is not to be seen. Needed where a scene has items; by default there are none.

        Args:
            task: a single task, whose values are known (not inside `jax.jit`).
            observation: before the first and after each step, [R, 1 + T, O].
            metrics: after each step, [R, T] each.
        """
        del task, metrics
        return np.zeros((*observation.shape[:-1], 0, 2), np.float32)

    def headings(self, observation: np.ndarray) -> np.ndarray | None:
        """Returns where an agent without a body faces, [...], in radians from x toward y.

        None (the default) where it faces nowhere.

        Args:
            observation: [..., O].
        """
        del observation
        return None
