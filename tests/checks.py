"""Comparisons and reference calculations that several test modules share."""

from typing import Any

import jax
import numpy as np


def assert_bitwise_equal(a: Any, b: Any) -> None:
    """Asserts that two pytrees of arrays are equal to the last bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, raw(a), raw(b))


def differ(a: Any, b: Any) -> bool:
    """Whether any array of two pytrees differs anywhere."""
    unequal = jax.tree.map(
        lambda x, y: bool((np.asarray(x) != np.asarray(y)).any()), raw(a), raw(b)
    )
    return any(jax.tree.leaves(unequal))


def raw(tree: Any) -> Any:
    """The pytree with its typed keys as plain integers."""

    def data(x):
        is_key = hasattr(x, "dtype") and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(x) if is_key else x

    return jax.tree.map(data, tree)


def entry(stacked: Any, index: Any) -> Any:
    """Entry `index` of the leading axis of every array."""
    return jax.tree.map(lambda x: x[index], stacked)


def gae_loop(reward, value, next_value, terminated, last, discount, gae_lambda) -> np.ndarray:
    """Schulman et al. 2016, equation 16, one transition after the other."""
    result = np.zeros(len(reward))
    following = 0.0
    for t in reversed(range(len(reward))):
        target = reward[t]
        if not terminated[t]:
            target += discount * next_value[t]
        if terminated[t] or last[t]:
            following = 0.0
        following = target - value[t] + discount * gae_lambda * following
        result[t] = following
    return result
