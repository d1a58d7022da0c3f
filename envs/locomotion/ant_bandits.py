"""ant_bandits: an ant that is to stop at one of two places, without being told which.

One of the authors' released environments, with its numbers; it is not in the paper. There are no
walls. Unlike in `ant_twowalk` a skill has to end where the goal is, so that here sub-policies see
where they are.
"""

import jax
import jax.numpy as jnp
import numpy as np

from envs.base import State
from envs.locomotion.ant import CONTROL_COST, AntEnv
from envs.locomotion.bodies import (
    check_choice,
    clip_action,
    first_state,
    next_state,
    simulate,
    within,
)
from envs.scene import NO_WALLS, Scene

REWARDS = ("progress", "distance")
"""Values of the option `reward`."""

GOALS = np.array([[5.0, 0.0], [0.0, 5.0]], np.float32)
"""The goals of the two tasks, x and y."""

SUCCESS_RADIUS = 1.0

_DISTANCE_SCALE = 3000.0


class AntBandits(AntEnv):
    """Go to a goal that the observation does not show, and stay; the task is the goal, [2].

    Reward "progress": decrease of the distance to the goal in units per second, minus 0.1 of the
    sum of squared (clipped) torques, the scale of the rewards of `ant_twowalk` and `ant_maze`.
    Reward "distance", the released one (in the plane): minus the square root of the distance to
    the goal, over 3000. The metric `success` is 1 in a step that ends within 1 unit of the goal.
    """

    name = "ant_bandits"
    episode_length = 1000
    task_names = ("right", "up")

    def __init__(
        self, reward: str = "progress", backend: str = "spring", position_visible: bool = True
    ):
        """Makes the environment.

        Args:
            reward: one of `REWARDS`.
            backend: one of `envs.locomotion.ant.BACKENDS`.
            position_visible: whether sub-policies see x and y.

        Raises:
            EnvError: if an option has another value.
        """
        check_choice("reward", reward, REWARDS)
        super().__init__(backend, position_visible)
        self._reward_kind = reward

    def sample_task(self, key: jax.Array) -> jax.Array:
        """Draws a goal: float32 [2]."""
        return self.all_tasks()[jax.random.randint(key, (), 0, len(self.task_names))]

    def all_tasks(self) -> jax.Array:
        """Returns both goals: float32 [2, 2]."""
        return jnp.asarray(GOALS)

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """No walls; the goal and its radius of success."""
        del observation
        x, y = np.asarray(task).tolist()
        return Scene(
            walls=NO_WALLS,
            start=(0.0, 0.0),
            bounds=(-3.0, 8.0, -3.0, 8.0),
            goal=(x, y),
            goal_radius=SUCCESS_RADIUS,
        )

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Stands the ant at the origin."""
        physics = self.pipeline_init(*self._draw_pose(key))
        goal = jnp.asarray(task, jnp.float32)
        success = within(physics, goal, SUCCESS_RADIUS)
        return first_state(physics, {"task": goal}, success=success)

    def step(self, state: State, action: jax.Array) -> State:
        """Applies the torques for one env step (0.05 s)."""
        action = clip_action(action)
        before = state.pipeline_state
        goal = state.info["task"]
        physics, sound = simulate(self, self.sys, before, action)
        distance = jnp.linalg.norm(physics.q[:2] - goal)
        if self._reward_kind == "progress":
            speed = (jnp.linalg.norm(before.q[:2] - goal) - distance) / self.dt
            reward = speed - CONTROL_COST * jnp.sum(action**2)
        else:
            reward = -jnp.sqrt(distance) / _DISTANCE_SCALE
        success = within(physics, goal, SUCCESS_RADIUS)
        return next_state(state, physics, sound, reward, success=success)
