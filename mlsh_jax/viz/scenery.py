"""The world of a task as pictures need it, and how it looks from above and from the side.

The library does not import environments: whatever has the attributes of `Scene` can be drawn
(`envs.scene.Scene` has them). Physical walls are planes without size
(`envs.locomotion.walls`), so walls are always drawn from a scene, never from the physics.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle
from matplotlib.text import Text

from mlsh_jax.viz import colors

MARK_RADIUS = 0.5
"""Radius of a mark among bodies, which are about as large in all worlds."""

_WALL_MARGIN = 0.6  # how far a drawn wall reaches over the bounds, which run along outer walls
_VIEW_MARGIN = 1.5  # free space around the bounds of a figure
_PATH_MARGIN = 1.0  # free space around a path that leaves the bounds

_CEILING_OPACITY = 0.35  # paths and bodies below are to be seen
_FLOOR_THICKNESS, _HEADROOM = 0.3, 0.6  # of a view from the side

_BADGE = {"boxstyle": "circle,pad=0.25", "fc": "white", "ec": colors.START, "lw": 1.0}

_ITEM_BADGE = {"boxstyle": "round,pad=0.2", "fc": colors.START, "ec": "white", "lw": 1.0}


class Scene(Protocol):
    """What is drawn of a task's world, in world units; `M` walls."""

    @property
    def walls(self) -> np.ndarray:
        """Upright boxes `[M, 4]`: center x, center y, half size x, half size y."""

    @property
    def start(self) -> tuple[float, float]:
        """Where episodes start, but for noise."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x_min, x_max, y_min, y_max of a picture of the world."""

    @property
    def goal(self) -> tuple[float, float] | None:
        """Center of the goal, None if there is none."""

    @property
    def goal_radius(self) -> float | None:
        """Radius of the goal area, None if the goal is not an area."""

    @property
    def enemy_radius(self) -> float | None:
        """Radius of the enemy, None if there is none."""

    @property
    def marks(self) -> Sequence[tuple[float, float, str]]:
        """Places with a name: x, y, a word or less."""

    @property
    def items(self) -> Sequence[str]:
        """Words for what moves, left out of the marks where it does."""

    @property
    def agent_radius(self) -> float | None:
        """Radius of the ball that stands for an agent without a body."""

    @property
    def ceilings(self) -> np.ndarray:
        """Boxes over the floor `[C, 6]`: as walls, and the heights of both faces."""

    @property
    def seen_from_side(self) -> bool:
        """Whether animations show x and the height."""


def visible_walls(scene: Scene) -> np.ndarray:
    """The walls `[M', 4]` cut off where they leave the bounds; those outside are left out.

    Layouts let outer walls run on far behind the corner where they meet.
    """
    x_min, x_max, y_min, y_max = scene.bounds
    walls = np.asarray(scene.walls, np.float64).reshape(-1, 4)
    low = np.maximum(walls[:, :2] - walls[:, 2:], np.array([x_min, y_min]) - _WALL_MARGIN)
    high = np.minimum(walls[:, :2] + walls[:, 2:], np.array([x_max, y_max]) + _WALL_MARGIN)
    cut = np.concatenate([(low + high) / 2, (high - low) / 2], axis=1)
    return cut[(cut[:, 2:] > 0).all(axis=1)]


def marks_beside(scene: Scene, moving: Collection[str]) -> list[tuple[float, float, str]]:
    """The marks of the scene but those with a word that is drawn where its item goes."""
    return [mark for mark in scene.marks if mark[2] not in moving]


def agent_radius(scene: Scene) -> float:
    """Radius of what stands for an agent; of one with a body that of marks."""
    return scene.agent_radius or MARK_RADIUS


def goal_radius(scene: Scene) -> float:
    """Radius of the goal area, or of the mark at a goal that is a point: that of the agent."""
    return scene.goal_radius or agent_radius(scene)


