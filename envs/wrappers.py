"""Time limits for task distributions.

Brax's own `EpisodeWrapper` derives shapes from `rng.shape`, which typed keys do not have, and
does not tell a time limit from a termination. This one does, and leaves restarting to the
rollout, which needs the final observation to bootstrap from.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from envs.base import PHYSICS_NAN, Env, State, Task, TaskEnv
from envs.errors import EnvError
from envs.scene import Scene


class EpisodeWrapper(TaskEnv):
    """Ends episodes after `episode_length` steps and freezes them when they have ended.

    Adds to `state.info`: `steps` (int32, taken in this episode), `terminated` (bool, the task
    ended the episode), `truncated` (bool, the time limit did, and only it, or a failure of the
    physics, which is no outcome of the task) and `failed` (bool, the physics did). `state.done`
    is 1 when `terminated` or `truncated` holds.

    It never resets: the observation of a done state is the final observation of the episode.
    A step from a done state changes nothing (observation, physics, metrics and info keep their
    bits, done stays 1) and is rewarded with 0. The caller restarts with `reset_to_task`.
    """

    def __init__(self, env: TaskEnv, episode_length: int):
        """Wraps `env`.

        Args:
            env: the task distribution, whose `done` means terminated.
            episode_length: steps after which an episode is truncated, at least 1.

        Raises:
            EnvError: if `episode_length` is not a positive integer.
        """
        if isinstance(episode_length, bool) or not isinstance(episode_length, int):
            raise EnvError(f"episode_length must be an integer, got {episode_length!r}")
        if episode_length < 1:
            raise EnvError(f"episode_length must be at least 1, got {episode_length}")
        self.env = env
        self.name = env.name
        self.episode_length = episode_length
        self.num_actions = env.num_actions
        self.task_names = env.task_names
        # Tracing physics takes seconds; inside jit it is traced once for all programs.
        self._reset_to_task = jax.jit(env.reset_to_task)
        self._step = jax.jit(env.step)

    def reset_to_task(self, key: jax.Array, task: Task) -> State:
        """Starts an episode of `task` with the step counter at 0."""
        state = self._reset_to_task(key, task)
        info = {
            **state.info,
            "steps": jnp.zeros((), jnp.int32),
            "terminated": state.done > 0,
            "truncated": jnp.zeros((), bool),
            "failed": jnp.zeros((), bool),
        }
        return state.replace(info=info)

    def step(self, state: State, action: jax.Array) -> State:
        """Steps a running episode; leaves a finished one as it is, with reward 0."""
        stepped = self._step(state, action)
        steps = state.info["steps"] + 1
        failed = stepped.metrics.get(PHYSICS_NAN, jnp.zeros(())) > 0
        terminated = (stepped.done > 0) & ~failed
        truncated = ((steps >= self.episode_length) & ~terminated) | failed
        info = {
            **stepped.info,
            "steps": steps,
            "terminated": terminated,
            "truncated": truncated,
            "failed": failed,
        }
        stepped = stepped.replace(info=info, done=(terminated | truncated).astype(jnp.float32))
        finished = state.replace(reward=jnp.zeros_like(state.reward))
        return jax.tree.map(lambda old, new: jnp.where(state.done > 0, old, new), finished, stepped)

    def sample_task(self, key: jax.Array) -> Task:
        """Draws a task from the wrapped distribution."""
        return self.env.sample_task(key)

    def all_tasks(self) -> Task | None:
        """Returns all tasks of the wrapped distribution, None if there are infinitely many."""
        return self.env.all_tasks()

    def scene(self, task: Task, observation: np.ndarray | None = None) -> Scene | None:
        """Returns what there is to draw of a world of the wrapped environment."""
        return self.env.scene(task, observation)

    def best_returns(self, episode_length: int | None = None) -> np.ndarray | None:
        """Returns what an optimal player earns on each task [M], where the environment knows it."""
        length = self.episode_length if episode_length is None else episode_length
        return self.env.best_returns(length)

    def best_return_of(self, task: Task, episode_length: int | None = None) -> float | None:
        """Returns what an optimal player earns on a task, where the environment knows it."""
        length = self.episode_length if episode_length is None else episode_length
        return self.env.best_return_of(task, length)

    def positions(self, observation: np.ndarray, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns x and y of the agent, [..., 2], as the wrapped environment tells them."""
        return self.env.positions(observation, metrics)

    def item_positions(
        self, task: Task, observation: np.ndarray, metrics: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Returns x and y of the items, [R, 1 + T, I, 2], as the wrapped environment does."""
        return self.env.item_positions(task, observation, metrics)

    def headings(self, observation: np.ndarray) -> np.ndarray | None:
        """Returns where the agent faces, [...], as the wrapped environment tells it."""
        return self.env.headings(observation)

    @property
    def observation_size(self) -> int:
        """Length of the observation vector."""
        return self.env.observation_size

    @property
    def action_size(self) -> int:
        """Length of the action vector, 1 for discrete actions."""
        return self.env.action_size

    @property
    def subpolicy_observation_indices(self) -> tuple[int, ...]:
        """Entries of the observation that sub-policies see."""
        return self.env.subpolicy_observation_indices

    @property
    def place_indices(self) -> tuple[int, ...]:
        """Entries of the observation that say where in the world an agent is."""
        return self.env.place_indices

    @property
    def backend(self) -> str:
        """The physics backend, "none" where there is no physics."""
        return self.env.backend

    @property
    def unwrapped(self) -> Env:
        """The environment without wrappers."""
        return self.env.unwrapped
