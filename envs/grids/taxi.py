"""taxi: fetch a passenger at one of four places and bring it to another one.

Dietterich 2000, on the map and with the two sets of tasks that later work on hierarchies compares
MLSH on: "igl" is that of Igl et al. 2020 (arXiv 1904.01033), "kuric" that of Kuric and van Hoof
2023. What is asked for is hidden; the observation says only whether the passenger is on board.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import State
from envs.errors import EnvError
from envs.grids.cells import cell_scene, free_cells, places, shortest_ways
from envs.grids.indexed import IndexedTasks, first_state, next_state
from envs.scene import Scene

MAP = (
    "wwwwwwww",
    "w11w111w",
    "w11w111w",
    "w111111w",
    "w111111w",
    "w1w1w11w",
    "w1w1w11w",
    "wwwwwwww",
)
CELLS = free_cells(MAP, "w")
"""Row y and column x of each free cell, [30, 2]."""

SIDE = 6
"""Of the map without its rim."""

PLACES = {"R": (1, 1), "G": (1, 6), "Y": (6, 1), "B": (6, 5)}
"""Row y and column x of the places."""

HELD_OUT = (0, 4, 8, 13, 17, 21, 26, 30, 34, 39, 43, 47)
"""Numbers of those of the 60 tasks that are not among those of training."""

STEP_COST = 0.1
PAY = 2.0
"""Of the step that brings the passenger to its destination, which costs nothing; so in the code of
both papers."""

_MOVES = ((0, 0), (-1, 0), (1, 0), (0, 1), (0, -1), (0, 0))  # rows and columns
_SERVE = 5
_ORDER = "RYBG"  # in which the 60 tasks count the places


class Task(NamedTuple):
    """A line of a set of tasks.

    Attributes:
        name: unlike that of any other.
        start: place where the taxi starts, None for any cell that is no place.
        pick_up: place where the passenger is, None where it is on board from the start.
        destination: place to which it wants.
    """

    name: str
    start: str | None
    pick_up: str | None
    destination: str


@struct.dataclass
class TaxiWorld:
    """What changes in an episode.

    Attributes:
        cell: row and column of the taxi, int32 [2].
        on_board: whether the passenger is, bool scalar.
        time: steps of the episode, int32 scalar.
    """

    cell: jax.Array
    on_board: jax.Array
    time: jax.Array


class Taxi(IndexedTasks):
    """Where the passenger is and wants to; the task (int32 scalar) is its index in `task_names`.

    Actions: 0 nothing, 1 up (y - 1), 2 down (y + 1), 3 right (x + 1), 4 left (x - 1), 5 pick up or
    drop; what is not possible does nothing. Observation, float32 [72]: one-hot of
    36 · on_board + 6 (y - 1) + x - 1. Reward: -`STEP_COST` for a step, but `PAY` for the one that
    drops the passenger at the destination, which terminates.
    """

    name = "taxi"
    num_actions = len(_MOVES)
    action_size = 1
    observation_size = 2 * SIDE**2

    def __init__(self, tasks: str = "igl", split: str = "training"):
        """Makes the set of tasks.

        Args:
            tasks: "igl": 12 tasks, pick-up and destination; the taxi starts in any cell that is no
                place, and episodes have 50 steps. "kuric": 60 tasks, which say where it starts as
                well, of 1,500 steps, of which the last pays -2.
            split: "training": of "igl" the passenger is on board from the start in half of the
                episodes; of "kuric" the 48 tasks that are not `HELD_OUT`. "test": it never is; the
                12 that are. "all", of "kuric": both.

        Raises:
            EnvError: there is no such set or no such split of it.
        """
        splits = {"igl": ("training", "test"), "kuric": ("training", "test", "all")}
        if tasks not in splits:
            raise EnvError(f"tasks must be one of {', '.join(splits)}, got {tasks!r}")
        if split not in splits[tasks]:
            raise EnvError(f"split must be one of {', '.join(splits[tasks])}, got {split!r}")
        is_igl = tasks == "igl"
        self.tasks = tuple(igl_tasks() if is_igl else of_split(kuric_tasks(), split))
        self.task_names = tuple(task.name for task in self.tasks)
        self.episode_length = 50 if is_igl else 1500
        self._last_step_pays = -STEP_COST if is_igl else -2.0
        self._share_on_board = 0.5 if is_igl and split == "training" else 0.0
        self._is_free = np.array([[mark != "w" for mark in row] for row in MAP])
        self._anywhere = np.array([c for c in CELLS.tolist() if tuple(c) not in PLACES.values()])
        nowhere = (-1, -1)
        self._pick_up = np.array([PLACES.get(task.pick_up or "", nowhere) for task in self.tasks])
        self._destination = np.array([PLACES[task.destination] for task in self.tasks])
        self._start = np.array([PLACES.get(task.start or "", nowhere) for task in self.tasks])

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """The map, the places, and the destination as goal; the start, where it is one place."""
        asked = self.tasks[int(task)]
        start = CELLS[len(CELLS) // 2] if asked.start is None else np.array(PLACES[asked.start])
        if observation is not None:
            start = _cell_of(observation)
        marks = [(np.array(cell), name) for name, cell in PLACES.items()]
        scene = cell_scene(MAP, "w", start, np.array(PLACES[asked.destination]), marks)
        return dataclasses.replace(scene, items=("passenger",))

    def positions(self, observation: np.ndarray, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        """The place of the cell."""
        del metrics
        return places(_cell_of(observation))

    def item_positions(
        self, task: jax.Array, observation: np.ndarray, metrics: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """The passenger [R, 1 + T, 1, 2], who waits, is on board, or has got off."""
        del metrics
        asked = self.tasks[int(task)]
        on_board = np.argmax(observation, axis=-1) >= SIDE**2
        has_boarded = np.maximum.accumulate(on_board, axis=1) | (asked.pick_up is None)
        cells = np.where(
            on_board[..., None],
            _cell_of(observation),
            np.where(
                has_boarded[..., None],
                PLACES[asked.destination],
                PLACES[asked.pick_up or asked.destination],
            ),
        )
        return places(cells)[..., None, :]

    def best_returns(self, episode_length: int) -> np.ndarray:
        """The optimum of every task, on average over where the taxi starts, [M]."""
        return np.array([self._best_return(task, episode_length) for task in self.tasks])

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Puts the taxi where the task says, and perhaps the passenger into it."""
        key_cell, key_board = jax.random.split(key)
        start = jnp.asarray(self._start, jnp.int32)[task]
        anywhere = jax.random.choice(key_cell, jnp.asarray(self._anywhere, jnp.int32))
        by_chance = jax.random.uniform(key_board) < self._share_on_board
        world = TaxiWorld(
            cell=jnp.where(start[0] < 0, anywhere, start),
            on_board=by_chance | (jnp.asarray(self._pick_up)[task, 0] < 0),
            time=jnp.zeros((), jnp.int32),
        )
        return first_state(world, _observe(world), task)

    def step(self, state: State, action: jax.Array) -> State:
        """Moves, picks up or drops."""
        world, task = state.pipeline_state, state.info["task"]
        index = jnp.reshape(action, ()).astype(jnp.int32)
        target = world.cell + jnp.asarray(_MOVES, jnp.int32)[index]
        is_free = jnp.asarray(self._is_free)[target[0], target[1]]
        serves = index == _SERVE
        picks_up = serves & (world.cell == jnp.asarray(self._pick_up)[task]).all()
        drops = serves & world.on_board & (world.cell == jnp.asarray(self._destination)[task]).all()
        world = TaxiWorld(
            cell=jnp.where(is_free, target, world.cell),
            on_board=(world.on_board | picks_up) & ~drops,
            time=world.time + 1,
        )
        is_last = ~drops & (world.time == self.episode_length)
        cost = jnp.where(is_last, self._last_step_pays, -STEP_COST)
        reward = jnp.where(drops, PAY, cost)
        done = drops.astype(jnp.float32)
        return next_state(state, world, _observe(world), reward).replace(done=done)

    def _best_return(self, task: Task, episode_length: int) -> float:
        """By the shortest ways; whoever cannot be brought in time costs what every step costs."""
        starts = self._anywhere if task.start is None else np.array([PLACES[task.start]])
        to_destination = self._distances(task.destination)
        bringing = to_destination[tuple(starts.T)] + 1  # with the drop
        cases = [(1.0, bringing)]
        if task.pick_up is not None:
            fetching = self._distances(task.pick_up)[tuple(starts.T)] + 1
            whole = fetching + to_destination[PLACES[task.pick_up]] + 1
            cases = [(self._share_on_board, bringing), (1 - self._share_on_board, whole)]
        too_late = 0.0 if episode_length < self.episode_length else self._last_step_pays + STEP_COST
        return sum(
            share
            * np.where(
                steps <= episode_length,
                PAY - STEP_COST * (steps - 1),
                too_late - STEP_COST * episode_length,
            ).mean()
            for share, steps in cases
        )

    def _distances(self, place: str) -> np.ndarray:
        return shortest_ways(self._is_free, PLACES[place], _MOVES[1:5])[0]


