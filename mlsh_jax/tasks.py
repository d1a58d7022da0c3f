"""Batches of tasks: stratified where the distribution is finite, independent elsewhere."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree

from mlsh_jax.environment import TaskEnvironment


@struct.dataclass
class Tasks:
    """G tasks of one distribution.

    Attributes:
        task: the tasks, pytree of arrays `[G, ...]`.
        index: which row of `env.all_tasks()` each of them is, int32 `[G]`; all zero where the
            distribution is infinite.
    """

    task: Any
    index: jax.Array


def sample_tasks(env: TaskEnvironment, key: jax.Array, num_tasks: int, *, stratify: bool) -> Tasks:
    """Draws the tasks of a meta-iteration.

    Args:
        env: the task distribution.
        key: typed PRNG key.
        num_tasks: G.
        stratify: give each of the M tasks of a finite distribution the same number of places, or
            as nearly so as G allows (which tasks get one more is random). Drawn independently
            some are missing from a batch.

    Returns:
        G tasks, in random order unless stratified.
    """
    everything = env.all_tasks()
    if everything is None:
        task = jax.vmap(env.sample_task)(jax.random.split(key, num_tasks))
        return Tasks(task=task, index=jnp.zeros((num_tasks,), jnp.int32))
    num_kinds = jax.tree.leaves(everything)[0].shape[0]
    if stratify:
        index = jax.random.permutation(key, num_kinds)[jnp.arange(num_tasks) % num_kinds]
    else:
        index = jax.random.randint(key, (num_tasks,), 0, num_kinds)
    return select_tasks(everything, index)


def select_tasks(everything: Any, index: jax.Array) -> Tasks:
    """The tasks at rows `index` (int `[G]`) of `everything` (`[M, ...]`)."""
    return Tasks(task=jax.tree.map(lambda x: x[index], everything), index=index.astype(jnp.int32))


def task_features(env: TaskEnvironment, tasks: Tasks) -> jax.Array:
    """What tells tasks apart, float32 `[G, F]`: which of the few it is, else its own numbers."""
    if env.task_names:
        return jax.nn.one_hot(tasks.index, len(env.task_names))
    return jax.vmap(lambda task: ravel_pytree(task)[0].astype(jnp.float32))(tasks.task)


def num_task_features(env: TaskEnvironment) -> int:
    """F of `task_features`."""

    def one() -> jax.Array:
        return task_features(env, sample_tasks(env, jax.random.key(0), 1, stratify=False))

    return jax.eval_shape(one).shape[-1]


def task_mean(values: jax.Array, index: jax.Array, num_kinds: int) -> jax.Array:
    """Mean of `values` `[G, ...]` over the tasks of each kind, `[M, ...]`.

    Kinds that the batch does not hold get the mean over all tasks.
    """
    member = jax.nn.one_hot(index, num_kinds, axis=0)  # [M, G]
    count = member.sum(axis=1).reshape((num_kinds,) + (1,) * (values.ndim - 1))
    means = jnp.tensordot(member, values, axes=1) / jnp.maximum(count, 1.0)
    return jnp.where(count > 0, means, values.mean(axis=0))
