"""The ant that all ant tasks share: body, observation, reset pose and standing up again.

The body is Brax's own `ant.xml` (the paper used MuJoCo's in another engine, so rewards are
ours, beside the paper's). Tasks add geoms to it and subclass `AntEnv`.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath

from envs.locomotion.bodies import BodyEnv, check_choice

BACKENDS = ("spring", "generalized")
"""Physics backends in which the ant stays on its side of a wall (tests/envs)."""

COLLIDERS = (
    "torso_geom",
    "left_foot_geom",
    "right_foot_geom",
    "third_foot_geom",
    "fourth_foot_geom",
)
"""The spheres of the body that walls stop; with feet alone the torso enters walls."""

COLLIDER_BITS = tuple(2 << i for i in range(len(COLLIDERS)))
"""The contact bit that each collider has to itself; bit 1 is that of the floor."""

LEG_REACH = 1.25
"""Horizontal distance from the torso's center to the outside of a stretched foot."""

CONTROL_COST = 0.1
"""Weight of the sum of squared torques in rewards, as in the authors' released environment."""

PACE = 2.0
"""Speed, in units per second, beyond which rewards called "pace" pay no more. Brax's ant can run
three times as fast, but then it tumbles over within an episode."""

_FRAMES = {"spring": (0.005, 10), "generalized": (0.01, 5)}
"""Seconds of a substep and substeps of an env step (0.05 s), as `brax.envs.ant` has them."""

_POSE_NOISE = 0.1


class AntEnv(BodyEnv):
    """An ant with 8 torques in [-1, 1] (clipped), started near its standing pose.

    Observation, float32 [29]: q (torso x, y, z, its quaternion, 8 joint angles) and then qd
    (torso velocity, angular velocity, 8 joint velocities). An ant that has fallen goes on; only
    failing physics ends an episode early.
    """

    def __init__(
        self,
        backend: str,
        position_visible: bool,
        geoms: Sequence[ElementTree.Element] = (),
    ):
        """Loads the body.

        Args:
            backend: one of `BACKENDS`.
            position_visible: whether sub-policies see x and y of the torso.
            geoms: MJCF geoms to add to the world.

        Raises:
            EnvError: if an option has another value.
        """
        check_choice("backend", backend, BACKENDS)
        super().__init__(_body_xml(geoms), *_FRAMES[backend], backend, position_visible)

    def _draw_pose(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draws q [15] and qd [14] near standing at the origin, with the noise of Brax's ant."""
        key_q, key_qd = jax.random.split(key)
        noise = jax.random.uniform(
            key_q, (self.sys.q_size(),), minval=-_POSE_NOISE, maxval=_POSE_NOISE
        )
        q = self.sys.init_q + noise
        q = q.at[3:7].divide(jnp.linalg.norm(q[3:7]))
        qd = _POSE_NOISE * jax.random.normal(key_qd, (self.sys.qd_size(),))
        return q, qd

    def _stand_up(
        self, physics: Any, key: jax.Array, clock: jax.Array, every: int
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Re-draws the pose near standing when `clock` is a multiple of `every`; keeps x and y.

        Args:
            physics: pipeline state after the step.
            key: key of the episode.
            clock: int32, env steps since the reset.
            every: env steps after which the ant is stood up again.

        Returns:
            q [15] and qd [14], new or those of `physics`, for `pipeline_init`, and whether they are
            new (bool scalar).
        """
        upright = clock % every == 0
        pose, pose_velocity = self._draw_pose(jax.random.fold_in(key, clock))
        q = jnp.where(upright, pose.at[:2].set(physics.q[:2]), physics.q)
        qd = jnp.where(upright, pose_velocity, physics.qd)
        return q, qd, upright


def _body_xml(geoms: Sequence[ElementTree.Element]) -> str:
    """Returns Brax's ant as MJCF, with contact bits for its colliders and `geoms` in the world."""
    path = epath.resource_path("brax") / "envs/assets/ant.xml"
    root = ElementTree.fromstring(path.read_text())
    world = root.find("worldbody")
    assert world is not None
    for geom in world.iter("geom"):
        geom_name = geom.get("name", "")
        if geom_name in COLLIDERS:
            bit = COLLIDER_BITS[COLLIDERS.index(geom_name)]
            geom.set("contype", str(bit | int(geom.get("contype", "0"))))
    world.extend(geoms)
    return ElementTree.tostring(root, encoding="unicode")
