import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.locomotion.ant_twowalk import EDGE, REWARDS

BATCH = 8


@pytest.fixture(scope="module")
def steps():
    """States before and after one step, and what it pays by kind of reward, beside its own.

    Action 0 is too large, 1 NaN; ants from 4 on are fast.
    """
    worlds = {reward: envs.make("ant_twowalk", reward=reward).unwrapped for reward in REWARDS}
    env = worlds["pace"]

    def one(key, task, action, velocity):
        before = env.reset_to_task(key, task)
        physics = before.pipeline_state
        physics = env.pipeline_init(physics.q, physics.qd.at[:2].add(velocity))
        before = before.replace(pipeline_state=physics)
        after = env.step(before, action)
        moved = before.pipeline_state.q[:2], after.pipeline_state.q[:2]
        rewards = {
            reward: world._reward(*moved, jnp.clip(action, -1, 1), task)
            for reward, world in worlds.items()
        }
        return before, after, rewards

    tasks = env.all_tasks()[np.arange(BATCH) % 2]
    actions = np.random.default_rng(0).uniform(-1, 1, (BATCH, 8)).astype(np.float32)
    actions[0] *= 50
    actions[1] = np.nan
    velocities = np.zeros((BATCH, 2), np.float32)
    velocities[4:] = [4, -1]
    keys = jax.random.split(jax.random.key(0), BATCH)
    seen = jax.jit(jax.vmap(one))(keys, tasks, jnp.asarray(actions), velocities)
    return np.asarray(tasks), actions, *seen


@pytest.fixture(scope="module")
def motion(steps):
    """Velocities along and across the task's axis, and the cost of the torques, `[BATCH]` each."""
    tasks, actions, before, after, _ = steps
    moved = np.asarray(after.pipeline_state.q - before.pipeline_state.q)[:, :2] / 0.05
    effort = 0.1 * (np.clip(actions, -1, 1) ** 2).sum(axis=1)
    return (moved * tasks).sum(axis=1), (moved * (1 - tasks)).sum(axis=1), effort


FINITE = np.arange(BATCH) != 1


def test_velocity_reward_is_speed_along_the_task_less_the_control_cost(steps, motion):
    along, _, effort = motion
    np.testing.assert_allclose(steps[4]["velocity"][FINITE], (along - effort)[FINITE], atol=1e-4)


def test_pace_reward_pays_no_more_than_two_units_a_second_and_charges_for_moving_sideways(
    steps, motion
):
    along, across, effort = motion
    assert (along[FINITE] > 2).any() and (along[FINITE] < 2).any()
    expected = np.where(along > 2, 2, along) - 0.5 * np.abs(across) - effort
    np.testing.assert_allclose(steps[3].reward[FINITE], expected[FINITE], atol=1e-4)


def test_the_reward_of_the_paper_is_minus_the_distance_to_the_destination(steps):
    _, _, _, after, rewards = steps
    for i in range(2, BATCH):
        x, y = np.asarray(after.pipeline_state.q[i, :2], np.float64)
        destination = [(EDGE, 0.0), (0.0, EDGE)][i % 2]  # the tasks take turns
        paid = rewards["paper"][i]
        np.testing.assert_allclose(paid, -math.dist((x, y), destination), rtol=1e-5)


def test_observation_is_all_positions_and_velocities_and_hides_x_and_y_from_subpolicies(steps):
    after = steps[3]
    physics = after.pipeline_state
    np.testing.assert_array_equal(after.obs, np.concatenate([physics.q, physics.qd], axis=1))
    assert after.obs.shape == (BATCH, 29)
    env = envs.make("ant_twowalk")
    assert env.subpolicy_observation_indices == tuple(range(2, 29))


def test_action_that_breaks_the_physics_terminates_with_the_last_finite_state(steps):
    _, _, before, after, _ = steps
    np.testing.assert_array_equal(after.pipeline_state.q[1], before.pipeline_state.q[1])
    assert np.isfinite(after.obs).all()
    assert (after.done[1], after.reward[1], after.metrics["physics_nan"][1]) == (1, 0, 1)
    assert not after.done[np.arange(BATCH) != 1].any()
    assert not after.metrics["physics_nan"][np.arange(BATCH) != 1].any()