def draw_scene(axes: Axes, scene: Scene, moving: Collection[str] = ()) -> list[Rectangle]:
    """Draws floor, walls, ceilings, goal, start and marks from above.

    Sets equal aspect and limits, and returns the ceilings.

    Args:
        axes: to draw on.
        scene: what is drawn.
        moving: words of items that are drawn elsewhere, whose marks are left out.
    """
    x_min, x_max, y_min, y_max = scene.bounds
    axes.set_facecolor(colors.FLOOR)
    axes.set_aspect("equal")
    axes.set_xlim(x_min - _VIEW_MARGIN, x_max + _VIEW_MARGIN)
    axes.set_ylim(y_min - _VIEW_MARGIN, y_max + _VIEW_MARGIN)
    if scene.goal is not None:
        axes.add_patch(Circle(scene.goal, goal_radius(scene), color=colors.GOAL, lw=0, zorder=1))
    for x, y, half_x, half_y in visible_walls(scene):
        corner = (x - half_x, y - half_y)
        axes.add_patch(Rectangle(corner, 2 * half_x, 2 * half_y, color=colors.WALL, lw=0, zorder=4))
    ceilings = [
        _add_ceiling(axes, x - half_x, y - half_y, 2 * half_x, 2 * half_y)
        for x, y, half_x, half_y, _, _ in scene.ceilings
    ]
    draw_start(axes, *scene.start)
    centered: dict[str, Any] = {"ha": "center", "va": "center", "size": 8, "parse_math": False}
    for x, y, text in marks_beside(scene, moving):
        axes.text(x, y, text, zorder=2, bbox=_BADGE, **centered)
    return ceilings


def add_items(axes: Axes, words: Collection[str]) -> list[Text]:
    """Words to be put where items are; each stands over its point, to show who is below."""
    return [
        axes.text(
            0, 0, word, ha="center", va="bottom", size=8, color="white", bbox=_ITEM_BADGE,
            animated=True, parse_math=False,
        )
        for word in words
    ]  # fmt: skip


def draw_side(axes: Axes, scene: Scene, path: np.ndarray) -> list[Rectangle]:
    """Draws floor, ceilings, start and marks from the side: x and the height.

    Sets equal aspect, and limits that hold all finite points `[..., 2]` of a path. Returns the
    ceilings.
    """
    points = _finite_points(path)
    x_min, x_max, _, _ = scene.bounds
    left, right = min(x_min, points[:, 0].min()), max(x_max, points[:, 0].max())
    top = max([points[:, 1].max(), *(ceiling[5] for ceiling in scene.ceilings)])
    axes.set_facecolor(colors.FLOOR)
    axes.set_aspect("equal")
    axes.set_xlim(left - _PATH_MARGIN, right + _PATH_MARGIN)
    axes.set_ylim(-_FLOOR_THICKNESS, top + _HEADROOM)
    ground = (left - 2 * _PATH_MARGIN, -2 * _FLOOR_THICKNESS)
    width = right - left + 4 * _PATH_MARGIN
    axes.add_patch(Rectangle(ground, width, 2 * _FLOOR_THICKNESS, color=colors.GRID, lw=0))
    ceilings = [
        _add_ceiling(axes, x - half_x, low, 2 * half_x, high - low)
        for x, _, half_x, _, low, high in scene.ceilings
    ]
    draw_start(axes, scene.start[0], 0.0)
    for x, _, text in scene.marks:
        axes.axvline(x, color=colors.START, lw=1.0, ls=":", zorder=1)
        axes.text(x, top + _HEADROOM / 2, f" {text}", va="center", size=8, zorder=2)
    return ceilings


def _add_ceiling(axes: Axes, left: float, bottom: float, width: float, height: float) -> Rectangle:
    """A box that may be seen through."""
    ceiling = Rectangle((left, bottom), width, height, color=colors.WALL, lw=0, zorder=1)
    ceiling.set_alpha(_CEILING_OPACITY)
    axes.add_patch(ceiling)
    return ceiling


def widen(axes: Axes, xy: np.ndarray) -> None:
    """Makes room for all finite positions `[..., 2]` and makes the view square."""
    points = _finite_points(xy)
    (x_min, x_max), (y_min, y_max) = axes.get_xlim(), axes.get_ylim()
    low = np.vstack([points - _PATH_MARGIN, [x_min, y_min]]).min(axis=0)
    high = np.vstack([points + _PATH_MARGIN, [x_max, y_max]]).max(axis=0)
    side, middle = float((high - low).max()), (low + high) / 2
    axes.set_xlim(middle[0] - side / 2, middle[0] + side / 2)
    axes.set_ylim(middle[1] - side / 2, middle[1] + side / 2)


def _finite_points(xy: np.ndarray) -> np.ndarray:
    """Those of the positions `[..., 2]` that are before the end of their episode, `[P, 2]`."""
    points = np.reshape(xy, (-1, 2))
    return points[np.isfinite(points).all(axis=1)]


def draw_start(axes: Axes, x: float | np.ndarray, y: float | np.ndarray) -> None:
    """Marks one or several points as the start of paths."""
    axes.plot(
        x, y, marker="o", ms=6, mfc="white", mec=colors.START, mew=1.5, ls="none", zorder=5
    )  # fmt: skip
