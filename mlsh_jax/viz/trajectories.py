"""Top-down figures: where episodes went, colored by the sub-policy that was active."""

import dataclasses
import math
import os

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlsh_jax.viz import colors, scenery

_COLUMNS = 4
_PANEL_INCHES = 3.4
_ENTRIES_PER_PANEL = 2  # of the legend, side by side


@dataclasses.dataclass(frozen=True)
class Panel:
    """One map with the paths of some episodes.

    Attributes:
        title: of the panel.
        scene: the world that the episodes were played in.
        xy: positions, float `[R, T, 2]`; NaN after the end of an episode.
        subpolicy: which sub-policy was active at each, int `[R, T]`.
    """

    title: str
    scene: scenery.Scene
    xy: np.ndarray
    subpolicy: np.ndarray


def plot_trajectories(
    path: str | os.PathLike[str], panels: list[Panel], *, columns: int = _COLUMNS
) -> None:
    """Writes a figure of the panels, all at the same kind of scale but each on its own map.

    Args:
        path: of the figure; its ending says the format.
        panels: at least one.
        columns: panels in a row.
    """
    columns = min(columns, len(panels))
    legend = _legend(panels)
    legend_columns = _ENTRIES_PER_PANEL * columns
    legend_inches = 0.2 + 0.2 * math.ceil(len(legend) / legend_columns)
    inches = (_PANEL_INCHES, _PANEL_INCHES)
    figure, grid = panel_grid(len(panels), columns, inches, legend_inches)
    for axes, panel in zip(grid, panels, strict=True):
        draw_panel(axes, panel)
    finish_figure(figure, path, legend, legend_columns)


def panel_grid(
    count: int, columns: int, inches: tuple[float, float], legend_inches: float
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels of a width and height, in rows, with room for a legend below."""
    rows = math.ceil(count / columns)
    size = (columns * inches[0], rows * inches[1] + legend_inches)
    figure = Figure(size, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def finish_figure(
    figure: Figure, path: str | os.PathLike[str], legend: list[Line2D], columns: int
) -> None:
    """Puts the legend below the panels, so many entries in a row, and writes the figure."""
    figure.legend(
        handles=legend, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )
    figure.savefig(path, dpi=110)


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draws one map; episodes that leave the scene's bounds widen the view."""
    scenery.draw_scene(axes, panel.scene)
    axes.set_title(panel.title, fontsize=9)
    axes.tick_params(labelsize=7)
    xy = np.asarray(panel.xy, np.float64)
    add_paths(axes, xy, panel.subpolicy)
    _mark_ends(axes, xy)
    scenery.widen(axes, xy)


def add_paths(axes: Axes, points: np.ndarray, subpolicy: np.ndarray) -> None:
    """Adds the lines of R paths `[R, T, 2]` in the colors of who led there, `[R, T]`."""
    pieces = np.stack([points[:, :-1], points[:, 1:]], axis=2)  # [R, T - 1, 2, 2]
    pieces = pieces.reshape(-1, 2, 2)
    drawn = np.isfinite(pieces).all(axis=(1, 2))
    owners = np.asarray(subpolicy)[:, 1:].reshape(-1)
    axes.add_collection(
        LineCollection(
            list(pieces[drawn]),
            colors=[colors.subpolicy_color(k) for k in owners[drawn]],
            linewidths=1.0,
            alpha=0.8,
            zorder=3,
        ),
        autolim=False,
    )


def _mark_ends(axes: Axes, xy: np.ndarray) -> None:
    """A cross at the last finite position of every episode."""
    for episode in xy:
        finite = episode[np.isfinite(episode).all(axis=1)]
        if len(finite):
            axes.plot(*finite[-1], marker="x", ms=5, mec=colors.START, mew=1.2, zorder=6)


def legend_of_subpolicies(active: list[np.ndarray]) -> list[Line2D]:
    """An entry for every sub-policy that was active anywhere."""
    used = sorted({int(k) for subpolicy in active for k in np.unique(subpolicy)})
    return [
        Line2D([], [], color=colors.subpolicy_color(k), lw=2, label=f"sub-policy {k}") for k in used
    ]


def _legend(panels: list[Panel]) -> list[Line2D]:
    lines = legend_of_subpolicies([panel.subpolicy for panel in panels])
    start = Line2D(
        [], [], ls="none", marker="o", mfc="white", mec=colors.START, mew=1.5, label="start"
    )
    end = Line2D([], [], ls="none", marker="x", mec=colors.START, mew=1.2, label="end")
    return [*lines, start, end]
