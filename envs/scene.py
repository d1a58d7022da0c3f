"""What a drawing needs to know of a task's world, in plain NumPy and world units."""

import dataclasses

import numpy as np

NO_WALLS = np.zeros((0, 4), np.float32)
"""The walls of a world that has none."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """A world seen from above.

    Where there is an enemy, its path is in the metrics `enemy_x` and `enemy_y` of the states.

    Attributes:
        walls: float32 [M, 4], upright boxes as (center x, center y, half size x, half size y).
        start: x and y at which episodes start, but for noise.
        bounds: x_min, x_max, y_min, y_max of a picture of the world.
        goal: x and y of the goal, None if there is none.
        goal_radius: distance from `goal` within which the task counts as solved, None if the
            goal is not an area.
        enemy_radius: radius of the enemy, None if there is none.
    """

    walls: np.ndarray
    start: tuple[float, float]
    bounds: tuple[float, float, float, float]
    goal: tuple[float, float] | None = None
    goal_radius: float | None = None
    enemy_radius: float | None = None
