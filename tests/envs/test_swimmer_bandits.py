import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from etils import epath

import envs
from envs.locomotion.swimmer_bandits import BACKENDS

STEPS = 100
BATCH = 4


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(BACKENDS[0], marks=pytest.mark.whole),
        pytest.param(BACKENDS[1], marks=pytest.mark.slow),
    ],
)
def swum(request):
    """Goals, actions, first states [BATCH] and later ones [BATCH, STEPS].

    Swimmer 0 waves its tail, the action of swimmer 1 in step 9 is NaN.
    """
    env = envs.make("swimmer_bandits", backend=request.param).unwrapped

    def one(key, task, actions):
        def step(state, action):
            state = env.step(state, action)
            return state, state

        first = env.reset_to_task(key, task)
        return first, jax.lax.scan(step, first, actions)[1]

    keys = jax.random.split(jax.random.key(0), BATCH)
    tasks = jax.vmap(env.sample_task)(keys)
    actions = np.random.default_rng(0).uniform(-2, 2, (BATCH, STEPS, 2)).astype(np.float32)
    phase = 2 * np.pi * 0.6 * 0.04 * np.arange(STEPS)
    actions[0] = np.sin(phase[:, None] + [0.0, 1.8])
    actions[1, 9] = np.nan
    return np.asarray(tasks), actions, *jax.jit(jax.vmap(one))(keys, tasks, jnp.asarray(actions))


def test_fluid_carries_the_swimmer_as_in_mujoco(swum):
    _, actions, first, states = swum
    path = epath.resource_path("brax") / "envs/assets/swimmer.xml"
    model = mujoco.MjModel.from_xml_string(path.read_text())
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = first.pipeline_state.q[0], first.pipeline_state.qd[0]
    for action in actions[0]:
        data.ctrl[:] = action
        mujoco.mj_step(model, data, nstep=4)
    assert np.linalg.norm(data.qpos[:2] - first.pipeline_state.q[0, :2]) > 0.3
    np.testing.assert_allclose(states.pipeline_state.q[0, -1], data.qpos, atol=0.05)


def test_reward_is_progress_toward_the_goal_minus_the_control_cost(swum):
    goals, actions, first, states = swum
    before = np.asarray(first.pipeline_state.q, np.float64)[:, None, :2]
    torso = np.asarray(states.pipeline_state.q, np.float64)[..., :2]
    distance = np.linalg.norm(np.append(before, torso, axis=1) - goals[:, None], axis=-1)
    cost = 1e-4 * (np.clip(actions, -1, 1) ** 2).sum(axis=-1)
    expected = -np.diff(distance) / 0.04 - cost
    expected[1, 9] = 0
    np.testing.assert_allclose(states.reward, expected, atol=1e-4)


def test_reward_distance_is_that_of_the_released_environment():
    env = envs.make("swimmer_bandits", reward="distance").unwrapped
    reward = env._reward(jnp.array([9.0, 9.0]), jnp.array([3.0, -4.0]), jnp.array([0.5, -1.0]))
    np.testing.assert_allclose(reward, -1e-3 * (5 + 1e-4 * 1.25), rtol=1e-6)


def test_observation_is_all_positions_and_velocities(swum):
    states = swum[3]
    physics = states.pipeline_state
    np.testing.assert_array_equal(states.obs, np.concatenate([physics.q, physics.qd], axis=-1))


def test_action_that_breaks_the_physics_terminates_with_the_last_finite_state(swum):
    states = swum[3]
    broken = np.zeros((BATCH, STEPS))
    broken[1, 9] = 1
    np.testing.assert_array_equal(states.done, broken)
    np.testing.assert_array_equal(states.metrics["physics_nan"], broken)
    np.testing.assert_array_equal(states.pipeline_state.q[1, 9], states.pipeline_state.q[1, 8])
    assert np.isfinite(states.obs).all()


def test_goals_are_uniform_in_the_square():
    env = envs.make("swimmer_bandits")
    goals = np.asarray(jax.vmap(env.sample_task)(jax.random.split(jax.random.key(1), 4000)))
    assert (goals >= 0).all()
    assert (goals < 5).all()
    np.testing.assert_allclose(goals.mean(axis=0), 2.5, atol=0.1)
    np.testing.assert_allclose(goals.var(axis=0), 25 / 12, atol=0.1)
    assert abs(np.corrcoef(goals.T)[0, 1]) < 0.05
    assert env.all_tasks() is None
    assert env.scene(jnp.array([1.0, 2.0])).goal == (1, 2)
