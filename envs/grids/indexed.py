"""What small worlds have in common: tasks with an index, and a reward that says success."""

from typing import Any

import jax
import jax.numpy as jnp

from envs.base import State, TaskEnv
from envs.errors import EnvError

MOST_TASKS = 10_000
"""With a name each."""


class IndexedTasks(TaskEnv):
    """M tasks with a name each; a task (int32 scalar) is an index into `task_names`.

    A step that pays is a success; nothing terminates, unless a world says so.
    """

    backend = "none"

    def sample_task(self, key: jax.Array) -> jax.Array:
        """Draws a task uniformly: int32 scalar."""
        return jax.random.randint(key, (), 0, len(self.task_names), dtype=jnp.int32)

    def all_tasks(self) -> jax.Array:
        """Returns int32 [M]: 0 … M - 1."""
        return jnp.arange(len(self.task_names), dtype=jnp.int32)


def require_several(option: str, number: int) -> None:
    """Raises an `EnvError` where an option is not a number of tasks, of which there are several."""
    if not isinstance(number, int) or not 2 <= number <= MOST_TASKS:
        raise EnvError(f"{option} must be an integer from 2 to {MOST_TASKS}, got {number!r}")


def first_state(world: Any, observation: jax.Array, task: jax.Array) -> State:
    """The state in which an episode starts."""
    zero = jnp.zeros((), jnp.float32)
    info = {"task": jnp.asarray(task, jnp.int32)}
    return State(world, observation, zero, zero, {"success": zero}, info)


def next_state(state: State, world: Any, observation: jax.Array, reward: jax.Array) -> State:
    """The state after a step."""
    return state.replace(
        pipeline_state=world,
        obs=observation,
        reward=reward,
        metrics={"success": (reward > 0).astype(jnp.float32)},
    )
