"""Whether numbers are finite, for whatever learns or is measured."""

from typing import Any

import jax
import jax.numpy as jnp


def all_finite(tree: Any, batch_dims: int = 0) -> jax.Array:
    """Whether all floats of a tree are finite, bool over its leading dimensions.

    Args:
        tree: arrays; those that hold no floats always are.
        batch_dims: leading dimensions that all arrays share and that are told apart.
    """
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    finite = [jnp.isfinite(x).all(axis=tuple(range(batch_dims, x.ndim))) for x in floats]
    return jnp.stack(finite).all(axis=0)
