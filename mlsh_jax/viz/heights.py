"""How high a body was over time, colored by the sub-policy that was active."""

import os

import numpy as np

from mlsh_jax.viz import colors
from mlsh_jax.viz.trajectories import (
    add_paths,
    finish_figure,
    legend_of_subpolicies,
    panel_grid,
)

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
    figure, grid = panel_grid(len(episodes), columns, _PANEL_INCHES, legend_inches=0.4)
    for axes, (title, (height, subpolicy)) in zip(grid, episodes.items(), strict=True):
        time = np.broadcast_to(dt * np.arange(1, height.shape[1] + 1), height.shape)
        add_paths(axes, np.stack([time, height], axis=-1), subpolicy)
        axes.set_facecolor(colors.FLOOR)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.set_xlim(0, dt * height.shape[1])
        axes.set_ylim(min(0.0, np.nanmin(height)), 1.1 * np.nanmax(height))
        axes.set_xlabel("seconds", fontsize=8)
        axes.set_ylabel("height", fontsize=8)
    legend = legend_of_subpolicies([subpolicy for _, subpolicy in episodes.values()])
    finish_figure(figure, path, legend, columns=2 * _COLUMNS)
