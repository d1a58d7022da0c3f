"""What the agent sees: a square ahead of it, except for what walls and closed doors hide."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.grids.minigrid.rules import AHEAD, OPEN, Layout, World

SIZE = 7
"""Cells along a side of the view; the agent is in the middle of the last row and faces up."""

_BITS = 4
_UNSEEN = 0


def _cell(kind: int, color: int) -> int:
    """What is in a cell and its color, the package's numbers, as one; the state comes on top."""
    return kind | color << _BITS


_EMPTY, _WALL, _DOOR = _cell(1, 0), _cell(2, 5), _cell(4, 4)
_KEY, _GOAL = _cell(5, 4), _cell(8, 1)
_STATE = 2 * _BITS

_MIDDLE = SIZE // 2
# Of the cells of a view [SIZE, SIZE], by column and row: how far ahead of the agent, and how far
# to its right.
_RIGHT, _AHEAD = np.meshgrid(np.arange(SIZE) - _MIDDLE, SIZE - 1 - np.arange(SIZE), indexing="ij")
_IS_AGENT = (_RIGHT == 0) & (_AHEAD == 0)
_COLUMN = np.arange(SIZE, dtype=np.int32)


def look(layout: Layout, world: World) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The package's image: objects, colors and states, int32 `[SIZE, SIZE]` by column and row."""
    forward_x, forward_y = jnp.asarray(AHEAD)[world.direction]
    x = world.place[0] + forward_x * _AHEAD - forward_y * _RIGHT
    y = world.place[1] + forward_y * _AHEAD + forward_x * _RIGHT

    def holds(place: jax.Array) -> jax.Array:
        return (x == place[0]) & (y == place[1])

    is_wall = layout.walls.at[y, x].get(
        mode="fill", fill_value=True, wrap_negative_indices=False
    )  # [SIZE, SIZE]
    is_door = holds(layout.door)
    is_clear = ~is_wall & ~(is_door & (world.door != OPEN))

    cells = jnp.where(is_wall, _WALL, _EMPTY)
    cells = jnp.where(holds(layout.goal), _GOAL, cells)
    cells = jnp.where(holds(world.key), _KEY, cells)
    cells = jnp.where(is_door, _DOOR | world.door << _STATE, cells)
    # The agent's own cell shows what it carries and not what it stands on.
    cells = jnp.where(_IS_AGENT, jnp.where(world.has_key, _KEY, _EMPTY), cells)
    cells = jnp.where(layout.see_through | visible(is_clear), cells, _UNSEEN)
    mask = 2**_BITS - 1
    return cells & mask, cells >> _BITS & mask, cells >> _STATE


def visible(is_clear: jax.Array) -> jax.Array:
    """Which cells of a view light reaches that starts from the agent and passes clear cells.

    It goes row by row, away from the agent, as `_sweep` says.

    Args:
        is_clear: whether one can see through a cell, bool `[SIZE, SIZE]` by column and row.

    Returns:
        bool `[SIZE, SIZE]`.
    """
    clear = jnp.sum(is_clear.astype(jnp.int32) << _COLUMN[:, None], axis=0)  # [SIZE]
    sweep, lit, rows = jnp.asarray(_SWEEP), jnp.int32(1 << _MIDDLE), []
    for row in reversed(range(SIZE)):
        seen_and_next = sweep[lit, clear[row]]
        rows.append(seen_and_next & 2**SIZE - 1)
        lit = seen_and_next >> SIZE
    return (jnp.stack(rows[::-1]) >> _COLUMN[:, None] & 1) > 0


def _sweep() -> np.ndarray:
    """How light goes through a row: int32 `[2**SIZE, 2**SIZE]`.

    Rows are numbers whose bits are columns. The table is by which cells light came to from the row
    before, and which are clear. Light in a clear cell goes on to the next one on either side, and
    to the next row straight ahead and on that side. Its first SIZE bits are which cells of the row
    are lit in the end, the others which cells of the next row light comes to.
    """
    everything = 2**SIZE - 1
    lit, clear = np.indices((2**SIZE, 2**SIZE), np.int32)
    following = np.zeros_like(lit)
    columns = range(SIZE)
    for column, side in [(c, 1) for c in columns] + [(c, -1) for c in reversed(columns)]:
        passes = lit & clear & 1 << column
        aside = (passes << 1 if side > 0 else passes >> 1) & everything
        lit |= aside
        following |= passes | aside
    return lit | following << SIZE


_SWEEP = _sweep()
"""A table, since a sweep cell by cell is what would cost most of a step."""
