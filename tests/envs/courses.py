"""Every layout of walls that an environment has, and which places of it an ant can get to."""

from typing import NamedTuple

import jax
import numpy as np

from envs.locomotion import ant_maze, walls
from envs.locomotion.ant_obstacle import BIG_COURSE, COURSE

MAZES = (*ant_maze.LAYOUTS["training"], *ant_maze.LAYOUTS["unseen"])
_MAZE_WALLS = 13


class Place(NamedTuple):
    """A layout, with where its tasks start and end and the arena (x0, x1, y0, y1) inside it."""

    walls: walls.Walls
    start: tuple[float, float]
    goal: tuple[float, float]
    goal_radius: float
    arena: tuple[float, float, float, float]


PLACES = {
    "course": Place(COURSE.walls, COURSE.start, COURSE.goal, 30**0.5, (-3, 40, -3, 40)),
    "big": Place(BIG_COURSE.walls, BIG_COURSE.start, BIG_COURSE.goal, 30**0.5, (-40, 40, -40, 40)),
    **{
        maze.name: Place(
            ant_maze.maze_walls(maze.blocked), ant_maze.START, maze.goal, 3.0, (0, 48, -24, 24)
        )
        for maze in MAZES
    },
}


def as_maze(layout: walls.Walls) -> walls.Walls:
    """The same layout with as many walls as a maze has, so that a maze's program can play it."""
    rows = layout.rows().tolist()
    return walls.Walls.from_rows(rows + [walls.ABSENT] * (_MAZE_WALLS - len(rows)))


def least_gaps(layout: walls.Walls, points: np.ndarray) -> np.ndarray:
    """Distances [...] of `points` [..., 2] to the wall nearest to each."""
    flat = np.reshape(points, (-1, 2)).astype(np.float32)
    return np.asarray(_least_gaps(as_maze(layout), flat)).reshape(points.shape[:-1])


_least_gaps = jax.jit(
    jax.vmap(lambda layout, point: walls.distances(layout, point).min(), in_axes=(None, 0))
)


def reachable(place: Place, clearance: float, spacing: float) -> np.ndarray:
    """Grid points [P, 2] with no wall within `clearance` that are connected to the start."""
    x0, x1, y0, y1 = place.arena
    x, y = (np.arange(low, high, spacing) for low, high in ((x0, x1), (y0, y1)))
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    free = least_gaps(place.walls, grid) > clearance
    reached = np.zeros_like(free)
    first = tuple(np.round((np.array(place.start) - (x0, y0)) / spacing).astype(int))
    assert free[first]
    reached[first] = True
    while True:
        grown = reached.copy()
        for axis in (0, 1):
            for step in (-1, 1):
                grown |= np.roll(grown, step, axis=axis) & free
        if (grown == reached).all():
            return grid[reached]
        reached = grown
