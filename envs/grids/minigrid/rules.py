"""What an action does, and when it pays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE, DONE = range(7)
"""The actions; the last one does nothing."""
OPEN, CLOSED, LOCKED = range(3)
"""What a door can be."""
AHEAD = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)], np.int32)
"""The cell in front, as a step in x and y, for an agent that faces right, down, left and up."""
NOWHERE = (-9, -9)
"""Where a door or a key is that the world does not have: no view reaches as far."""


@struct.dataclass
class Layout:
    """A task: what the world is at the start of every episode. Places are x (column) and y (row).

    Attributes:
        walls: bool [H, W], by row and column; beyond the grid there is wall without end.
        goal: int32 [2].
        door: int32 [2], locked at first; `NOWHERE` if there is none.
        key: int32 [2], which fits; `NOWHERE` if there is none.
        start: of the agent, int32 [2].
        start_direction: index into `AHEAD`, int32 scalar.
        see_through: whether walls and doors do not hide what is behind them, bool scalar.
    """

    walls: jax.Array
    goal: jax.Array
    door: jax.Array
    key: jax.Array
    start: jax.Array
    start_direction: jax.Array
    see_through: jax.Array


@struct.dataclass
class World:
    """What changes in an episode.

    Attributes:
        place: of the agent, int32 [2].
        direction: index into `AHEAD`, int32 scalar.
        door: `OPEN`, `CLOSED` or `LOCKED`, int32 scalar.
        key: int32 [2]; `NOWHERE` while it is carried.
        has_key: whether the agent carries it, bool scalar.
        steps: taken in this episode, int32 scalar.
    """

    place: jax.Array
    direction: jax.Array
    door: jax.Array
    key: jax.Array
    has_key: jax.Array
    steps: jax.Array


def begin(layout: Layout) -> World:
    """The world at the start of an episode."""
    return World(
        place=layout.start,
        direction=layout.start_direction,
        door=jnp.full((), LOCKED, jnp.int32),
        key=layout.key,
        has_key=jnp.zeros((), bool),
        steps=jnp.zeros((), jnp.int32),
    )


def act(layout: Layout, world: World, action: jax.Array) -> tuple[World, jax.Array]:
    """Does one of the seven actions.

    Args:
        layout: of the episode.
        world: before.
        action: int32 scalar.

    Returns:
        The world after it, and whether the agent has just entered the goal, bool scalar.
    """
    front = world.place + jnp.asarray(AHEAD)[world.direction]
    is_wall = layout.walls[front[1], front[0]]
    is_goal, is_door = is_at(front, layout.goal), is_at(front, layout.door)
    is_key = is_at(front, world.key)
    turn = jnp.where(action == RIGHT, 1, 0) - jnp.where(action == LEFT, 1, 0)
    moves = (action == FORWARD) & ~is_wall & ~is_key & (~is_door | (world.door == OPEN))
    picks_up = (action == PICK_UP) & is_key
    drops = (action == DROP) & world.has_key & ~(is_wall | is_goal | is_door)
    toggles = (action == TOGGLE) & is_door & ((world.door != LOCKED) | world.has_key)
    toggled = jnp.where(world.door == OPEN, CLOSED, OPEN)
    key = jnp.where(picks_up, jnp.asarray(NOWHERE, jnp.int32), world.key)
    world = dataclasses.replace(
        world,
        place=jnp.where(moves, front, world.place),
        direction=(world.direction + turn) % len(AHEAD),
        door=jnp.where(toggles, toggled, world.door),
        key=jnp.where(drops, front, key),
        has_key=(world.has_key | picks_up) & ~drops,
        steps=world.steps + 1,
    )
    return world, moves & is_goal


def is_at(place: jax.Array, other: jax.Array) -> jax.Array:
    """Whether places `[..., 2]` are the same, bool `[...]`."""
    return jnp.all(place == other, axis=-1)
