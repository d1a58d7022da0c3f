"""The humanoid's sub-policies that come with the code do what is said of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.locomotion.humanoid import CRAWL, WALK
from experiments.harness import checkpoints
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.transfer import restore_subpolicies

NUM_ENVS = 32
SECONDS = 15.0


@pytest.mark.slow
def test_one_walks_and_the_other_crawls_below_the_box():
    env = envs.make("humanoid_walk_crawl")
    subpolicies, trained = restore_subpolicies(checkpoints.bundled("humanoid_walk_crawl"), env)
    config = dataclasses.replace(
        trained, num_envs=NUM_ENVS, steps_per_iteration=NUM_ENVS * env.episode_length
    )
    agent = make_agent(env, config)
    tasks = adapt.evaluation_tasks(env, jax.random.key(0), 4)
    masters = mlsh.init_masters(agent, jax.random.key(1), 4)
    np.testing.assert_array_equal(tasks.index, [WALK, WALK, CRAWL, CRAWL])
    play = jax.jit(lambda key: adapt.evaluate(
        agent, subpolicies, masters, tasks, jnp.array([0, 1, 0, 1]), key, NUM_ENVS
    ))  # fmt: skip
    episodes = jax.device_get(play(jax.random.key(2)))
    walker, crawler = episodes.returns.mean(axis=1).reshape(2, 2).argmax(axis=1)  # of [M, K]
    assert walker != crawler
    walk, crawl = 2 * WALK + walker, 2 * CRAWL + crawler
    lengths, x = episodes.lengths, episodes.env_finals["x_position"]
    assert np.mean(lengths[walk] == env.episode_length) >= 0.9
    assert np.median(x[walk]) / SECONDS >= 1.5
    assert np.median(x[crawl]) / SECONDS <= -0.5
    assert episodes.env_finals["height"][crawl].max() < 1.0
