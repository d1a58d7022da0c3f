"""wheel_speeds: a wheel without friction that should turn left, stand still or turn right."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import State
from envs.grids.indexed import IndexedTasks, first_state, next_state

TORQUE = 0.3
"""Change of the speed by an action of 1."""
FASTEST = 2.0
"""No speed leaves [-FASTEST, FASTEST]."""
TOLERANCE = 0.2
"""A task pays within this distance of its speed."""

_SPEEDS = (-1.0, 0.0, 1.0)


@struct.dataclass
class WheelWorld:
    """What changes in an episode.

    Attributes:
        angle: in radians, float32 scalar.
        speed: radians per step, float32 scalar.
    """

    angle: jax.Array
    speed: jax.Array


class WheelSpeeds(IndexedTasks):
    """Three speeds of which one pays; the task (int32 scalar) is its index.

    Actions: float32 [1], the torque. Observation, float32 [3]: cosine and sine of the angle, and
    the speed. Reward: 1 within `TOLERANCE` of the task's speed after the step, else 0. Episodes
    start at any angle with a speed in [-1.5, 1.5]. Never terminates.
    """

    name = "wheel_speeds"
    episode_length = 30
    num_actions = None
    action_size = 1
    observation_size = 3
    task_names = ("left", "still", "right")

    def best_action(self, observation: jax.Array, task: jax.Array) -> jax.Array:
        """The action `[1]` of an optimal policy, which knows the task: straight to its speed."""
        missing = jnp.asarray(_SPEEDS)[task] - observation[2]
        return jnp.clip(missing / TORQUE, -1.0, 1.0)[None]

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Starts at any angle and with some speed."""
        key_angle, key_speed = jax.random.split(key)
        world = WheelWorld(
            angle=jax.random.uniform(key_angle, (), maxval=2 * np.pi),
            speed=jax.random.uniform(key_speed, (), minval=-1.5, maxval=1.5),
        )
        return first_state(world, _observe(world), task)

    def step(self, state: State, action: jax.Array) -> State:
        """Changes the speed and turns the wheel."""
        world = state.pipeline_state
        torque = TORQUE * jnp.clip(jnp.reshape(action, ()), -1.0, 1.0)
        speed = jnp.clip(world.speed + torque, -FASTEST, FASTEST)
        world = WheelWorld(angle=(world.angle + speed) % (2 * np.pi), speed=speed)
        missing = jnp.abs(jnp.asarray(_SPEEDS)[state.info["task"]] - speed)
        reward = (missing <= TOLERANCE).astype(jnp.float32)
        return next_state(state, world, _observe(world), reward)


def _observe(world: WheelWorld) -> jax.Array:
    return jnp.stack([jnp.cos(world.angle), jnp.sin(world.angle), world.speed])
