"""The humanoid's sub-policies that come with the code do what is said of them."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.locomotion.humanoid import CRAWL, WALK
from experiments.harness import checkpoints
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import all_policies, make_agent, select
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
    # Who is beyond the front of the box, where the crawler ends, has gone below it.
    assert episodes.env_finals["height"][crawl].max() < 1.0


@pytest.mark.slow
def test_one_takes_over_from_the_other_on_the_course():
    """Without a master: the walker up to the mark, the crawler from there on."""
    env = envs.make("humanoid_course")
    subpolicies, trained = restore_subpolicies(checkpoints.bundled("humanoid_walk_crawl"), env)
    agent = make_agent(env, trained)
    summary = json.loads((checkpoints.BUNDLED / "humanoid_walk_crawl" / "summary.json").read_text())
    walker, crawler = np.argmax(summary["subpolicy_task_returns"], axis=0)

    def step(carry, _):
        state, has_fallen = carry
        subpolicy = jnp.where(state.metrics["passed"] > 0, crawler, walker)
        policies = all_policies(agent, subpolicies, state.obs)
        action = select(policies, subpolicy).mode()
        state = jax.vmap(env.step)(state, action)
        has_fallen |= state.done > 0
        seen = state.metrics["passed"], state.metrics["success"]
        return (state, has_fallen), [jnp.where(has_fallen, 0.0, which) for which in seen]

    keys = jax.random.split(jax.random.key(1), NUM_ENVS)
    first = jax.vmap(env.reset_to_task, in_axes=(0, None))(keys, jnp.int32(0))
    start = (first, jnp.zeros(NUM_ENVS, bool))
    steps = jax.jit(lambda start: jax.lax.scan(step, start, length=env.episode_length)[1])
    passed, succeeded = (np.asarray(seen).max(axis=0).mean() for seen in steps(start))
    assert passed >= 0.8  # 30 of 32 do
    assert succeeded >= 0.5  # 23 of 32
