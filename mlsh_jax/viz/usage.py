"""How masters divide an episode among sub-policies, a bar for each task."""

import itertools
import math
import os
from collections.abc import Mapping

import numpy as np

from mlsh_jax.viz import colors
from mlsh_jax.viz.trajectories import finish_figure, legend_of_subpolicies, panel_grid

_WIDTH_INCHES = 7.0
_BAR_INCHES = 0.22
_MARGIN_INCHES = 0.6
_COLUMNS = 5  # of the legend

MOST_BARS = 100
"""Tasks that are shown; of more the first ones."""


def plot_usage(path: str | os.PathLike[str], usage: Mapping[str, np.ndarray]) -> None:
    """Writes a figure with a bar for each task, in the colors of the sub-policies.

    Args:
        path: of the figure; its ending says the format.
        usage: by the name of the task the share of its slices that each sub-policy had, `[K]`; at
            least one. Of many the first `MOST_BARS` are shown.
    """
    shown = dict(itertools.islice(usage.items(), MOST_BARS))
    shares = np.stack(list(shown.values()))  # [M, K]
    num_tasks, num_subpolicies = shares.shape
    size = (_WIDTH_INCHES, _MARGIN_INCHES + _BAR_INCHES * num_tasks)
    legend_inches = 0.2 + 0.2 * math.ceil(num_subpolicies / _COLUMNS)
    figure, (axes,) = panel_grid(1, 1, size, legend_inches)
    rows = np.arange(num_tasks)
    for k in range(num_subpolicies):
        before = shares[:, :k].sum(axis=1)
        axes.barh(rows, shares[:, k], left=before, height=0.8, color=colors.subpolicy_color(k))
    axes.set(xlim=(0, 1), ylim=(num_tasks - 0.5, -0.5))  # the first task is on top
    axes.set_yticks(rows, list(shown), fontsize=7, parse_math=False)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel("share of slices", fontsize=8)
    legend = legend_of_subpolicies([np.arange(num_subpolicies)])
    finish_figure(figure, path, legend, _COLUMNS)
