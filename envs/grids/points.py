"""moving_bandits: walk to one of several visible points; the task is which of them pays.

Frans et al. 2018, section 6.2; the numbers are those of the authors' released environment.
Walking straight to the paying point earns 43.76 on average over an episode of 50 steps, walking
to another one 2.15.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import State
from envs.grids.indexed import IndexedTasks, first_state, next_state, require_several
from envs.scene import NO_WALLS, Scene

SIZE = 400.0
"""Side of the square in which the points are drawn; also the unit of the observation."""
START = (200.0, 200.0)
"""Where the agent starts."""
STRIDE = 20.0
"""Distance covered by one move."""
RADIUS = 50.0
"""The reward is paid strictly within this distance of the task's point."""

_MOVES = ((0.0, 0.0), (STRIDE, 0.0), (-STRIDE, 0.0), (0.0, STRIDE), (0.0, -STRIDE))


@struct.dataclass
class BanditsWorld:
    """What moves and what does not, in world units.

    Attributes:
        agent: float32 [2], x and y; may leave the square.
        points: float32 [M, 2], uniform in the square.
    """

    agent: jax.Array
    points: jax.Array


class MovingBandits(IndexedTasks):
    """M points, one of which pays; the task (int32 scalar) is its index.

    Actions: 0 stay, 1 right (+x), 2 left, 3 up (+y), 4 down. Observation, float32 [2 + 2 M]:
    agent, point 0, point 1 … as x and y, divided by `SIZE`. Reward: 1 within `RADIUS` of
    the task's point after the move, else 0. Never terminates.
    """

    name = "moving_bandits"
    episode_length = 50
    num_actions = len(_MOVES)
    action_size = 1

    def __init__(self, num_points: int = 2):
        """Makes the square.

        Args:
            num_points: M, at least 2; the paper and the released code have 2.

        Raises:
            EnvError: there are less than 2 points.
        """
        require_several("num_points", num_points)
        self.num_points = num_points
        self.task_names = tuple(f"point_{index}" for index in range(num_points))

    @property
    def observation_size(self) -> int:
        """The places of the agent and of the points."""
        return 2 + 2 * self.num_points

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """The square; of an episode also the points and the area around the one that pays."""
        scene = Scene(
            walls=NO_WALLS,
            start=START,
            bounds=(-RADIUS, SIZE + RADIUS, -RADIUS, SIZE + RADIUS),
            agent_radius=STRIDE / 2,
        )
        if observation is None:
            return scene
        points = (SIZE * np.reshape(observation[2:], (-1, 2))).tolist()
        x, y = points[int(task)]
        marks = tuple((px, py, str(index)) for index, (px, py) in enumerate(points))
        return dataclasses.replace(scene, goal=(x, y), goal_radius=RADIUS, marks=marks)

    def positions(self, observation: np.ndarray, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        """X and y of the agent, which are in the observation."""
        del metrics
        return SIZE * observation[..., :2]

    def best_action(self, observation: jax.Array, task: jax.Array) -> jax.Array:
        """The action of an optimal policy, which knows the task: along the longer way first."""
        places = SIZE * jnp.reshape(observation, (-1, 2))
        offset = places[1 + task] - places[0]
        axis = jnp.argmax(jnp.abs(offset))
        move = 1 + 2 * axis + (offset[axis] < 0)
        return jnp.where(jnp.sum(offset**2) < RADIUS**2, 0, move)

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Puts the agent in the middle and draws the points anew."""
        world = BanditsWorld(
            agent=jnp.asarray(START, jnp.float32),
            points=jax.random.uniform(key, (self.num_points, 2), maxval=SIZE),
        )
        return first_state(world, _observe(world), task)

    def step(self, state: State, action: jax.Array) -> State:
        """Moves the agent by one stride or not at all."""
        world = state.pipeline_state
        index = jnp.reshape(action, ()).astype(jnp.int32)
        world = world.replace(agent=world.agent + jnp.asarray(_MOVES, jnp.float32)[index])
        offset = world.points[state.info["task"]] - world.agent
        reward = (jnp.sum(offset**2) < RADIUS**2).astype(jnp.float32)
        return next_state(state, world, _observe(world), reward)


def _observe(world: BanditsWorld) -> jax.Array:
    return jnp.concatenate([world.agent, world.points.reshape(-1)]) / SIZE
