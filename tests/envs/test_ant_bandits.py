import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs

BATCH = 12
GOALS = np.array([(5, 0), (0, 5)])
NEAR_GOALS = np.random.default_rng(1).uniform(-1.2, 1.2, (BATCH, 2)).astype(np.float32)
"""Goals, which are data, around the start, so that one step tells success from failure."""


@pytest.fixture(scope="module")
def both():
    """States before and after one step, with each reward; action 0 too large, 1 NaN."""
    env = envs.make("ant_bandits").unwrapped
    released_env = envs.make("ant_bandits", reward="distance").unwrapped

    def one(key, task, action):
        before = env.reset_to_task(key, task)
        return before, env.step(before, action), released_env.step(before, action)

    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (BATCH, 8)).astype(np.float32)
    actions[0] *= 50
    actions[1] = np.nan
    keys = jax.random.split(jax.random.key(0), BATCH)
    return actions, *jax.jit(jax.vmap(one))(keys, jnp.asarray(NEAR_GOALS), jnp.asarray(actions))


def _distances(states):
    torso = np.asarray(states.pipeline_state.q, np.float64)[:, :2]
    return np.linalg.norm(torso - NEAR_GOALS, axis=1)


def test_tasks_are_the_two_goals():
    env = envs.make("ant_bandits")
    np.testing.assert_array_equal(env.all_tasks(), GOALS)
    scene = env.scene(env.all_tasks()[1])
    assert (scene.goal, scene.goal_radius, scene.walls.shape) == ((0, 5), 1, (0, 4))


def test_progress_reward_is_the_speed_toward_the_goal_less_the_control_cost(both):
    actions, before, after, _ = both
    closer = (_distances(before) - _distances(after)) / 0.05
    expected = closer - 0.1 * (np.clip(actions, -1, 1) ** 2).sum(axis=1)
    finite = np.arange(BATCH) != 1
    np.testing.assert_allclose(after.reward[finite], expected[finite], atol=1e-4)


def test_distance_reward_is_that_of_the_released_environment(both):
    after = both[3]
    finite = np.arange(BATCH) != 1
    expected = -np.sqrt(_distances(after)) / 3000
    np.testing.assert_allclose(after.reward[finite], expected[finite], rtol=1e-4)


def test_success_is_being_within_one_unit_of_the_goal(both):
    after = both[2]
    np.testing.assert_array_equal(after.metrics["success"], _distances(after) < 1)
    assert 0 < after.metrics["success"].sum() < BATCH


def test_action_that_breaks_the_physics_terminates_with_the_last_finite_state(both):
    _, before, *afters = both
    for after in afters:
        np.testing.assert_array_equal(after.pipeline_state.q[1], before.pipeline_state.q[1])
        assert np.isfinite(after.obs).all()
        assert (after.done[1], after.reward[1], after.metrics["physics_nan"][1]) == (1, 0, 1)
        assert after.done.sum() == after.metrics["physics_nan"].sum() == 1
