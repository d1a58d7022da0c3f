"""What a drawing needs to know of a task's world, in plain NumPy and world units."""

import dataclasses

import numpy as np

NO_WALLS = np.zeros((0, 4), np.float32)
"""The walls of a world that has none."""

NO_CEILINGS = np.zeros((0, 6), np.float32)
"""The ceilings of a world that has none."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """The world of an episode: what stays where it is.

    Where the agent goes is told by `envs.base.TaskEnv.positions`, where an enemy goes, if there is
    one, by the metrics `enemy_x` and `enemy_y` of the states, and where items go by
    `envs.base.TaskEnv.item_positions`.

    Attributes:
        walls: float32 [M, 4], upright boxes as (center x, center y, half size x, half size y).
        start: x and y at which episodes start, but for noise.
        bounds: x_min, x_max, y_min, y_max of a picture of the world.
        goal: x and y of the goal, None if there is none.
        goal_radius: distance from `goal` within which the task counts as solved, None if the
            goal is not an area.
        enemy_radius: radius of the enemy, None if there is none.
        marks: places with a name, as (x, y, a word or less).
        items: words for things that are carried or go away, such as a key. Where things move, a
            mark with the word of an item is left out.
        agent_radius: of the ball that stands for an agent without a body.
        ceilings: float32 [C, 6], boxes over the floor as (center x, center y, half size x, half
            size y, height of the lower face, height of the upper one).
        ceilings_while: metric of the states that is 1 while the ceilings are there, None if they
            always are.
        seen_from_side: whether what happens is seen from the side, x and the height, rather than
            from above; animations then are, and a figure shows the heights of the body. For bodies
            among ceilings and marks: walls, goals, enemies and items are not shown from there.
    """

    walls: np.ndarray
    start: tuple[float, float]
    bounds: tuple[float, float, float, float]
    goal: tuple[float, float] | None = None
    goal_radius: float | None = None
    enemy_radius: float | None = None
    marks: tuple[tuple[float, float, str], ...] = ()
    items: tuple[str, ...] = ()
    agent_radius: float | None = None
    ceilings: np.ndarray = dataclasses.field(default_factory=lambda: NO_CEILINGS)
    ceilings_while: str | None = None
    seen_from_side: bool = False
