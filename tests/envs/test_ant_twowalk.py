import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.ant_twowalk import EDGE

BATCH = 8


@pytest.fixture(scope="module")
def both():
    """States before and after one step, with each reward; action 0 too large, 1 NaN."""
    env = envs.make("ant_twowalk").unwrapped
    distance_env = envs.make("ant_twowalk", reward="distance").unwrapped

    def one(key, task, action):
        before = env.reset_to_task(key, task)
        return before, env.step(before, action), distance_env.step(before, action)

    tasks = env.all_tasks()[np.arange(BATCH) % 2]
    actions = np.random.default_rng(0).uniform(-1, 1, (BATCH, 8)).astype(np.float32)
    actions[0] *= 50
    actions[1] = np.nan
    keys = jax.random.split(jax.random.key(0), BATCH)
    return np.asarray(tasks), actions, *jax.jit(jax.vmap(one))(keys, tasks, jnp.asarray(actions))


def test_velocity_reward_is_speed_along_the_task_less_the_control_cost(both):
    tasks, actions, before, after, _ = both
    moved = np.asarray(after.pipeline_state.q - before.pipeline_state.q)[:, :2]
    expected = (moved * tasks).sum(axis=1) / 0.05 - 0.1 * (np.clip(actions, -1, 1) ** 2).sum(axis=1)
    np.testing.assert_allclose(after.reward[2:], expected[2:], atol=1e-4)
    np.testing.assert_allclose(after.reward[0], expected[0], atol=1e-4)


def test_distance_reward_is_minus_the_distance_to_the_goal_edge(both):
    tasks, _, _, _, after = both
    progress = (np.asarray(after.pipeline_state.q)[:, :2] * tasks).sum(axis=1)
    np.testing.assert_allclose(after.reward[2:], (progress - EDGE)[2:], rtol=1e-5)


def test_observation_is_all_positions_and_velocities_and_hides_x_and_y_from_subpolicies(both):
    after = both[3]
    physics = after.pipeline_state
    np.testing.assert_array_equal(after.obs, np.concatenate([physics.q, physics.qd], axis=1))
    assert after.obs.shape == (BATCH, 29)
    env = envs.make("ant_twowalk")
    assert env.subpolicy_observation_indices == tuple(range(2, 29))


def test_action_that_breaks_the_physics_terminates_with_the_last_finite_state(both):
    _, _, before, *afters = both
    for after in afters:
        np.testing.assert_array_equal(after.pipeline_state.q[1], before.pipeline_state.q[1])
        assert np.isfinite(after.obs).all()
        assert (after.done[1], after.reward[1], after.metrics["physics_nan"][1]) == (1, 0, 1)
        assert not after.done[np.arange(BATCH) != 1].any()
        assert not after.metrics["physics_nan"][np.arange(BATCH) != 1].any()
