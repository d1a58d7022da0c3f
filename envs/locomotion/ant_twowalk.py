"""ant_twowalk: an ant that is asked to walk right or up, without being told which.

Frans et al. 2018, section 6.4. There are no walls. Its sub-policies are the ones to carry over
to `ant_obstacle`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from envs.base import State
from envs.locomotion.ant import CONTROL_COST, PACE, AntEnv
from envs.locomotion.bodies import check_choice, clip_action, first_state, next_state, simulate
from envs.scene import NO_WALLS, Scene

REWARDS = ("pace", "velocity", "paper")
"""Values of the option `reward`."""

SIDEWAYS_COST = 0.5
"""Weight of moving off the axis (released code: of the distance off it)."""

EDGE = 40.0
"""Distance from the start to the destination: that to the edge of the course in `ant_obstacle`."""


class AntTwoWalk(AntEnv):
    """Walk along +x ("right") or +y ("up"); the task is that direction, float32 [2].

    Reward "pace": speed along the direction in units per second, at most `PACE`, minus
    `SIDEWAYS_COST` of the speed across it and 0.1 of the sum of squared (clipped) torques.
    Reward "velocity": the speed without that limit and without the sideways cost. Reward
    "paper", the paper's: minus the distance to the destination, the point `EDGE` units from the
    start along the direction.
    """

    name = "ant_twowalk"
    episode_length = 1000
    task_names = ("right", "up")

    def __init__(
        self, reward: str = "pace", backend: str = "spring", position_visible: bool = False
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
        """Draws a direction: float32 [2]."""
        return self.all_tasks()[jax.random.randint(key, (), 0, len(self.task_names))]

    def all_tasks(self) -> jax.Array:
        """Returns both directions: float32 [2, 2]."""
        return jnp.eye(2, dtype=jnp.float32)

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Stands the ant at the origin."""
        physics = self.pipeline_init(*self._draw_pose(key))
        return first_state(physics, {"task": jnp.asarray(task, jnp.float32)})

    def step(self, state: State, action: jax.Array) -> State:
        """Applies the torques for one env step (0.05 s)."""
        action = clip_action(action)
        before = state.pipeline_state
        physics, sound = simulate(self, self.sys, before, action)
        reward = self._reward(before.q[:2], physics.q[:2], action, state.info["task"])
        return next_state(state, physics, sound, reward)

    def _reward(
        self, before: jax.Array, after: jax.Array, action: jax.Array, direction: jax.Array
    ) -> jax.Array:
        """Reward of a step from one place [2] to another."""
        if self._reward_kind == "paper":
            return -jnp.linalg.norm(after - EDGE * direction)
        velocity = (after - before) / self.dt
        along, across = jnp.dot(velocity, direction), jnp.dot(velocity, direction[::-1])
        effort = CONTROL_COST * jnp.sum(action**2)
        if self._reward_kind == "velocity":
            return along - effort
        return jnp.minimum(along, PACE) - SIDEWAYS_COST * jnp.abs(across) - effort

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """No walls; as goal the destination."""
        del observation
        x, y = (EDGE * np.asarray(task)).tolist()
        return Scene(
            walls=NO_WALLS, start=(0.0, 0.0), goal=(x, y), bounds=(-10.0, 50.0, -10.0, 50.0)
        )
