"""Walls whose layout is data: planes that stand where each part of a body would hit a wall.

A wall is an upright box. Physics with a geom per wall is slow, since the cost is per colliding
pair, and compiles a layout into the program. But a ball that touches a box touches the plane
through the nearest point of the box that faces the ball. So every colliding sphere of the body has
a small fixed number of planes, its *slots*, that nothing else collides with; before every env step
they are put on the walls of the layout nearest to that sphere. Any layout runs at the same cost in
the same program, as data that may differ from one environment of a batch to the next. A plane is
cheaper than a box, and it has no far side and no top, so nothing tunnels through or jumps over.

The slots hold if every wall within the way of a sphere in one env step is behind the planes in
them (`most_walls_uncovered`); `SLOTS`, two, serve wherever walls meet in pairs. One does not: in
an inner corner the sphere would be free to enter the wall that is second nearest. It serves where
there is one wall. All of this holds for a box seen from the side as well, which bodies pass under
or climb upon: `SIDE` instead of `ABOVE`.
"""

import functools
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

import brax.base
import jax
import jax.numpy as jnp
import numpy as np
from brax import math
from flax import struct

SLOTS = 2
"""Planes per colliding sphere where walls meet in pairs."""

ABOVE = (0, 1)
"""The axes of a layout that is seen from above: x and y, walls are endlessly high."""

SIDE = (0, 2)
"""The axes of a layout that is seen from the side: x and z, walls are endlessly wide."""

ABSENT = (1000.0, 1000.0, 0.0, 0.0)
"""The row of a wall that is not there: gives layouts of fewer walls the shape of the others."""

Array = jax.Array | np.ndarray
"""A layout that is a constant of a module is NumPy, so that importing it computes nothing."""


@struct.dataclass
class Walls:
    """A layout of M boxes, aligned with the axes and endless along the axis that is not seen.

    Attributes:
        center: float32 [M, 2], x and y (of a layout seen from the side x and z).
        half_size: float32 [M, 2], half the extent along these.
    """

    center: Array
    half_size: Array

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[float, float, float, float]]) -> "Walls":
        """Builds a layout from rows of (center x, center y, half size x, half size y)."""
        table = np.asarray(rows, np.float32)
        return cls(center=table[:, :2], half_size=table[:, 2:])

    def rows(self) -> np.ndarray:
        """Returns float32 [M, 4]: the rows of `from_rows` for the walls that are there."""
        table = np.concatenate([self.center, self.half_size], axis=1).astype(np.float32)
        return table[(table[:, 2:] > 0).all(axis=1)]


def distances(walls: Walls, point: Array) -> jax.Array:
    """Distances [M] from `point` [2] to the walls, negative inside one."""
    beyond = jnp.abs(point - walls.center) - walls.half_size
    outside = jnp.linalg.norm(jnp.maximum(beyond, 0.0), axis=-1)
    return outside + jnp.minimum(beyond.max(axis=-1), 0.0)


def nearest_faces(
    walls: Walls, point: Array, anchor: Array, num_slots: int = SLOTS
) -> tuple[jax.Array, jax.Array]:
    """Finds where the walls nearest to a point face it.

    Args:
        walls: the layout, with at least `num_slots` walls.
        point: float32 [2].
        anchor: float32 [2], on the side to which a point inside a wall belongs. A foot that was put
            into a wall must come out where the torso is, not by the face it is nearest to.
        num_slots: how many walls.

    Returns:
        The nearest points of the nearest walls and the unit normals there that point to `point`,
        or out of the wall toward `anchor` if `point` is inside: float32 [num_slots, 2] each.
    """
    gaps = distances(walls, point)
    chosen = []
    # An argmin each, since `top_k` is a sort that takes XLA seconds to compile for a CPU.
    for _ in range(num_slots):
        chosen.append(jnp.argmin(gaps))
        gaps = jnp.where(jnp.arange(len(gaps)) == chosen[-1], jnp.inf, gaps)
    nearest = jnp.stack(chosen)
    center = jnp.asarray(walls.center)[nearest]
    half_size = jnp.asarray(walls.half_size)[nearest]
    offset = point - center
    inner = jnp.clip(offset, -half_size, half_size)
    outward = offset - inner
    length = jnp.linalg.norm(outward, axis=-1, keepdims=True)
    inside = length == 0
    exit_side = anchor - center
    exit_axis = jax.nn.one_hot(jnp.argmax(jnp.abs(exit_side) - half_size, axis=-1), 2)
    exit_normal = exit_axis * jnp.where(exit_side < 0, -1.0, 1.0)
    exit_point = jnp.where(exit_axis > 0, exit_normal * half_size, offset)
    normal = jnp.where(inside, exit_normal, outward / jnp.where(inside, 1.0, length))
    return center + jnp.where(inside, exit_point, inner), normal


