"""Rows of several owners in blocks of one owner each.

A batch whose rows belong to K networks can be run through them in one batched product of matrices
if it is cut into blocks of rows of the same owner. The last block of each owner is filled up with
rows that do not count. Work grows with the number of rows and not with K times that number. Blocks
are put into chunks, to be worked on one after another where what a chunk needs is to stay in cache.
"""

import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax.rl.permutations import order_by

_LARGEST_BLOCK = 128
_SMALLEST_BLOCK = 8
_CHUNK_OF_CORE = 8192  # rows whose activations in a layer of 64 units fill the cache of a core
_CHUNK_OF_ACCELERATOR = 131_072  # enough to keep it busy; every block copies its parameters


@struct.dataclass
class Blocks:
    """Where the rows of a batch are found in c chunks of n blocks of b rows.

    Attributes:
        row: index into the batch, int32 `[c, n, b]`.
        is_row: whether the place holds a row; each row has exactly one place, bool `[c, n, b]`.
        owner: of all rows of the block, int32 `[c, n]`.
    """

    row: jax.Array
    is_row: jax.Array
    owner: jax.Array


def blocks_by_owner(owner: jax.Array, num_owners: int) -> Blocks:
    """Arranges rows by their owner.

    Args:
        owner: of each row, int32 `[m]` in `range(num_owners)`.
        num_owners: K.
    """
    size = owner.shape[0]
    block = block_size(size, num_owners)
    num_blocks = -(-size // block) + num_owners - 1  # enough however the rows are shared out
    is_cpu = jax.default_backend() == "cpu"
    chunk = _CHUNK_OF_CORE if is_cpu else _CHUNK_OF_ACCELERATOR
    num_chunks = -(-num_blocks * block // chunk)
    num_blocks = -(-num_blocks // num_chunks) * num_chunks
    count = jnp.bincount(owner, length=num_owners)
    last_block = jnp.cumsum(-(-count // block))  # [K], one past it
    block_owner = jnp.searchsorted(last_block, jnp.arange(num_blocks), side="right")
    block_owner = jnp.minimum(block_owner, num_owners - 1)
    block_in_owner = jnp.arange(num_blocks) - jnp.append(0, last_block)[block_owner]
    place = block_in_owner[:, None] * block + jnp.arange(block)  # among the rows of the owner
    first = jnp.append(0, jnp.cumsum(count))[block_owner]
    in_order = jnp.clip(first[:, None] + place, 0, size - 1)
    blocks = Blocks(
        row=order_by(owner)[in_order],
        is_row=place < count[block_owner][:, None],
        owner=block_owner,
    )
    return jax.tree.map(lambda x: x.reshape(num_chunks, -1, *x.shape[1:]), blocks)


def block_size(size: int, num_owners: int) -> int:
    """Rows of a block: a power of two, not much larger than what one owner may have."""
    block = _LARGEST_BLOCK
    while block > _SMALLEST_BLOCK and block * num_owners > size:
        block //= 2
    return block
