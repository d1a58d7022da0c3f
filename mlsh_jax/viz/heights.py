"""How high a body was over time, colored by the sub-policy that was active."""

import math
import os

import numpy as np
from matplotlib.figure import Figure

from mlsh_jax.viz import colors
from mlsh_jax.viz.trajectories import add_paths, legend_of_subpolicies

_COLUMNS = 2
_PANEL_INCHES = (5.0, 2.2)


def plot_heights(
    path: str | os.PathLike[str],
    episodes: dict[str, tuple[np.ndarray, np.ndarray]],
    dt: float,
) -> None:
    """Writes a figure with a panel of heights over time for each group of episodes.

    Args:
        path: of the figure; its ending says the format.
        episodes: by title, heights float `[R, T]`, NaN after the end of an episode, and which
            sub-policy was active, int `[R, T]`; at least one.
        dt: seconds of a step.
    """
    columns = min(_COLUMNS, len(episodes))
    rows = math.ceil(len(episodes) / columns)
    size = (columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1] + 0.4)
    figure = Figure(size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (title, (height, subpolicy)) in zip(grid.flat, episodes.items(), strict=False):
        time = np.broadcast_to(dt * np.arange(1, height.shape[1] + 1), height.shape)
        add_paths(axes, np.stack([time, height], axis=-1), subpolicy)
        axes.set_facecolor(colors.FLOOR)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.set_xlim(0, dt * height.shape[1])
        axes.set_ylim(min(0.0, np.nanmin(height)), 1.1 * np.nanmax(height))
        axes.set_xlabel("seconds", fontsize=8)
        axes.set_ylabel("height", fontsize=8)
    for axes in grid.flat[len(episodes) :]:
        axes.set_axis_off()
    figure.legend(
        handles=legend_of_subpolicies([subpolicy for _, subpolicy in episodes.values()]),
        loc="outside lower center",
        ncols=2 * _COLUMNS,
        frameon=False,
        fontsize=9,
    )
    figure.savefig(path, dpi=110)
