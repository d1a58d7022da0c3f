"""corner_rooms: four rooms with doors between them; the task is in which corner the pay is.

The rooms are those of Sutton et al. 1999 (options), smaller and of equal size.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import State
from envs.grids.cells import shortest_ways
from envs.grids.indexed import IndexedTasks, first_state, next_state

_MAP = (
    "....#....",
    "....#....",
    ".........",
    "....#....",
    "##.###.##",
    "....#....",
    ".........",
    "....#....",
    "....#....",
)
_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


@struct.dataclass
class RoomsWorld:
    """What changes in an episode.

    Attributes:
        cell: row and column, int32 [2].
    """

    cell: jax.Array


class CornerRooms(IndexedTasks):
    """Four corners of which one pays; the task (int32 scalar) is its index.

    Actions: 0 up, 1 down, 2 left, 3 right; a move into a wall or out of the map does nothing.
    Observation, float32 [18]: the row and the column, one-hot. Reward: 1 in the corner of the task
    after the move, else 0. Episodes start in any free cell. Never terminates.
    """

    name = "corner_rooms"
    episode_length = 30
    num_actions = len(_MOVES)
    action_size = 1
    task_names = ("top_left", "top_right", "bottom_left", "bottom_right")

    def __init__(self) -> None:
        """Makes the map, and the shortest way to each corner."""
        self._is_free = np.array([[mark == "." for mark in row] for row in _MAP])
        self._free = np.argwhere(self._is_free).astype(np.int32)  # [F, 2]
        last = len(_MAP) - 1
        self._corners = np.array([(0, 0), (0, last), (last, 0), (last, last)], np.int32)
        self._best = np.stack([self._ways(tuple(corner)) for corner in self._corners])

    @property
    def observation_size(self) -> int:
        """One-hot row and column."""
        return 2 * len(_MAP)

    def best_action(self, observation: jax.Array, task: jax.Array) -> jax.Array:
        """The action of an optimal policy, which knows the task: the shortest way."""
        row, column = jnp.argmax(jnp.reshape(observation, (2, -1)), axis=1)
        return jnp.asarray(self._best)[task, row, column]

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Starts in any free cell."""
        world = RoomsWorld(cell=jax.random.choice(key, jnp.asarray(self._free)))
        return first_state(world, self._observe(world), task)

    def step(self, state: State, action: jax.Array) -> State:
        """Moves to the next cell, if it is free."""
        cell = state.pipeline_state.cell
        index = jnp.reshape(action, ()).astype(jnp.int32)
        target = jnp.clip(cell + jnp.asarray(_MOVES, jnp.int32)[index], 0, len(_MAP) - 1)
        cell = jnp.where(jnp.asarray(self._is_free)[target[0], target[1]], target, cell)
        corner = jnp.asarray(self._corners)[state.info["task"]]
        reward = jnp.all(cell == corner).astype(jnp.float32)
        world = RoomsWorld(cell=cell)
        return next_state(state, world, self._observe(world), reward)

    def _observe(self, world: RoomsWorld) -> jax.Array:
        return jax.nn.one_hot(world.cell, len(_MAP)).reshape(-1)

    def _ways(self, goal: tuple[int, int]) -> np.ndarray:
        """The move that is best in every cell, int32 [R, C]; at the goal one into the corner."""
        _, first = shortest_ways(self._is_free, goal, _MOVES)
        first[goal] = 0 if goal[0] == 0 else 1
        return first
