"""four_rooms: find a hidden goal in four rooms with doors; the task is the cell of the goal.

Frans et al. 2018, section 6.3: sub-policies learn on some goals and serve others that they never
saw. The map is that of Sutton et al. 1999 (options), the numbers are those of the authors' released
environment.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import State
from envs.errors import EnvError
from envs.grids.cells import cell_scene, free_cells, places
from envs.grids.indexed import IndexedTasks, first_state, next_state
from envs.scene import Scene

MAP = (
    "wwwwwwwwwwwww",
    "w.....w.....w",
    "w.....w.....w",
    "w...........w",
    "w.....w.....w",
    "w.....w.....w",
    "ww.wwww.....w",
    "w.....www.www",
    "w.....w.....w",
    "w.....w.....w",
    "w...........w",
    "w.....w.....w",
    "wwwwwwwwwwwww",
)
CELLS = free_cells(MAP, "w")
"""Row and column of each free cell, [104, 2]; a cell is known by its index here."""

START = 62
"""The cell in which episodes start, row 7 and column 9: the door between the rooms on the right."""

SLIP = 1 / 3
"""Probability with which a move that was not blocked goes on to a neighbor."""

UNSEEN = (
    0, 3, 14, 18, 31, 33, 40, 47, 53, 55, 56, 60, 65, 81,
    84, 90, 92, 95, 96, 99,
)  # fmt: skip
"""Goals that are not among those of training, drawn once: 5, 6, 5 and 4 of the rooms' cells, from
the upper left to the lower right."""

SEEN = ("cells", "walls")
"""What sub-policies may see."""

_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


@struct.dataclass
class FourRoomsWorld:
    """What changes in an episode.

    Attributes:
        cell: where the agent is, int32 scalar.
        key: of the slips to come.
    """

    cell: jax.Array
    key: jax.Array


class FourRooms(IndexedTasks):
    """A goal in one of the cells; the task (int32 scalar) is its index in `task_names`.

    Actions: 0 up, 1 down, 2 left, 3 right. A move into a wall does nothing. Any other enters the
    next cell and then, with probability `SLIP`, one of the free neighbors of that, each as likely.
    Observation, float32 [104]: the cell, one-hot; where sub-policies see walls [108]: then also
    whether each of the four moves is into one. Reward: 1 in the goal after the move, else 0.
    Never terminates.
    """

    name = "four_rooms"
    episode_length = 100
    num_actions = len(_MOVES)
    action_size = 1

    def __init__(self, goals: str = "training", subpolicies_see: str = "cells"):
        """Makes the set of tasks.

        Args:
            goals: "training" (83 cells), "unseen" (20, `UNSEEN`) or "all" (both, in the order of
                cells). The start is no goal.
            subpolicies_see: "cells", or "walls" for those around the agent alone, whatever the
                cell. What is learned about walls holds in cells where no goal of training is, as
                what a body does holds wherever it is (agent-space options, Konidaris and Barto
                2007).

        Raises:
            EnvError: there is no such set, or nothing of the kind to see.
        """
        every = [cell for cell in range(len(CELLS)) if cell != START]  # M = 103
        sets = {
            "training": [cell for cell in every if cell not in UNSEEN],
            "unseen": list(UNSEEN),
            "all": every,
        }
        if goals not in sets:
            raise EnvError(f"goals must be one of {', '.join(sets)}, got {goals!r}")
        if subpolicies_see not in SEEN:
            raise EnvError(
                f"subpolicies_see must be one of {', '.join(SEEN)}, got {subpolicies_see!r}"
            )
        self._sees_walls = subpolicies_see == "walls"
        self.goals = np.asarray(sets[goals], np.int32)
        self.task_names = tuple(f"goal_{cell}" for cell in sets[goals])
        self._after = _after()

    @property
    def observation_size(self) -> int:
        """The cells, and the moves that may be into walls."""
        return len(CELLS) + (len(_MOVES) if self._sees_walls else 0)

    @property
    def place_indices(self) -> tuple[int, ...]:
        """The cell."""
        return tuple(range(len(CELLS)))

    @property
    def subpolicy_observation_indices(self) -> tuple[int, ...]:
        """The cell, or the walls around it."""
        return tuple(range(len(CELLS), self.observation_size)) or self.place_indices

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """The map and the goal."""
        del observation
        return cell_scene(MAP, "w", CELLS[START], CELLS[self.goals[int(task)]])

    def positions(self, observation: np.ndarray, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        """The place of the cell."""
        del metrics
        return places(CELLS[np.argmax(observation[..., : len(CELLS)], axis=-1)])

    def best_returns(self, episode_length: int) -> np.ndarray:
        """The optimum of every goal by value iteration from the end of an episode, [M]."""
        pays = self.moves[:, :, self.goals]  # [104, 4, M]
        values = np.zeros((len(CELLS), len(self.goals)))
        for _ in range(episode_length):
            values = (pays + np.tensordot(self.moves, values, axes=1)).max(axis=1)
        return values[START]

    @functools.cached_property
    def moves(self) -> np.ndarray:
        """The probability of each cell after an action in one, float64 [104, 4, 104]."""
        return _probabilities(self._after)

    @functools.cached_property
    def blocked(self) -> np.ndarray:
        """Whether a move out of a cell is into a wall, bool [104, 4]."""
        return self._after == np.arange(len(CELLS))[:, None]

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Starts in `START`."""
        world = FourRoomsWorld(cell=jnp.asarray(START, jnp.int32), key=key)
        return first_state(world, self._observe(world.cell), task)

    def step(self, state: State, action: jax.Array) -> State:
        """Moves, and perhaps slips."""
        world = state.pipeline_state
        key, key_slip, key_where = jax.random.split(world.key, 3)
        after = jnp.asarray(self._after)
        entered = after[world.cell, jnp.reshape(action, ()).astype(jnp.int32)]
        # A neighbor that is a wall is where the cell itself stands in the table.
        is_free = after[entered] != entered
        neighbor = jax.random.categorical(key_where, jnp.where(is_free, 0.0, -jnp.inf))
        slips = (entered != world.cell) & (jax.random.uniform(key_slip) < SLIP)
        cell = jnp.where(slips, after[entered, neighbor], entered)
        reward = (cell == jnp.asarray(self.goals)[state.info["task"]]).astype(jnp.float32)
        return next_state(state, FourRoomsWorld(cell, key), self._observe(cell), reward)

    def _observe(self, cell: jax.Array) -> jax.Array:
        observation = jax.nn.one_hot(cell, len(CELLS))
        if not self._sees_walls:
            return observation
        return jnp.concatenate([observation, jnp.asarray(self.blocked, jnp.float32)[cell]])


def _after() -> np.ndarray:
    """Where a move leads without a slip, int32 [104, 4]: the same cell where a wall is."""
    index = {tuple(cell): number for number, cell in enumerate(CELLS.tolist())}
    return np.array(
        [
            [index.get((row + down, column + right), number) for down, right in _MOVES]
            for number, (row, column) in enumerate(CELLS.tolist())
        ],
        np.int32,
    )


def _probabilities(after: np.ndarray) -> np.ndarray:
    """Where a move ends, with slips, [104, 4, 104]."""
    cells = np.arange(len(after))
    is_free = after != cells[:, None]
    slips = np.zeros((len(after), len(after)))  # from the cell that was entered
    np.add.at(slips, (cells[:, None], after), is_free / is_free.sum(axis=1, keepdims=True))
    entered = np.eye(len(after))[after]  # [104, 4, 104]
    with_slips = (1 - SLIP) * entered + SLIP * slips[after]
    return np.where(is_free[..., None], with_slips, entered)
