"""Where parts of a body are, against MuJoCo's own kinematics."""

import mujoco
import numpy as np
import pytest
from brax.io import mjcf

from mlsh_jax.viz import bodies


@pytest.fixture(scope="module")
def poses(ant):
    """Generalized positions [5, nq]: standing, and four at random."""
    rng = np.random.default_rng(0)
    q = np.tile(np.asarray(ant.sys.init_q), (5, 1))
    q[1:] += rng.normal(size=q[1:].shape)
    q[:, 3:7] /= np.linalg.norm(q[:, 3:7], axis=1, keepdims=True)
    return q


@pytest.fixture(scope="module")
def mujoco_poses(ant, poses):
    """MuJoCo's data at each of the poses."""
    found = []
    for q in poses:
        data = mujoco.MjData(ant.sys.mj_model)
        data.qpos[:] = q
        mujoco.mj_kinematics(ant.sys.mj_model, data)
        found.append(data)
    return found


def test_link_poses_are_those_of_mujoco(ant, poses, mujoco_poses):
    position, rotation = bodies.link_poses(ant.sys, poses)
    assert position.shape == (5, 9, 3) and rotation.shape == (5, 9, 4)
    np.testing.assert_allclose(position, [data.xpos[1:] for data in mujoco_poses], atol=1e-5)
    expected = np.array([data.xquat[1:] for data in mujoco_poses])
    # A quaternion and its negative are the same rotation.
    np.testing.assert_allclose(np.abs((rotation * expected).sum(axis=-1)), 1, atol=1e-5)


def test_segments_are_the_axes_of_mujoco_s_geoms(ant, poses, mujoco_poses):
    ends, radii = bodies.segments(bodies.parts(ant.sys), *bodies.link_poses(ant.sys, poses))
    model = ant.sys.mj_model
    geoms = np.flatnonzero(model.geom_bodyid > 0)
    assert ends.shape == (5, len(geoms), 2, 3)
    is_capsule = model.geom_type[geoms] == mujoco.mjtGeom.mjGEOM_CAPSULE
    half_length = np.where(is_capsule, model.geom_size[geoms, 1], 0)
    np.testing.assert_allclose(radii, model.geom_size[geoms, 0], rtol=1e-6)
    for pose, data in zip(ends, mujoco_poses, strict=True):
        along = data.geom_xmat[geoms].reshape(-1, 3, 3)[:, :, 2] * half_length[:, None]
        center = data.geom_xpos[geoms]
        expected = np.stack([center - along, center + along], axis=1)
        np.testing.assert_allclose(pose, expected, atol=1e-5)


def test_an_agent_without_a_body_has_a_nose_where_it_faces():
    q, radius = np.array([[0.0, 0.0], [2.0, -1.0], [2.0, -1.0]]), 0.3
    assert len(bodies.posed(None, q, radius)[0]) == 1
    heading = np.array([0.0, np.pi / 2, np.pi])
    ends, radii = bodies.segments(*bodies.posed(None, q, radius, heading))
    np.testing.assert_allclose(
        ends[:, 0],
        np.pad(q, ((0, 0), (0, 1)), constant_values=0.3)[:, None].repeat(2, 1),
        atol=1e-9,
    )
    away = ends[:, 1, :, :2] - q[:, None]  # from the middle of the ball, [3, 2, 2]
    ahead = np.array([[1, 0], [0, 1], [-1, 0]])
    along = (away * ahead[:, None]).sum(axis=-1)
    np.testing.assert_allclose(away, along[..., None] * ahead[:, None], atol=1e-9)
    assert (along.min(axis=1) < radius).all() and (along.max(axis=1) > radius).all()
    assert along.max() + radii[1] < 0.5  # in a cell of a grid


def test_an_ant_that_stands_touches_the_ground_with_its_feet_alone(ant):
    body = bodies.parts(ant.sys)
    ends, radii = bodies.segments(
        body, *bodies.link_poses(ant.sys, np.asarray(ant.sys.init_q)[None])
    )
    lowest = ends[0, :, :, 2].min(axis=1) - radii
    feet = np.abs(lowest) < 0.01
    assert (lowest[~feet] > 0.2).all()
    assert len({part.link for part, foot in zip(body, feet, strict=True) if foot}) == 4


def test_slots_for_walls_and_the_floor_are_no_parts(ant):
    names = [ant.sys.mj_model.geom(i).name for i in range(ant.sys.ngeom)]
    assert "floor" in names and any(name.startswith("wall_slot") for name in names)
    assert len(bodies.parts(ant.sys)) == sum(ant.sys.mj_model.geom_bodyid > 0)


@pytest.mark.filterwarnings("ignore:Brax System")
def test_a_shape_that_cannot_be_drawn_is_named():
    sys = mjcf.loads(
        '<mujoco><worldbody><body><joint type="free"/><geom name="brick" type="box" size="1 1 1"/>'
        "</body></worldbody></mujoco>"
    )
    with pytest.raises(bodies.UndrawableError, match=r"'brick'.*BOX"):
        bodies.parts(sys)
