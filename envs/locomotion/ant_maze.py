"""ant_maze: an ant in one of nine mazes, without being told where its goal is.

Frans et al. 2018, section 6.4, with the nine layouts of the authors' released environment; the body
and the physics are Brax's. The four mazes that are kept for transfer are not theirs but those of
Kuric and van Hoof 2023 (arXiv 2212.11726). A maze is made of 3 by 3 cells, each open or filled by a
block. The walls are data in the task, so that all mazes run in one program.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import State
from envs.locomotion import ant, walls
from envs.locomotion.bodies import (
    check_choice,
    clip_action,
    first_state,
    next_state,
    simulate,
    where_tree,
    within,
)
from envs.scene import Scene


class Maze(NamedTuple):
    """A maze.

    Attributes:
        name: the way from the start to the goal, cell by cell.
        goal: x and y of the goal.
        blocked: the cells, rows from top to bottom and cells from left to right; 0 is open.
    """

    name: str
    goal: tuple[float, float]
    blocked: str


LAYOUTS = {
    "training": (
        Maze("up", (8.0, 24.0), "011/011/111"),
        Maze("down", (8.0, -24.0), "111/011/011"),
        Maze("right_up", (24.0, 24.0), "101/001/111"),
        Maze("right_down", (24.0, -24.0), "111/001/101"),
        Maze("right_right", (48.0, 0.0), "111/000/111"),
        Maze("right_right_up", (40.0, 24.0), "110/000/111"),
        Maze("right_right_down", (40.0, -24.0), "111/000/110"),
        Maze("up_right", (32.0, 16.0), "001/011/111"),
        Maze("down_right", (32.0, -16.0), "111/011/001"),
    ),
    "unseen": (
        Maze("up_right_right", (40.0, 24.0), "000/011/111"),
        Maze("down_right_right", (40.0, -24.0), "111/011/000"),
        Maze("right_up_right", (40.0, 24.0), "100/001/111"),
        Maze("right_down_right", (40.0, -24.0), "111/001/100"),
    ),
}
"""The mazes to learn on and those to transfer to."""

LAYOUT_SETS = {**LAYOUTS, "all": LAYOUTS["training"] + LAYOUTS["unseen"]}
"""Values of the option `layouts`; "all" are the training mazes and then the unseen ones."""

REWARDS = ("pace", "velocity")
"""Values of the option `reward`."""

SIDEWAYS_COST = 1.0
"""Weight of the speed along the slower of both axes in the reward "pace": with 1, moving at an
angle to the axes pays no more than the part of it along the faster one."""

STARTS = ("fixed", "anywhere")
"""Values of the option `start`."""

START = (2.0, 0.0)
CELL = 16.0
"""Side of a cell; the arena, 48 by 48, has its left edge at x = 0 and its middle at y = 0."""
BLOCK_HALF_SIZE = 7.6
"""Distance from the center of a block to its faces toward open cells."""
CELL_CENTERS = np.array([(CELL * (i % 3 + 0.5), CELL * (1 - i // 3)) for i in range(9)], np.float32)
"""x and y of the cells [9, 2], in the order of `Maze.blocked`."""
SUCCESS_RADIUS = 3.0
UPRIGHT_EVERY = 200
"""Env steps after which the ant is stood up again."""

_START_SPREAD = CELL / 2 - ant.LEG_REACH - 0.75
_OUTER_HALF_THICKNESS = 0.15
_OUTER_WALLS = (
    (24.0, -24.0, 24.15, _OUTER_HALF_THICKNESS),
    (24.0, 24.0, 24.15, _OUTER_HALF_THICKNESS),
    (0.0, 0.0, _OUTER_HALF_THICKNESS, 24.15),
    (48.0, 0.0, _OUTER_HALF_THICKNESS, 24.15),
)


@struct.dataclass
class MazeTask:
    """A maze as data.

    Attributes:
        goal: float32 [2], x and y.
        walls: the 4 outer walls and a row for each of the 9 cells, absent if the cell is open.
    """

    goal: walls.Array
    walls: walls.Walls


class AntMaze(ant.AntEnv):
    """Through a maze to a goal that the observation does not show; the task is a `MazeTask`.

    Reward "velocity", the released environment's: velocity toward the goal,
    v_x * sign(goal_x - x) + v_y * sign(goal_y - y) in units per second, minus 0.1 of the sum of
    squared (clipped) torques. x and y are those before the step, so that a step across a
    coordinate of the goal pays in full and the sign flips in the next one. An ant that rocks to
    and fro there gains by it, but little: 500 randomly acting ants at x = goal_x got 0.06 units a
    second at most. Reward "pace": the same with the velocity toward the goal limited to
    `ant.PACE`, minus `SIDEWAYS_COST` * min(|v_x|, |v_y|). Both limits only lower the reward, so
    that going round in circles gains no more by it.

    The metric `success` is 1 in a step that ends within 3 units of the goal. `state.info` holds
    the steps since the reset (`clock`, int32) and a key.
    """

    name = "ant_maze"
    episode_length = 1000

    def __init__(
        self,
        layouts: str = "training",
        reward: str = "pace",
        start: str = "fixed",
        backend: str = "spring",
        position_visible: bool = False,
    ):
        """Makes the environment.

        Args:
            layouts: which of `LAYOUT_SETS` the tasks are.
            reward: one of `REWARDS`.
            start: "fixed", at `START` as in the released environment, or "anywhere" in the open
                cells, so that all parts of the way are met in training from the beginning.
            backend: one of `envs.locomotion.ant.BACKENDS`.
            position_visible: whether sub-policies see x and y.

        Raises:
            EnvError: if an option has another value.
        """
        check_choice("layouts", layouts, tuple(LAYOUT_SETS))
        check_choice("reward", reward, REWARDS)
        check_choice("start", start, STARTS)
        super().__init__(backend, position_visible, walls.slot_geoms(ant.COLLIDER_BITS))
        self._slots = walls.find_slots(self.sys, ant.COLLIDERS)
        self._paced = reward == "pace"
        self._start_anywhere = start == "anywhere"
        self._tasks = make_tasks(LAYOUT_SETS[layouts])
        self.task_names = tuple(maze.name for maze in LAYOUT_SETS[layouts])

    def sample_task(self, key: jax.Array) -> MazeTask:
        """Draws one of the mazes."""
        index = jax.random.randint(key, (), 0, len(self.task_names))
        return jax.tree.map(lambda x: x[index], self.all_tasks())

    def all_tasks(self) -> MazeTask:
        """Returns the mazes of the set along a leading axis."""
        return jax.tree.map(jnp.asarray, self._tasks)

    def scene(self, task: MazeTask, observation: np.ndarray | None = None) -> Scene:
        """The walls as the ant meets them and the goal with its radius of success."""
        del observation
        x, y = np.asarray(task.goal).tolist()
        return Scene(
            walls=task.walls.rows(),
            start=START,
            bounds=(-1.0, 49.0, -25.0, 25.0),
            goal=(x, y),
            goal_radius=SUCCESS_RADIUS,
        )

    def reset_to_task(self, key: jax.Array, task: MazeTask) -> State:
        """Stands the ant at a start."""
        key_pose, key_episode, key_start = jax.random.split(key, 3)
        task = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), task)
        q, qd = self._draw_pose(key_pose)
        start = _draw_start(key_start, task) if self._start_anywhere else jnp.asarray(START)
        physics = self.pipeline_init(q.at[:2].add(start), qd)
        info = {"task": task, "key": key_episode, "clock": jnp.zeros((), jnp.int32)}
        return first_state(physics, info, success=within(physics, task.goal, SUCCESS_RADIUS))

    def step(self, state: State, action: jax.Array) -> State:
        """Applies the torques for one env step (0.05 s); stands the ant up when it is time."""
        action = clip_action(action)
        before = state.pipeline_state
        task = state.info["task"]
        sys = walls.place(self.sys, self._slots, task.walls, before)
        physics, sound = simulate(self, sys, before, action)
        reward = self._reward(before.q[:2], physics.q[:2], action, task.goal)
        clock = state.info["clock"] + 1
        q, qd, upright = self._stand_up(physics, state.info["key"], clock, UPRIGHT_EVERY)
        physics = where_tree(upright, self.pipeline_init(q, qd), physics)
        success = within(physics, task.goal, SUCCESS_RADIUS)
        state = state.replace(info={**state.info, "clock": clock})
        return next_state(state, physics, sound, reward, success=success)

    def _reward(
        self, before: jax.Array, after: jax.Array, action: jax.Array, goal: jax.Array
    ) -> jax.Array:
        """Reward of a step from one place [2] to another."""
        velocity = (after - before) / self.dt
        toward = jnp.dot(velocity, jnp.sign(goal - before))
        if self._paced:
            sideways = jnp.min(jnp.abs(velocity))
            toward = jnp.minimum(toward, ant.PACE) - SIDEWAYS_COST * sideways
        return toward - ant.CONTROL_COST * jnp.sum(action**2)


def _draw_start(key: jax.Array, task: MazeTask) -> jax.Array:
    """Draws x and y [2] in an open cell, where the ant touches no wall."""
    key_cell, key_offset = jax.random.split(key)
    is_open = task.walls.half_size[len(_OUTER_WALLS) :, 0] == 0
    cell = jax.random.categorical(key_cell, jnp.where(is_open, 0.0, -jnp.inf))
    offset = jax.random.uniform(key_offset, (2,), minval=-_START_SPREAD, maxval=_START_SPREAD)
    return jnp.asarray(CELL_CENTERS)[cell] + offset


def make_tasks(mazes: Sequence[Maze]) -> MazeTask:
    """Returns the tasks of the mazes, along a leading axis, as NumPy arrays."""
    tasks = [
        MazeTask(goal=np.array(maze.goal, np.float32), walls=maze_walls(maze.blocked))
        for maze in mazes
    ]
    return jax.tree.map(lambda *rows: np.stack(rows), *tasks)


def maze_walls(blocked: str) -> walls.Walls:
    """Builds the walls of a maze, outer walls first and then a row for each cell.

    The released outer walls have a half-thickness of 0.3, these of 0.15. The released blocks are
    15.2 wide in cells of 16. The slits that this leaves between two blocks, and between a block and
    the outer wall, are too narrow for an ant but not for its feet, and have more walls side by side
    than there are slots. Here they are closed: a block reaches to the outer wall and up to the face
    of a block next to it. Toward open cells its faces are where they were.

    Args:
        blocked: as in `Maze`.
    """
    cells = np.pad([[int(c) for c in row] for row in blocked.split("/")], 1, constant_values=1) > 0
    rows = [
        _block(cells, row, column) if cells[row, column] else walls.ABSENT
        for row in range(1, 4)
        for column in range(1, 4)
    ]
    return walls.Walls.from_rows([*_OUTER_WALLS, *rows])


def _block(cells: np.ndarray, row: int, column: int) -> tuple[float, float, float, float]:
    """Returns the wall row of a blocked cell of `cells` [5, 5], of which the rim is outside."""
    x, y = CELL * (column - 0.5), CELL * (2 - row)
    left, right = (_reach(cells, row, column, 0, step) for step in (-1, 1))
    up, down = (_reach(cells, row, column, step, 0) for step in (-1, 1))
    return (x + (right - left) / 2, y + (up - down) / 2, (right + left) / 2, (up + down) / 2)


def _reach(cells: np.ndarray, row: int, column: int, down: int, right: int) -> float:
    """Returns the distance from a block's center to its face on the side (down, right).

    Over the slit it goes only if it does not come out in the corner of an open cell, which the
    blocks on either side of that corner close, each from its side.
    """
    neighbor = cells[row + down, column + right]
    comes_out = any(
        cells[row + right * side, column + down * side]
        and not cells[row + down + right * side, column + right + down * side]
        for side in (-1, 1)
    )
    if not neighbor or comes_out:
        return BLOCK_HALF_SIZE
    is_outside = row + down in (0, 4) or column + right in (0, 4)
    return CELL / 2 if is_outside else CELL - BLOCK_HALF_SIZE
