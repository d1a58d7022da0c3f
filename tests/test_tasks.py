"""Batches of tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Clock

from mlsh_jax.tasks import (
    num_task_features,
    sample_tasks,
    select_tasks,
    task_features,
    task_mean,
)

NUM_KINDS = 3


class Endless(Clock):
    """A distribution of infinitely many tasks."""

    task_names = ()

    def all_tasks(self):
        return None

    def sample_task(self, key):
        return jax.random.uniform(key)


def stratified_indices(num_tasks, num_batches):
    """Task indices of many stratified batches, `[batches, G]`."""
    keys = jax.random.split(jax.random.key(0), num_batches)
    sample = jax.jit(jax.vmap(lambda k: sample_tasks(Clock(), k, num_tasks, stratify=True).index))
    return np.asarray(sample(keys))


@pytest.mark.parametrize("num_tasks", [1, 3, 4, 8, 30])
def test_stratified_batch_holds_tasks_equally_often_or_off_by_one(num_tasks):
    for index in stratified_indices(num_tasks, 20):
        counts = np.bincount(index, minlength=NUM_KINDS)
        assert counts.sum() == num_tasks
        assert counts.max() - counts.min() <= (num_tasks % NUM_KINDS != 0)


def test_which_task_is_in_excess_is_random():
    batches = stratified_indices(4, 600)
    excess = [np.bincount(index, minlength=NUM_KINDS).argmax() for index in batches]
    np.testing.assert_allclose(np.bincount(excess) / 600, 1 / 3, atol=0.07)


def test_random_batch_is_uniform_and_independent():
    tasks = sample_tasks(Clock(), jax.random.key(0), 6000, stratify=False)
    index = np.asarray(tasks.index)
    np.testing.assert_allclose(np.bincount(index) / 6000, 1 / 3, atol=0.03)
    pairs = index[:-1] * NUM_KINDS + index[1:]
    np.testing.assert_allclose(np.bincount(pairs) / 5999, 1 / 9, atol=0.02)


@pytest.mark.parametrize("stratify", [True, False])
def test_index_names_the_row_of_all_tasks(stratify):
    tasks = sample_tasks(Clock(), jax.random.key(1), 7, stratify=stratify)
    np.testing.assert_array_equal(tasks.task, Clock().all_tasks()[tasks.index])
    assert tasks.index.dtype == jnp.int32


@pytest.mark.parametrize("stratify", [True, False])
def test_infinite_distribution_is_sampled_independently(stratify):
    tasks = sample_tasks(Endless(), jax.random.key(1), 5, stratify=stratify)
    assert len(np.unique(tasks.task)) == 5
    np.testing.assert_array_equal(tasks.index, np.zeros(5))


def test_selected_tasks_are_rows_of_every_array():
    everything = {"goal": jnp.arange(6.0).reshape(3, 2), "id": jnp.asarray([10, 11, 12])}
    tasks = select_tasks(everything, jnp.asarray([2, 0, 2]))
    np.testing.assert_array_equal(tasks.task["id"], [12, 10, 12])
    np.testing.assert_array_equal(tasks.task["goal"], [[4, 5], [0, 1], [4, 5]])


def test_task_mean_is_exact_for_scalars_and_vectors():
    index = jnp.asarray([2, 0, 2, 0, 0])
    values = jnp.asarray([1.0, 2.0, 5.0, 4.0, 9.0])
    # Kind 1 is absent and gets the mean over all tasks.
    np.testing.assert_allclose(task_mean(values, index, 3), [5.0, 4.2, 3.0])
    vectors = jnp.stack([values, -values], axis=1)
    np.testing.assert_allclose(
        task_mean(vectors, index, 3), [[5.0, -5.0], [4.2, -4.2], [3.0, -3.0]]
    )


def test_features_say_which_of_few_tasks_it_is_or_what_is_in_one_of_many():
    few = sample_tasks(Clock(), jax.random.key(0), 5, stratify=False)
    np.testing.assert_array_equal(task_features(Clock(), few), np.eye(3)[np.asarray(few.index)])
    assert num_task_features(Clock()) == 3

    class Places(Endless):
        def sample_task(self, key):
            return {"goal": jax.random.normal(key, (2,)), "walls": jnp.arange(6).reshape(3, 2)}

    many = sample_tasks(Places(), jax.random.key(0), 4, stratify=False)
    features = task_features(Places(), many)
    assert features.shape == (4, num_task_features(Places())) == (4, 8)
    np.testing.assert_array_equal(features[:, :2], many.task["goal"])
    np.testing.assert_array_equal(features[:, 2:], np.tile(np.arange(6), (4, 1)))
