"""Top-down figures: what is drawn where, in which color."""

import matplotlib.colors
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mlsh_jax.viz import colors, trajectories
from mlsh_jax.viz.trajectories import Panel


def panel(scene, xy, subpolicy) -> Panel:
    return Panel("a map", scene, np.array(xy, float), np.array(subpolicy))


@pytest.fixture
def draw(scene):
    """Draws a panel and returns the axes and the lines, of which there is one collection."""

    def draw(xy, subpolicy):
        axes = Figure().subplots()
        trajectories.draw_panel(axes, panel(scene, xy, subpolicy))
        (lines,) = axes.collections
        return axes, lines

    return draw


def test_a_segment_has_the_color_of_the_sub_policy_that_led_to_its_end(draw):
    xy = [[[0, 0], [1, 0], [2, 0], [2, 1]], [[5, 5], [5, 6], [6, 6], [7, 6]]]
    _, lines = draw(xy, [[0, 0, 0, 1], [1, 1, 0, 2]])
    expected = [
        ([0, 0], [1, 0], 0), ([1, 0], [2, 0], 0), ([2, 0], [2, 1], 1),
        ([5, 5], [5, 6], 1), ([5, 6], [6, 6], 0), ([6, 6], [7, 6], 2),
    ]  # fmt: skip
    assert len(lines.get_segments()) == len(expected)
    drawn = zip(lines.get_segments(), lines.get_colors(), expected, strict=True)
    for segment, color, (start, end, k) in drawn:
        np.testing.assert_array_equal(segment, [start, end])
        palette = matplotlib.colors.to_rgb(colors.subpolicy_color(k))
        np.testing.assert_allclose(color[:3], palette)


def test_nothing_is_drawn_after_the_end_of_an_episode(draw):
    gone = [np.nan, np.nan]
    axes, lines = draw([[[0, 0], [1, 0], gone, gone], [gone] * 4], [[0] * 4, [0] * 4])
    assert len(lines.get_segments()) == 1
    (end,) = [line for line in axes.lines if line.get_marker() == "x"]
    np.testing.assert_array_equal(end.get_xydata(), [[1, 0]])


def test_the_view_is_that_of_the_scene_unless_an_episode_leaves_it(draw, scene):
    x_min, x_max, y_min, y_max = scene.bounds
    inside, _ = draw([[[0, 0], [1, 0]]], [[0, 0]])
    assert inside.get_xlim()[0] < x_min and inside.get_xlim()[1] < x_max + 2
    outside, _ = draw([[[0, 0], [100, 0]]], [[0, 0]])
    assert outside.get_xlim()[1] > 100
    assert np.ptp(outside.get_xlim()) == pytest.approx(np.ptp(outside.get_ylim()))
    assert outside.get_ylim()[0] < y_min and outside.get_ylim()[1] > y_max


@pytest.mark.parametrize("count, columns, rows", [(1, 1, 1), (3, 3, 1), (6, 4, 2)])
def test_a_figure_has_up_to_four_panels_in_a_row(scene, tmp_path, count, columns, rows):
    path = tmp_path / "figure.png"
    one = panel(scene, [[[0, 0], [10, 0], [10, 10]]], [[0, 0, 1]])
    trajectories.plot_trajectories(path, [one] * count)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    height, width, _ = picture.shape
    assert columns * 300 < width < columns * 450
    assert rows * 300 < height < rows * 450 + 100
    for color in (colors.WALL, colors.GOAL, colors.FLOOR):
        rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(picture - rgb).max(axis=-1) < 3).sum() > 100 * count, color
    assert not plt.get_fignums()


def test_the_legend_names_each_sub_policy_that_acted_once(scene):
    panels = [panel(scene, np.zeros((1, 3, 2)), [[k, k, 1]]) for k in (4, 1)]
    legend = trajectories._legend(panels)
    labels = [entry.get_label() for entry in legend]
    assert labels == ["sub-policy 1", "sub-policy 4", "start", "end"]
    assert [entry.get_color() for entry in legend[:2]] == [
        colors.subpolicy_color(1), colors.subpolicy_color(4),
    ]  # fmt: skip
