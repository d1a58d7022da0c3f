"""The ant that all ant tasks share: body, observation, reset pose and physics guard.

The body is Brax's own `ant.xml` (the paper used MuJoCo's in another engine, so rewards are
ours, beside the paper's). Tasks add geoms to it and subclass `AntEnv`.
"""

import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

import brax.base
import jax
import jax.numpy as jnp
from brax.envs.base import PipelineEnv
from brax.io import mjcf
from etils import epath

from envs.base import TaskEnv
from envs.errors import EnvError

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
"""Horizontal distance from the torso's centre to the outside of a stretched foot."""

_FRAMES = {"spring": (0.005, 10), "generalized": (0.01, 5)}
"""Seconds of a substep and substeps of an env step (0.05 s), as `brax.envs.ant` has them."""

_POSE_NOISE = 0.1


class AntEnv(PipelineEnv, TaskEnv):
    """An ant with 8 torques in [-1, 1] (clipped), started near its standing pose.

    Observation, float32 [29]: q (torso x, y, z, its quaternion, 8 joint angles) and then qd
    (torso velocity, angular velocity, 8 joint velocities). Sub-policies see all but x and y.
    An ant that has fallen goes on; only non-finite physics terminates an episode.
    """

    num_actions = None

    def __init__(self, backend: str, geoms: Sequence[ElementTree.Element] = ()):
        """Loads the body.

        Args:
          backend: one of `BACKENDS`.
          geoms: MJCF geoms to add to the world.

        Raises:
          EnvError: if the backend is not offered.
        """
        if backend not in BACKENDS:
            raise EnvError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
        timestep, n_frames = _FRAMES[backend]
        with warnings.catch_warnings():
            # Brax advises to use another library, which is nothing the user of a task can do.
            warnings.filterwarnings("ignore", message="Brax System", category=UserWarning)
            sys = mjcf.loads(_body_xml(geoms)).tree_replace({"opt.timestep": timestep})
        super().__init__(sys=sys, backend=backend, n_frames=n_frames)

    @property
    def observation_size(self) -> int:
        """Length of the observation: 15 positions and 14 velocities."""
        return self.sys.q_size() + self.sys.qd_size()

    @property
    def subpolicy_observation_indices(self) -> tuple[int, ...]:
        """All of the observation but the world position x and y."""
        return tuple(range(2, self.observation_size))

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

    def _simulate(
        self, sys: brax.base.System, physics: Any, action: jax.Array
    ) -> tuple[Any, jax.Array]:
        """Runs one env step of physics and keeps the state before it if that fails.

        Args:
          sys: the system, perhaps with walls put in their slots.
          physics: pipeline state of the backend.
          action: float32 [8], clipped to [-1, 1].

        Returns:
          The new pipeline state, and whether it is finite (bool scalar); if it is not, the
          pipeline state is `physics`.
        """

        def substep(carry: Any, _: None) -> tuple[Any, None]:
            return self._pipeline.step(sys, carry, action, False), None

        after, _ = jax.lax.scan(substep, physics, None, self._n_frames)
        finite = jnp.isfinite(after.q).all() & jnp.isfinite(after.qd).all()
        return select(finite, after, physics), finite


def clip_action(action: jax.Array) -> jax.Array:
    """Limits torques to [-1, 1], the range of the actuators."""
    return jnp.clip(action, -1.0, 1.0)


def observe(physics: Any) -> jax.Array:
    """Reads the observation [29] off a pipeline state."""
    return jnp.concatenate([physics.q, physics.qd])


def position_metrics(physics: Any, finite: jax.Array) -> dict[str, jax.Array]:
    """Returns the metrics of every ant task, float32 scalars.

    `x_position` and `y_position` of the torso; `physics_nan`, 1 where the physics failed.
    """
    return {
        "x_position": physics.q[0],
        "y_position": physics.q[1],
        "physics_nan": 1.0 - finite.astype(jnp.float32),
    }


def select(condition: jax.Array, when_true: Any, when_false: Any) -> Any:
    """Chooses between two pytrees of one structure by a bool scalar."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), when_true, when_false)


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