def igl_tasks() -> list[Task]:
    """The 12 tasks of Igl et al.: from each place to each other one."""
    return [Task(f"{a}-{b}", None, a, b) for a, b in itertools.permutations(PLACES, 2)]


def kuric_tasks() -> list[Task]:
    """The 60 tasks of Kuric and van Hoof, by their number.

    Number destination + 4 offset + 12 start has the passenger at a place that is offset + 1 further
    than the destination; of the last 12, 48 + destination + 4 offset, the taxi starts at that
    place with the passenger on board.
    """
    number = {place: index for index, place in enumerate(_ORDER)}

    def further(destination: str, offset: int) -> str:
        return _ORDER[(number[destination] + offset + 1) % len(_ORDER)]

    fetching = [
        Task(f"{start}_{further(to, offset)}-{to}", start, further(to, offset), to)
        for start in _ORDER
        for offset in range(3)
        for to in _ORDER
    ]
    bringing = [
        Task(f"{further(to, offset)}_{to}", further(to, offset), None, to)
        for offset in range(3)
        for to in _ORDER
    ]
    return fetching + bringing


def of_split(tasks: list[Task], split: str) -> list[Task]:
    """Those of the 60 tasks that are "training", "test" or "all"."""
    is_test = [index in HELD_OUT for index in range(len(tasks))]
    wanted = {"training": (False,), "test": (True,), "all": (False, True)}[split]
    return [task for task, held_out in zip(tasks, is_test, strict=True) if held_out in wanted]


def _cell_of(observation: np.ndarray) -> np.ndarray:
    """Row and column [..., 2] of one-hot observations [..., 72]."""
    row, column = np.divmod(np.argmax(observation, axis=-1) % SIDE**2, SIDE)
    return np.stack([row, column], axis=-1) + 1


def _observe(world: TaxiWorld) -> jax.Array:
    row, column = world.cell - 1
    number = SIDE**2 * world.on_board + SIDE * row + column
    return jax.nn.one_hot(number, 2 * SIDE**2)
