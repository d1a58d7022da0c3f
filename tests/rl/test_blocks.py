"""Rows in blocks of one owner."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsh_jax.rl.blocks import block_size, blocks_by_owner

arrange = jax.jit(blocks_by_owner, static_argnums=1)


@settings(max_examples=60, deadline=None)
@given(
    num_owners=st.sampled_from([1, 2, 5]),
    size=st.sampled_from([1, 7, 40, 300, 20_000]),
    seed=st.integers(0, 2**32 - 1),
    used=st.integers(1, 5),
)
def test_every_row_has_one_place_in_a_block_of_its_owner(num_owners, size, seed, used):
    owner = np.random.default_rng(seed).integers(0, min(used, num_owners), size)
    blocks = jax.device_get(arrange(jnp.asarray(owner, jnp.int32), num_owners))
    rows = blocks.row[blocks.is_row]
    np.testing.assert_array_equal(np.sort(rows), np.arange(size))
    owners = np.broadcast_to(blocks.owner[..., None], blocks.row.shape)[blocks.is_row]
    np.testing.assert_array_equal(owners, owner[rows])


@pytest.mark.parametrize(("size", "num_owners"), [(2000, 2), (2000, 16), (250, 2), (30, 4)])
def test_filling_up_costs_little(size, num_owners):
    blocks = jax.eval_shape(
        functools.partial(blocks_by_owner, num_owners=num_owners), jnp.zeros(size, jnp.int32)
    )
    assert blocks.row.shape[2] == block_size(size, num_owners)
    assert blocks.row.size < 2.2 * size


def test_chunks_are_as_large_as_the_cache_allows():
    blocks = jax.eval_shape(
        functools.partial(blocks_by_owner, num_owners=4), jnp.zeros(100_000, jnp.int32)
    )
    chunks, *chunk = blocks.row.shape
    assert chunks == -(-(100_000 + 3 * 128) // 8192)
    assert np.prod(chunk) <= 8192
