"""Bars of usage: how long each is, in which color."""

import numpy as np
import pytest
from PIL import Image

from mlsh_jax.viz import colors
from mlsh_jax.viz.usage import plot_usage


def pixels(picture: np.ndarray, color: str) -> np.ndarray:
    """Where [height, width] a color is."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return (np.abs(picture.astype(int) - rgb) < 8).all(axis=-1)


def test_of_many_tasks_and_sub_policies_the_first_bars_are_shown(tmp_path):
    usage = {f"$task_{m}$ $": np.full(12, 1 / 12) for m in range(3000)}
    plot_usage(tmp_path / "many.png", usage)
    plot_usage(tmp_path / "one.png", dict(list(usage.items())[:1]))
    many, one = (Image.open(tmp_path / f"{name}.png").size for name in ("many", "one"))
    assert many[0] == one[0] and many[1] - one[1] == pytest.approx(99 * 0.22 * 110, rel=0.02)


@pytest.mark.parametrize("num_tasks", [2, 30])
def test_a_bar_is_as_long_as_its_share(tmp_path, num_tasks):
    usage = {f"task {m}": np.array([0.25, 0.0, 0.75]) for m in range(num_tasks - 1)}
    path = tmp_path / "usage.png"
    plot_usage(path, {"first": np.array([0.0, 1.0, 0.0])} | usage)
    picture = np.asarray(Image.open(path).convert("RGB"))
    found = [pixels(picture, colors.subpolicy_color(k)) for k in range(3)]
    whole = found[1].sum(axis=1).max()
    assert whole > 0.7 * picture.shape[1]
    assert found[0].sum(axis=1).max() == pytest.approx(0.25 * whole, abs=3)
    assert found[2].sum(axis=1).max() == pytest.approx(0.75 * whole, abs=3)
    in_bars = [np.flatnonzero(where.sum(axis=1) > 0.2 * whole) for where in found]
    assert in_bars[1].max() < in_bars[0].min()  # the first task is on top
    assert (
        np.flatnonzero(found[0][in_bars[0][0]]).max()
        < np.flatnonzero(found[2][in_bars[2][0]]).min()
    )
