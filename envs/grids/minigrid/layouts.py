"""Where walls, goal, door, key and agent are: drawn as the package draws them in a reset."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from envs.grids.minigrid.rules import AHEAD, NOWHERE, Layout

EMPTY_SIZE = 8
"""Side of the grid of `MiniGrid-Empty-8x8-v0`."""
DOOR_KEY_SIZE = 5
"""Side of the grid of `MiniGrid-DoorKey-5x5-v0`."""
FOUR_ROOMS_SIZE = 19
"""Side of the grid of `MiniGrid-FourRooms-v0`."""


def chances(key: jax.Array) -> jax.Array:
    """All that is random about a layout, of whichever kind: float32 [8], uniform in [0, 1).

    Drawn at once, since each draw of its own takes half a second to compile.
    """
    return jax.random.uniform(key, (8,))


def draw_empty(chance: jax.Array) -> Layout:
    """One room with the goal in its last corner; the agent is in any other cell."""
    walls = _rim(EMPTY_SIZE)
    goal = jnp.full((2,), EMPTY_SIZE - 2, jnp.int32)
    start = _pick_cell(chance[0], _with(~walls, goal, False))
    return _layout(walls, start, _pick(chance[1], len(AHEAD)), goal=goal, see_through=True)


def draw_door_key(chance: jax.Array) -> Layout:
    """Two rooms with a locked door between them, the key on the agent's side of it."""
    split, last = DOOR_KEY_SIZE // 2, DOOR_KEY_SIZE - 2
    walls = _rim(DOOR_KEY_SIZE)
    walls[:, split] = True
    before = jnp.asarray(~walls & (np.arange(DOOR_KEY_SIZE) < split))
    start = _pick_cell(chance[0], before)
    # Never in the last row: the package's range excludes its end.
    door = jnp.stack([jnp.int32(split), 1 + _pick(chance[2], last - 1)])
    return _layout(
        _with(walls, door, False),
        start,
        _pick(chance[1], len(AHEAD)),
        goal=jnp.full((2,), last, jnp.int32),
        door=door,
        key=_pick_cell(chance[3], _with(before, start, False)),
    )


def draw_four_rooms(chance: jax.Array) -> Layout:
    """Four rooms, each with a gap to both beside it; goal and agent are in any two cells."""
    middle = FOUR_ROOMS_SIZE // 2
    walls = _rim(FOUR_ROOMS_SIZE)
    walls[middle], walls[:, middle] = True, True
    left, right, upper, lower = 1 + _pick(chance[3:7], middle - 1)
    columns = jnp.stack([left, middle + right, jnp.int32(middle), jnp.int32(middle)])
    rows = jnp.stack([jnp.int32(middle), jnp.int32(middle), upper, middle + lower])
    free = jnp.asarray(~walls).at[rows, columns].set(True)
    start = _pick_cell(chance[0], free)
    goal = _pick_cell(chance[2], _with(free, start, False))
    return _layout(~free, start, _pick(chance[1], len(AHEAD)), goal=goal)


def draw_any(chance: jax.Array) -> Layout:
    """One of the three, each as likely, in a grid as large as the largest.

    What is added to smaller ones is wall, as what lies beyond a grid is.
    """
    draws = (draw_empty, draw_door_key, draw_four_rooms)
    drawn = [_padded(draw(chance)) for draw in draws]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves)[_pick(chance[7], len(draws))], *drawn)


def _layout(
    walls: jax.Array | np.ndarray,
    start: jax.Array,
    direction: jax.Array,
    *,
    goal: jax.Array,
    door: jax.Array | tuple[int, int] = NOWHERE,
    key: jax.Array | tuple[int, int] = NOWHERE,
    see_through: bool = False,
) -> Layout:
    return Layout(
        walls=jnp.asarray(walls),
        goal=goal,
        door=jnp.asarray(door, jnp.int32),
        key=jnp.asarray(key, jnp.int32),
        start=start,
        start_direction=direction,
        see_through=jnp.asarray(see_through),
    )


def _rim(size: int) -> np.ndarray:
    """Walls around a room, bool [size, size]."""
    walls = np.ones((size, size), bool)
    walls[1:-1, 1:-1] = False
    return walls


def _pick(chance: jax.Array, count: int | jax.Array) -> jax.Array:
    """One of `count` numbers from 0 on, each as likely, int32 of the shape of `chance`."""
    return jnp.floor(chance * count).astype(jnp.int32)


def _pick_cell(chance: jax.Array, is_free: jax.Array) -> jax.Array:
    """A free cell of a grid (bool [H, W]), each as likely: int32 [2], x and y."""
    so_far = jnp.cumsum(is_free.reshape(-1))
    index = jnp.argmax(so_far > _pick(chance, so_far[-1]))
    row, column = jnp.divmod(index, is_free.shape[1])
    return jnp.stack([column, row]).astype(jnp.int32)


def _with(grid: jax.Array | np.ndarray, place: jax.Array, value: bool) -> jax.Array:
    """A grid (bool [H, W]) with another value at a place (int32 [2], x and y)."""
    return jnp.asarray(grid).at[place[1], place[0]].set(value)


def _padded(layout: Layout) -> Layout:
    height, width = layout.walls.shape
    missing = ((0, FOUR_ROOMS_SIZE - height), (0, FOUR_ROOMS_SIZE - width))
    walls = jnp.pad(layout.walls, missing, constant_values=True)
    return dataclasses.replace(layout, walls=walls)
