"""Where the parts of a body are, from its generalized positions."""

import dataclasses

import brax.base
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from brax import kinematics

_SHAPES = {
    mujoco.mjtGeom.mjGEOM_SPHERE: "sphere",
    mujoco.mjtGeom.mjGEOM_CAPSULE: "capsule",
}


class UndrawableError(ValueError):
    """A body has a shape that is not drawn."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A sphere or capsule that is fixed to a link of the body.

    Attributes:
        link: index of the link.
        shape: "sphere" or "capsule".
        radius: of the sphere or the capsule.
        half_length: half the distance between the centers of the ends of a capsule, which lies
            along its own z; 0 for a sphere.
        position: of its center on the link, `[3]`.
        rotation: quaternion on the link, w first, `[4]`.
    """

    link: int
    shape: str
    radius: float
    half_length: float
    position: np.ndarray
    rotation: np.ndarray


def parts(sys: brax.base.System) -> list[Part]:
    """The geoms of all links; those of the world (floor, slots for walls) are no body's.

    Raises:
        UndrawableError: a geom is neither a sphere nor a capsule.
    """
    model = sys.mj_model
    found = []
    for i in np.flatnonzero(np.asarray(sys.geom_bodyid) > 0):
        kind = mujoco.mjtGeom(int(model.geom_type[i]))
        if kind not in _SHAPES:
            raise UndrawableError(
                f"geom {model.geom(i).name!r} is a {kind.name}, and spheres and capsules are drawn"
            )
        radius, half_length, _ = np.asarray(sys.geom_size)[i]
        found.append(
            Part(
                link=int(sys.geom_bodyid[i]) - 1,
                shape=_SHAPES[kind],
                radius=float(radius),
                half_length=float(half_length) if _SHAPES[kind] == "capsule" else 0.0,
                position=np.asarray(sys.geom_pos)[i],
                rotation=np.asarray(sys.geom_quat)[i],
            )
        )
    return found


def posed(
    sys: brax.base.System | None, q: np.ndarray, radius: float, heading: np.ndarray | None = None
) -> tuple[list[Part], np.ndarray, np.ndarray]:
    """What an agent consists of and where that is in a recording.

    Args:
        sys: the system of its body; None for an agent without one, which is a sphere.
        q: generalized positions `[T, nq]`, or x and y `[T, 2]`.
        radius: of the sphere, which rests on the floor.
        heading: where it faces, in radians from x toward y, `[T]`, which a nose shows; None where
            it faces nowhere.

    Returns:
        Its parts, and positions `[T, L, 3]` and quaternions `[T, L, 4]` of the links.
    """
    if sys is not None:
        return parts(sys), *link_poses(sys, q)
    position = np.concatenate([q[:, :2], np.full((len(q), 1), radius)], axis=1)[:, None]
    upright = np.array([1.0, 0.0, 0.0, 0.0])
    sphere = Part(0, "sphere", radius, 0.0, position=np.zeros(3), rotation=upright)
    if heading is None:
        return [sphere], position, np.tile(upright, (len(q), 1, 1))
    nose = Part(
        0,
        "capsule",
        0.3 * radius,
        half_length=0.4 * radius,
        position=np.array([0.9 * radius, 0.0, 0.0]),
        rotation=_turned(np.array(np.pi / 2), axis=1),  # from z to x
    )
    return [sphere, nose], position, _turned(heading, axis=2)[:, None]


def link_poses(sys: brax.base.System, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forward kinematics of a recording.

    Args:
        sys: the system, with L links.
        q: generalized positions, `[T, nq]`.

    Returns:
        Positions `[T, L, 3]` and quaternions, w first, `[T, L, 4]` of the links in the world.
    """
    # On the CPU, since it is too little work to disturb an accelerator's memory for.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        poses = _forward(sys, np.asarray(q, np.float32))
    return np.asarray(poses.pos), np.asarray(poses.rot)


@jax.jit
def _forward(sys: brax.base.System, q: jax.Array) -> brax.base.Transform:
    """Compiled once per system and length of the recording."""
    return jax.vmap(lambda q: kinematics.forward(sys, q, jnp.zeros(sys.qd_size()))[0])(q)


def segments(
    body: list[Part], position: np.ndarray, rotation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The axes of the parts in the world; a sphere is a segment without length.

    Args:
        body: P parts.
        position: of the links, `[T, L, 3]`.
        rotation: of the links, `[T, L, 4]`.

    Returns:
        Both ends of every part, `[T, P, 2, 3]`, and the radii, `[P]`.
    """
    links = np.array([part.link for part in body])
    ends = np.stack([_ends(part) for part in body])  # [P, 2, 3]
    turned = _rotate(ends, rotation[:, links, None])  # [T, P, 2, 3]
    return turned + position[:, links, None], np.array([part.radius for part in body])


def _ends(part: Part) -> np.ndarray:
    """Both ends of the axis of a part on its link, `[2, 3]`."""
    along = _rotate(np.array([0.0, 0.0, part.half_length]), part.rotation)
    return part.position + np.stack([-along, along])


def _turned(angle: np.ndarray, axis: int) -> np.ndarray:
    """Quaternions `[..., 4]`, w first, of turns `[...]` around x, y or z."""
    around = np.eye(3)[axis] * np.sin(angle / 2)[..., None]
    return np.concatenate([np.cos(angle / 2)[..., None], around], axis=-1)


def _rotate(vector: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Turns vectors `[..., 3]` by quaternions `[..., 4]`, w first."""
    w, axis = rotation[..., :1], rotation[..., 1:]
    twice = 2 * np.cross(axis, vector)
    return vector + w * twice + np.cross(axis, twice)
