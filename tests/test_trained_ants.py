"""Ants that can walk, against the walls that random ones seldom press on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.locomotion import walls
from envs.locomotion.ant_obstacle import BIG_COURSE, COURSE
from experiments.harness import course
from experiments.harness.figures import played
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.transfer import restore_subpolicies

EPISODES = {"ant_obstacle": 400, "ant_obstacle_big": 200, "ant_maze": 416}
"""Full episodes in each environment, 1,000 and more together; 8 of each master."""
SUBPOLICIES = {name: "ant_maze" for name in EPISODES} | {"ant_obstacle": "ant_twowalk"}
LAYOUTS = {"ant_obstacle": COURSE.walls, "ant_obstacle_big": BIG_COURSE.walls}


@pytest.mark.slow
@pytest.mark.parametrize("name", EPISODES)
def test_no_trained_ant_gets_through_a_wall(name):
    options = {"layouts": "all"} if name == "ant_maze" else {}
    env = envs.make(name, **options)
    path = course.exact_path(None, SUBPOLICIES[name])
    subpolicies, trained = restore_subpolicies(path, env)
    num_masters, num_envs = EPISODES[name] // adapt.RECORDED, adapt.RECORDED
    agent = make_agent(
        env,
        dataclasses.replace(
            trained, num_envs=num_envs, steps_per_iteration=num_envs * env.episode_length
        ),
    )
    tasks = adapt.evaluation_tasks(env, jax.random.key(0), num_masters)
    masters = mlsh.init_masters(agent, jax.random.key(1), num_masters)
    # Masters that choose at random lead everywhere; sub-policies alone press on a wall for long.
    forced = jnp.arange(num_masters) % (2 * trained.num_subpolicies) - trained.num_subpolicies
    play = jax.jit(lambda key: adapt.evaluate(
        agent, subpolicies, masters, tasks, jnp.maximum(forced, -1), key, num_envs
    ))  # fmt: skip
    episodes = jax.device_get(play(jax.random.key(2)))
    gaps = jax.jit(jax.vmap(walls.distances, in_axes=(None, 0)))
    touched = 0
    for g in range(num_masters):
        task = jax.tree.map(lambda x, g=g: np.asarray(x[g]), tasks.task)
        layout = LAYOUTS.get(name)
        if layout is None:
            layout = task.walls
        recorded = jax.tree.map(lambda x, g=g: x[g], episodes.recorded)
        for episode in played(env, task, recorded).xy:
            finite = episode[np.isfinite(episode).all(axis=1)]
            assert walls.crossings(layout, finite) == 0, (name, g)
            touched += float(gaps(layout, finite[::100]).min()) < 1.5
    assert touched > EPISODES[name] / 4  # or else they proved nothing
