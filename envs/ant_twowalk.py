"""ant_twowalk: an ant that is asked to walk right or up, without being told which.

Frans et al. 2018, section 6.3. There are no walls, so this is the fastest of the ant tasks; its
sub-policies are the ones to carry over to `ant_obstacle`.
"""

import jax
import jax.numpy as jnp

from envs.ant import AntEnv, clip_action, observe, position_metrics
from envs.base import State
from envs.errors import EnvError

REWARDS = ("velocity", "distance")
"""Values of the option `reward`."""

EDGE = 40.0
"""Distance from the start to the goal edge: that of the course in `ant_obstacle`."""

_CONTROL_COST = 0.1  # of the squared torques, as in the authors' released environment


class AntTwoWalk(AntEnv):
    """Walk along +x ("right") or +y ("up"); the task is that direction, float32 [2].

    Reward "velocity": speed along the direction in units per second, minus 0.1 of the sum of
    squared (clipped) torques (the released code also subtracts half the distance off the axis).
    Reward "distance", the paper's: minus the distance to the goal
    edge, `EDGE` units from the start along the direction.
    """

    name = "ant_twowalk"
    episode_length = 1000
    task_names = ("right", "up")

    def __init__(self, reward: str = "velocity", backend: str = "spring"):
        """Makes the environment.

        Args:
          reward: one of `REWARDS`.
          backend: one of `envs.ant.BACKENDS`.

        Raises:
          EnvError: if an option has another value.
        """
        if reward not in REWARDS:
            raise EnvError(f"reward must be one of {', '.join(REWARDS)}, got {reward!r}")
        super().__init__(backend)
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
        zero = jnp.zeros((), jnp.float32)
        metrics = position_metrics(physics, jnp.ones((), bool))
        info = {"task": jnp.asarray(task, jnp.float32)}
        return State(physics, observe(physics), zero, zero, metrics, info)

    def step(self, state: State, action: jax.Array) -> State:
        """Applies the torques for one env step (0.05 s)."""
        action = clip_action(action)
        before = state.pipeline_state
        physics, finite = self._simulate(self.sys, before, action)
        direction = state.info["task"]
        if self._reward_kind == "velocity":
            speed = jnp.dot(physics.q[:2] - before.q[:2], direction) / self.dt
            reward = speed - _CONTROL_COST * jnp.sum(action**2)
        else:
            reward = -jnp.abs(EDGE - jnp.dot(physics.q[:2], direction))
        return state.replace(
            pipeline_state=physics,
            obs=observe(physics),
            reward=jnp.where(finite, reward, 0.0),
            done=1.0 - finite.astype(jnp.float32),
            metrics=position_metrics(physics, finite),
        )