def slot_geoms(contact_bits: Sequence[int], num_slots: int = SLOTS) -> list[ElementTree.Element]:
    """MJCF planes for `find_slots` to find.

    Args:
        contact_bits: for each colliding sphere the bit of its `contype` that it alone has.
        num_slots: planes of each.
    """
    return [
        ElementTree.Element(
            "geom",
            {
                "name": _slot_name(sphere, slot),
                "type": "plane",
                "size": "1 1 1",
                "contype": "0",
                "conaffinity": str(bit),
                "rgba": "0 0 0 0",
            },
        )
        for sphere, bit in enumerate(contact_bits)
        for slot in range(num_slots)
    ]


@struct.dataclass
class Slots:
    """Which geoms of a system are colliding spheres (C of them) and which their planes.

    Attributes:
        spheres: int [C], geom indices.
        links: int [C], the links that the spheres belong to.
        planes: int [C * num_slots], geom indices, those of a sphere next to each other.
    """

    spheres: np.ndarray
    links: np.ndarray
    planes: np.ndarray


def find_slots(sys: brax.base.System, sphere_names: Sequence[str], num_slots: int = SLOTS) -> Slots:
    """Finds the spheres by name and their planes, in the order given to `slot_geoms`."""
    spheres = np.array([sys.mj_model.geom(name).id for name in sphere_names])
    slots = [_slot_name(i, slot) for i in range(len(spheres)) for slot in range(num_slots)]
    return Slots(
        spheres=spheres,
        links=np.asarray(sys.geom_bodyid)[spheres] - 1,
        planes=np.array([sys.mj_model.geom(name).id for name in slots]),
    )


def place(
    sys: brax.base.System,
    slots: Slots,
    walls: Walls,
    physics: Any,
    axes: tuple[int, int] = ABOVE,
) -> brax.base.System:
    """Puts the planes of every sphere on the walls nearest to it.

    Args:
        sys: the system with slots.
        slots: what `find_slots` returned for it.
        walls: the layout.
        physics: pipeline state that says where the spheres are.
        axes: `ABOVE` or `SIDE`, from where the layout is seen.

    Returns:
        The system with the position and the orientation of its planes replaced.
    """
    rotation = physics.x.rot[slots.links]
    offset = jax.vmap(math.rotate)(jnp.asarray(sys.geom_pos)[slots.spheres], rotation)
    center = physics.x.pos[slots.links] + offset
    seen = jnp.asarray(axes)
    num_slots = len(slots.planes) // len(slots.spheres)
    find = functools.partial(nearest_faces, walls, num_slots=num_slots)
    # Over spheres: [C, 2] -> [C, num_slots, 2] -> [C * num_slots, 3].
    found = jax.vmap(find, in_axes=(0, None))(center[:, seen], physics.x.pos[0, seen])
    flat = jnp.zeros((len(slots.planes), 3))
    position, normal = (flat.at[:, seen].set(x.reshape(-1, 2)) for x in found)
    return sys.tree_replace(
        {
            "geom_pos": jnp.asarray(sys.geom_pos).at[slots.planes].set(position),
            "geom_quat": jnp.asarray(sys.geom_quat).at[slots.planes].set(_turn(normal)),
        }
    )


