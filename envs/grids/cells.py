"""Maps of cells: which are free, what there is to draw of them."""

from collections.abc import Sequence

import numpy as np

from envs.scene import Scene


def free_cells(rows: Sequence[str], wall: str) -> np.ndarray:
    """Row and column of the cells that are no wall, int32 [F, 2], numbered row by row."""
    marks = np.array([list(row) for row in rows])
    return np.argwhere(marks != wall).astype(np.int32)


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
