"""What is left of walls in a picture, and how far it reaches."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from envs.scene import Scene
from mlsh_jax.viz import scenery

BOUNDS = (0.0, 10.0, 0.0, 10.0)


def walls(*rows) -> Scene:
    return Scene(walls=np.array(rows, np.float32), start=(1.0, 1.0), bounds=BOUNDS)


def test_a_wall_inside_stays_as_it_is():
    np.testing.assert_allclose(scenery.visible_walls(walls((5, 5, 1, 2))), [[5, 5, 1, 2]])


def test_a_wall_that_leaves_the_bounds_is_cut_off_a_little_outside():
    ((x, y, half_x, half_y),) = scenery.visible_walls(walls((8, 5, 30, 1)))
    assert (y, half_y) == (5, 1)
    assert -1 < x - half_x < 0 and 10 < x + half_x < 11


def test_a_wall_outside_is_left_out():
    assert scenery.visible_walls(walls((5, 5, 1, 1), (30, 5, 1, 1))).shape == (1, 4)


def test_a_scene_without_walls_has_none():
    scene = Scene(walls=np.zeros((0, 4)), start=(0.0, 0.0), bounds=BOUNDS)
    assert scenery.visible_walls(scene).shape == (0, 4)


def test_the_view_widens_to_a_square_that_holds_the_path():
    axes = Figure().subplots()
    scenery.draw_scene(axes, walls((5, 5, 1, 2)))
    scenery.widen(axes, np.array([[3.0, 4.0], [25.0, 5.0], [np.nan, np.nan]]))
    (x_min, x_max), (y_min, y_max) = axes.get_xlim(), axes.get_ylim()
    assert x_min < 0 and x_max > 25 and y_min < 0 and y_max > 10
    assert x_max - x_min == pytest.approx(y_max - y_min)
    assert x_max < 28


def test_a_path_inside_changes_nothing():
    axes = Figure().subplots()
    scenery.draw_scene(axes, walls((5, 5, 1, 2)))
    before = (*axes.get_xlim(), *axes.get_ylim())
    scenery.widen(axes, np.array([[[3.0, 4.0], [np.nan, np.nan]]]))
    assert (*axes.get_xlim(), *axes.get_ylim()) == pytest.approx(before)


def test_marks_are_named_where_they_are():
    axes = Figure().subplots()
    scene = Scene(
        walls=np.zeros((0, 4)), start=(0, 0), bounds=BOUNDS, marks=((2, 3, "A"), (5, 1, "B"))
    )
    scenery.draw_scene(axes, scene)
    assert [(*text.get_position(), text.get_text()) for text in axes.texts] == list(scene.marks)
