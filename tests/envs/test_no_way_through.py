"""Random ants, many and long, against every wall of every layout."""

import jax
import numpy as np
import pytest
from courses import MAZES, PLACES, least_gaps, reachable

import envs
from envs.locomotion import ant_maze, walls

EPISODES = 10_000
BATCH = 500
STEPS = 200
HOLD = 10
"""Env steps for which an action is held, so that ants move."""
FASTEST = 10.0
"""Half of the ants start with a speed up to this in a random direction."""
NEAR = 3.0
"""Half of the ants start within this distance of a wall."""
BREAK_EVERY = 100
"""One ant in so many gets an action that breaks its physics, halfway."""
SHARES = {"ant_obstacle": 0.2, "ant_obstacle_big": 0.25, "ant_maze": 0.55}
"""Parts of the episodes that are played in each environment."""


def _program(name):
    """Compiled: keys, tasks, positions, velocities and actions of a batch to what it went through.

    Returns observations [BATCH, STEPS, O], done and `physics_nan` [BATCH, STEPS].
    """
    env = envs.make(name)

    def one(key, task, position, velocity, actions):
        state = env.reset_to_task(key, task)
        physics = state.pipeline_state
        q, qd = physics.q.at[:2].set(position), physics.qd.at[:2].set(velocity)
        state = state.replace(pipeline_state=env.unwrapped.pipeline_init(q, qd))

        def hold(state, action):
            def step(state, _):
                state = env.step(state, action)
                seen = (state.obs, state.done, state.metrics["physics_nan"])
                return state, seen

            return jax.lax.scan(step, state, None, length=HOLD)

        seen = jax.lax.scan(hold, state, actions)[1]
        return jax.tree.map(lambda x: x.reshape(STEPS, *x.shape[2:]), seen)

    return jax.jit(jax.vmap(one))


def _tasks(name, rng):
    """Tasks of a batch and the names of their places."""
    if name != "ant_maze":
        place = {"ant_obstacle": "course", "ant_obstacle_big": "big"}[name]
        return np.zeros(BATCH, np.int32), [place] * BATCH
    mazes = rng.integers(len(MAZES), size=BATCH)
    tasks = ant_maze.make_tasks(MAZES)
    return jax.tree.map(lambda x: x[mazes], tasks), [MAZES[i].name for i in mazes]


def _starts(places, free, rng):
    """Positions and velocities [BATCH, 2], those of every other ant near a wall."""
    position = np.array(
        [rng.choice(free[place][i % 2]) for i, place in enumerate(places)], np.float32
    )
    angle = rng.uniform(0, 2 * np.pi, BATCH)
    speed = np.where(np.arange(BATCH) % 4 < 2, rng.uniform(0, FASTEST, BATCH), 0.0)
    velocity = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return position, velocity.astype(np.float32)


def _free(place):
    """Where an ant has room to stand: all such points, and those near a wall."""
    points = reachable(place, clearance=1.3, spacing=0.25)
    return points, points[least_gaps(place.walls, points) < NEAR]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARES)
def test_no_ant_gets_through_a_wall_over_10_000_random_episodes(name):
    rng = np.random.default_rng(0)
    run = _program(name)
    free = {place: _free(PLACES[place]) for place in PLACES}
    broken = np.arange(BATCH) % BREAK_EVERY == 0
    for batch in range(round(EPISODES * SHARES[name] / BATCH)):
        tasks, places = _tasks(name, rng)
        position, velocity = _starts(places, free, rng)
        actions = rng.uniform(-1, 1, (BATCH, STEPS // HOLD, 8)).astype(np.float32)
        actions[broken, STEPS // HOLD // 2] = np.nan
        keys = jax.random.split(jax.random.key(batch), BATCH)
        seen = run(keys, tasks, position, velocity, actions)
        observations, done, physics_nan = (np.asarray(x) for x in seen)
        assert np.isfinite(observations).all()
        # What ends an episode is a failure of the physics, and each is told.
        np.testing.assert_array_equal(done, np.maximum.accumulate(physics_nan, axis=1))
        failed = physics_nan.any(axis=1)
        assert failed[broken].all()
        assert failed[~broken].sum() <= BATCH / 100
        paths = np.concatenate([position[:, None], observations[..., :2]], axis=1)
        for place, path in zip(places, paths, strict=True):
            x0, x1, y0, y1 = PLACES[place].arena
            assert walls.crossings(PLACES[place].walls, path) == 0, (batch, place, path[0])
            assert (path > (x0, y0)).all() and (path < (x1, y1)).all(), (batch, place, path[0])
