import collections
import itertools

import brax.base
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from courses import PLACES
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from envs.locomotion import ant, walls
from envs.locomotion.ant_obstacle import COURSE

TWO_BOXES = walls.Walls.from_rows([(0, 0, 2, 1), (10, 0, 1, 3)])


@pytest.mark.parametrize("name", PLACES)
def test_two_slots_hold_everywhere(name):
    # A sphere of the torso's radius, at 10 units a second, is at most 0.75 beyond its center
    # after an env step.
    assert walls.most_walls_uncovered(PLACES[name].walls, reach=1.0, spacing=0.1) == 0


def test_two_slots_do_not_hold_at_the_end_of_a_slit():
    slit = walls.Walls.from_rows([(-2, 0, 1.6, 5), (2, 0, 1.6, 5), (0, -5, 5, 0.3)])
    assert walls.most_walls_uncovered(slit, reach=1.0, spacing=0.1) == 1


@pytest.mark.parametrize(
    ("point", "face", "normal"),
    [
        ((4.0, 0.5), (2.0, 0.5), (1.0, 0.0)),
        ((-1.0, -3.0), (-1.0, -1.0), (0.0, -1.0)),
        ((-5.0, 5.0), (-2.0, 1.0), (-0.6, 0.8)),
        ((1.9, 0.0), (2.0, 0.0), (1.0, 0.0)),
        ((0.5, -0.8), (0.5, -1.0), (0.0, -1.0)),
        ((0.0, 0.0), (0.0, 1.0), (0.0, 1.0)),
        ((2.0, 0.0), (2.0, 0.0), (1.0, 0.0)),
    ],
    ids=["right", "below", "corner", "inside right", "inside below", "center", "on the face"],
)
def test_nearest_face_of_a_box(point, face, normal):
    faces, normals = walls.nearest_faces(TWO_BOXES, jnp.array(point), jnp.array(point))
    np.testing.assert_allclose(faces[0], face, atol=1e-6)
    np.testing.assert_allclose(normals[0], normal, atol=1e-6)


@pytest.mark.parametrize(
    ("anchor", "face", "normal"),
    [
        ((-3.0, 0.2), (-2.0, 0.5), (-1.0, 0.0)),
        ((3.0, 0.2), (2.0, 0.5), (1.0, 0.0)),
        ((1.0, -2.0), (1.9, -1.0), (0.0, -1.0)),
    ],
)
def test_a_foot_inside_a_wall_comes_out_on_the_side_of_the_torso(anchor, face, normal):
    faces, normals = walls.nearest_faces(TWO_BOXES, jnp.array([1.9, 0.5]), jnp.array(anchor))
    np.testing.assert_allclose(normals[0], normal, atol=1e-6)
    out = np.argmax(np.abs(normal))
    np.testing.assert_allclose(faces[0][out], face[out], atol=1e-6)


@settings(deadline=None)
@given(x=st.floats(-5, 45), y=st.floats(-5, 45))
def test_planes_have_the_distances_of_the_nearest_walls(x, y):
    point = np.array([x, y], np.float32)
    faces, normals = _nearest_on_course(point)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-5)
    gaps = np.sort(_distances_on_course(point))[: walls.SLOTS]
    to_planes = np.sum((point - faces) * normals, axis=1)
    np.testing.assert_allclose(to_planes, gaps, atol=1e-4)


_nearest_on_course = jax.jit(lambda point: walls.nearest_faces(COURSE.walls, point, point))
_distances_on_course = jax.jit(lambda point: walls.distances(COURSE.walls, point))


def test_layout_may_differ_between_environments_of_a_batch(play_spring):
    env = play_spring.env
    slots = walls.find_slots(env.sys, ant.COLLIDERS)
    physics = brax.base.State(
        q=env.sys.init_q,
        qd=jnp.zeros(14),
        x=brax.base.Transform.zero((9,)),
        xd=brax.base.Motion.zero((9,)),
        contact=None,
    )
    moved = jax.tree.map(lambda x: jnp.stack([x, x]), TWO_BOXES)
    moved = moved.replace(center=moved.center + jnp.array([[[5.0, 0.0]], [[0.0, -7.0]]]))

    @jax.jit
    @jax.vmap
    def planes(layout):
        return walls.place(env.sys, slots, layout, physics).geom_pos[slots.planes[0]]

    np.testing.assert_allclose(planes(moved), [[3, 0, 0], [0, -6, 0]], atol=1e-5)


def test_planes_collide_with_their_own_sphere_alone(play_spring):
    model = play_spring.env.sys.mj_model
    # Whatever the module says: the torso and each foot has two.
    feet = {f"{name}_foot_geom" for name in ("left", "right", "third", "fourth")}
    stopped = collections.Counter(
        model.geom(geom).name
        for geom, other in itertools.product(range(model.ngeom), repeat=2)
        if model.geom(other).name.startswith("wall_slot_")
        and model.geom_contype[geom] & model.geom_conaffinity[other]
    )
    assert stopped == dict.fromkeys(feet | {"torso_geom"}, 2)
    for geom in range(model.ngeom):
        own = [
            model.geom(other).name
            for other in range(model.ngeom)
            if (model.geom_contype[geom] & model.geom_conaffinity[other])
            or (model.geom_contype[other] & model.geom_conaffinity[geom])
        ]
        name = model.geom(geom).name
        if name.startswith("wall_slot_"):
            assert own == [ant.COLLIDERS[int(name.split("_")[2])]]


def test_absent_walls_are_no_rows():
    rows = [(0, 0, 2, 1), walls.ABSENT, (10, 0, 1, 3)]
    np.testing.assert_array_equal(walls.Walls.from_rows(rows).rows(), TWO_BOXES.rows())


_coordinates = st.floats(-12, 12).map(lambda x: round(x, 2))
_points = st.tuples(_coordinates, _coordinates)


@settings(deadline=None)
@given(path=st.lists(_points, min_size=2, max_size=5))
def test_crossings_are_the_steps_with_a_point_inside_a_wall(path):
    path = np.array(path)
    along = np.linspace(0, 1, 2001)[:, None]
    found = 0
    for one, other in itertools.pairwise(path):
        line = one + along * (other - one)
        depth = (TWO_BOXES.half_size - np.abs(line[:, None] - TWO_BOXES.center)).min(axis=-1).max()
        assume(abs(depth) > 0.02)  # a line that only touches a wall may go either way
        found += depth > 0
    assert walls.crossings(TWO_BOXES, path) == found


def test_crossings_see_jumps_over_a_wall_and_rest_inside_one():
    assert walls.crossings(TWO_BOXES, np.array([(-50, 0), (50, 0), (50, 9), (-50, 9)])) == 1
    assert walls.crossings(TWO_BOXES, np.array([(0, 0), (0, 0)])) == 1
    assert walls.crossings(TWO_BOXES, np.array([(5, 0), (5, 0), (np.nan, 0)])) == 1
