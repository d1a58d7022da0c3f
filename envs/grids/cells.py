"""Maps of cells: which are free, how far it is between them, what there is to draw of them."""

import collections
from collections.abc import Sequence

import numpy as np

from envs.scene import Scene


def free_cells(rows: Sequence[str], wall: str) -> np.ndarray:
    """Row and column of the cells that are no wall, int32 [F, 2], numbered row by row."""
    marks = np.array([list(row) for row in rows])
    return np.argwhere(marks != wall).astype(np.int32)


def shortest_ways(
    is_free: np.ndarray, goal: tuple[int, int], moves: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """How far it is from every cell to one of them, and the first move of a shortest way.

    Args:
        is_free: which cells of the map are no wall, bool [R, C].
        goal: row and column of the cell.
        moves: rows and columns of each move; of those that are as good any of them is taken.

    Returns:
        The number of moves, int32 [R, C], and the index of the first, int32 [R, C]; both -1 in
        walls and wherever there is no way, and the index in the goal as well.
    """
    distance, first = (np.full(is_free.shape, -1, np.int32) for _ in range(2))
    distance[goal] = 0
    queue = collections.deque([goal])
    while queue:
        cell = queue.popleft()
        for index, (down, right) in enumerate(moves):
            before = (cell[0] - down, cell[1] - right)
            inside = all(0 <= at < size for at, size in zip(before, is_free.shape, strict=True))
            if inside and is_free[before] and distance[before] < 0:
                distance[before], first[before] = distance[cell] + 1, index
                queue.append(before)
    return distance, first


def places(cells: np.ndarray) -> np.ndarray:
    """X and y [..., 2] of rows and columns [..., 2] in a picture: row 0 is above."""
    return np.stack([cells[..., 1], -cells[..., 0]], axis=-1).astype(np.float32)


def cell_scene(
    rows: Sequence[str],
    wall: str,
    start: np.ndarray,
    goal: np.ndarray | None = None,
    marks: Sequence[tuple[np.ndarray, str]] = (),
) -> Scene:
    """A map of cells of side 1 as a picture.

    Args:
        rows: the map, a character for each cell.
        wall: that of a wall.
        start: row and column at which episodes start.
        goal: row and column of the goal.
        marks: rows and columns with a word.
    """
    walls = places(np.argwhere(np.array([list(row) for row in rows]) == wall))
    x, y = places(start).tolist()
    named = [(*places(cell).tolist(), word) for cell, word in marks]
    return Scene(
        walls=np.concatenate([walls, np.full_like(walls, 0.5)], axis=1),
        start=(x, y),
        bounds=(-1.0, float(len(rows[0])), -float(len(rows)), 1.0),
        goal=None if goal is None else tuple(places(goal).tolist()),
        goal_radius=None if goal is None else 0.5,
        marks=tuple(named),
        agent_radius=0.3,
    )
