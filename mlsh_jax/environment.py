"""What the library asks of an environment: the contract, seen from the side that uses it.

The library imports no environment. Whatever has these attributes and functions can be learned on;
`envs.base.TaskEnv` inside an `envs.wrappers.EpisodeWrapper` has them.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax


@runtime_checkable
class EnvState(Protocol):
    """Where one instance of an environment is; a pytree, so that it can be batched and scanned.

    It has a method `replace`, as flax's dataclasses do. What the environment needs for itself it
    keeps in further fields.
    """

    @property
    def obs(self) -> jax.Array:
        """Observation, float32 `[O]`; that of a finished episode is its final one."""

    @property
    def reward(self) -> jax.Array:
        """Reward of the step that led here, float32 scalar."""

    @property
    def done(self) -> jax.Array:
        """1 where the episode is over, for whatever reason, else 0, float32 scalar."""

    @property
    def metrics(self) -> Mapping[str, jax.Array]:
        """What is reported of the state, float32 scalars.

        A few names have a meaning to whoever measures: `success`, 1 where the task is solved;
        `x_position` and `y_position`, where the agent is.
        """

    @property
    def info(self) -> Mapping[str, Any]:
        """Of each state, as bool scalars, how its episode ended, if it did.

        `terminated`, as the task has it, so that nothing is to be had after it; `truncated`, by
        the time limit or a failure of the physics; `failed`, by the latter, so that the step is
        not to be learned from.
        """


@runtime_checkable
class TaskEnvironment(Protocol):
    """A distribution of tasks that share dynamics, observations and actions.

    Every function is pure and works on a single instance; the library batches them with
    `jax.vmap`, over keys and over tasks. A task is a pytree of arrays that has the same structure,
    shapes and dtypes for all tasks. `reset_to_task` and `step` return states of one structure.
    """

    @property
    def name(self) -> str:
        """What it is called in messages and files."""

    @property
    def episode_length(self) -> int:
        """Env steps after which an episode is truncated (T)."""

    @property
    def num_actions(self) -> int | None:
        """Number of discrete actions (A), None where actions are continuous."""

    @property
    def action_size(self) -> int:
        """Length of a continuous action (A), 1 where actions are discrete."""

    @property
    def observation_size(self) -> int:
        """Length of the observation (O)."""

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the M tasks of `all_tasks`; empty where tasks are infinitely many."""

    @property
    def subpolicy_observation_indices(self) -> tuple[int, ...]:
        """Entries of the observation that sub-policies see."""

    @property
    def place_indices(self) -> tuple[int, ...]:
        """Entries of the observation that say where in the world an agent is."""

    def sample_task(self, key: jax.Array) -> Any:
        """Draws a task from the distribution."""

    def all_tasks(self) -> Any | None:
        """Returns all tasks along a leading axis, `[M, ...]`; None if infinitely many."""

    def reset_to_task(self, key: jax.Array, task: Any) -> EnvState:
        """Starts an episode of `task`; everything else random is drawn from `key`."""

    def step(self, state: Any, action: jax.Array) -> EnvState:
        """Acts for one env step.

        Args:
            state: that `reset_to_task` or `step` returned. One whose episode is over stays as it
                is and is rewarded with 0.
            action: float32 `[A]` in [-1, 1], or an integer in `range(num_actions)`.
        """


def has_physics(env: TaskEnvironment) -> bool:
    """Whether an environment simulates bodies, as its `backend` says if it has one."""
    return getattr(env, "backend", "none") != "none"
