"""Curves with intervals, such as returns over env steps."""

import dataclasses
import os

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line with a band around it.

    Attributes:
        label: of the line.
        x: `[I]`.
        y: `[I]`.
        low: lower edge of the band, `[I]`.
        high: upper edge, `[I]`.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


def plot_curves(
    path: str | os.PathLike[str], panels: dict[str, list[Curve]], *, x_label: str, y_label: str
) -> None:
    """Writes a figure with a panel for each title.

    Args:
        path: the file, whose ending says of what kind it is.
        panels: curves by title, at least one.
        x_label: of all panels.
        y_label: of all panels.
    """
    figure = Figure(figsize=(6.4 * len(panels), 4.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for panel, (title, curves) in zip(axes, panels.items(), strict=True):
        for curve in curves:
            (line,) = panel.plot(curve.x, curve.y, label=curve.label)
            panel.fill_between(curve.x, curve.low, curve.high, color=line.get_color(), alpha=0.2)
        # A label may hold a dollar, as what differs between configurations is anything.
        panel.set_title(title, parse_math=False)
        panel.set_xlabel(x_label, parse_math=False)
        panel.set_ylabel(y_label, parse_math=False)
        panel.xaxis.set_major_formatter(EngFormatter())
        panel.grid(alpha=0.3)
        for text in panel.legend(fontsize="small").get_texts():
            text.set_parse_math(False)
    figure.savefig(path, dpi=120)