def _turn(normal: jax.Array) -> jax.Array:
    """Quaternions [..., 4] that turn the normal z of a plane into unit normals [..., 3].

    They turn about the horizontal axis (-n_y, n_x), about y where the normal is up or down.
    """
    sideways = jnp.linalg.norm(normal[..., :2], axis=-1, keepdims=True)
    x, y = jnp.split(normal[..., :2] / jnp.where(sideways > 0, sideways, 1.0), 2, axis=-1)
    half = jnp.arctan2(sideways, normal[..., 2:]) / 2
    axis = [-y, jnp.where(sideways > 0, x, 1.0), jnp.zeros_like(x)]
    return jnp.concatenate([jnp.cos(half), jnp.sin(half) * jnp.concatenate(axis, -1)], axis=-1)


def most_walls_uncovered(walls: Walls, reach: float, spacing: float) -> int:
    """Counts the most walls that a sphere could enter without meeting its planes: 0 is safe.

    A wall counts at a free point if it is within `reach` and not wholly behind one of the planes
    that `nearest_faces` gives there. The count is over the free points of a grid.

    Args:
        walls: the layout.
        reach: distance that a sphere's surface may get from where its center was at placing.
        spacing: distance between neighboring points of the grid.
    """
    table = walls.rows()
    low, high = (table[:, :2] - table[:, 2:]).min(axis=0), (table[:, :2] + table[:, 2:]).max(axis=0)
    axes = [np.arange(low[i], high[i], spacing, dtype=np.float32) for i in range(2)]
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    gaps = np.asarray(jax.vmap(distances, in_axes=(None, 0))(walls, points))
    near = gaps < reach
    doubtful = (gaps > 0).all(axis=1) & (near.sum(axis=1) > SLOTS)
    if not doubtful.any():
        return 0
    points, near = points[doubtful], near[doubtful]
    faces, normals = jax.vmap(nearest_faces, in_axes=(None, 0, 0))(walls, points, points)
    # How far each wall is before each plane, at most: [points, SLOTS, M].
    offset = np.asarray(walls.center) - np.asarray(faces)[:, :, None]
    normal = np.asarray(normals)[:, :, None]
    ahead = (offset * normal + np.abs(normal) * np.asarray(walls.half_size)).sum(axis=-1)
    covered = (ahead < 1e-4).any(axis=1)
    return int((near & ~covered).sum(axis=1).max())


def crossings(walls: Walls, path: np.ndarray) -> int:
    """Counts the steps of a path that lead through a wall, into one or along its inside.

    Args:
        walls: the layout.
        path: float [T, 2], T >= 2 points.

    Returns:
        How many of the T - 1 straight lines between one point and the next have a point inside a
        wall; 0 says that the path stays on its side of every wall.
    """
    path = np.asarray(path, np.float64)
    middle = (path[1:] + path[:-1])[:, None] / 2 - np.asarray(walls.center, np.float64)
    half_step = (path[1:] - path[:-1])[:, None] / 2
    half_size = np.asarray(walls.half_size, np.float64)
    # Two convex shapes are apart if an axis separates them: x, y or the normal of the line.
    apart = (np.abs(middle) >= half_size + np.abs(half_step)).any(axis=-1)
    off_line = np.abs(middle[..., 0] * half_step[..., 1] - middle[..., 1] * half_step[..., 0])
    reach = (half_size * np.abs(half_step)[..., ::-1]).sum(axis=-1)
    return int((~(apart | (off_line > reach))).any(axis=1).sum())


def _slot_name(sphere: int, slot: int) -> str:
    return f"wall_slot_{sphere}_{slot}"
