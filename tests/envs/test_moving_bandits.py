import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from envs.grids.points import MovingBandits

EPISODES = 20_000


@pytest.fixture(scope="module")
def env():
    return envs.make("moving_bandits")


@pytest.fixture(scope="module")
def episode():
    """Compiled: task, key and 50 actions to the initial state and the states after each step."""
    env = MovingBandits()

    def run(key, task, actions):
        def step(state, action):
            state = env.step(state, action)
            return state, (state.pipeline_state.agent, state.obs, state.reward)

        first = env.reset_to_task(key, task)
        return first, jax.lax.scan(step, first, actions)[1]

    return jax.jit(run)


@pytest.fixture(scope="module")
def mean_return(env):
    """Compiled: mean and standard error of walking straight to a point."""

    def walk(key, to_the_wrong_point):
        first = env.reset(key)
        target = first.info["task"] ^ to_the_wrong_point

        def step(state, _):
            gap = state.pipeline_state.points[target] - state.pipeline_state.agent
            axis = jnp.argmax(jnp.abs(gap))
            action = jnp.where(jnp.abs(gap[axis]) <= 10, 0, 1 + 2 * axis + (gap[axis] < 0))
            state = env.step(state, action)
            return state, state.reward

        return jax.lax.scan(step, first, None, length=env.episode_length)[1].sum()

    def mean(key, to_the_wrong_point):
        keys = jax.random.split(key, EPISODES)
        returns = jax.vmap(walk, in_axes=(0, None))(keys, to_the_wrong_point)
        return returns.mean(), returns.std() / jnp.sqrt(EPISODES)

    return jax.jit(mean)


@pytest.mark.parametrize(("wrong", "expected"), [(0, 43.76), (1, 2.15)])
def test_walking_straight_earns_the_known_return(mean_return, wrong, expected):
    mean, error = mean_return(jax.random.key(1), wrong)
    assert abs(mean - expected) < 4 * error


def test_the_best_return_is_that_of_the_fewest_moves():
    """By a look at every place that moves lead to, for points of a grid."""
    strides = [(x, y) for x in range(-13, 14) for y in range(-13, 14)]
    moves = np.array([abs(x) + abs(y) for x, y in strides])
    places = 200.0 + 20.0 * np.array(strides)
    along = np.arange(4, 400, 8.0)
    returns = []
    for point in np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2):
        is_near = np.hypot(*(places - point).T) < 50
        first_paid = max(1, moves[is_near].min())  # who is near already stays for a step
        returns.append(50 - first_paid + 1)
    for env, count in ((MovingBandits(), 2), (MovingBandits(3), 3)):
        np.testing.assert_allclose(
            env.best_returns(50), np.full(count, np.mean(returns)), atol=0.03
        )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    task=st.integers(0, 1),
    actions=st.lists(st.integers(0, 4), min_size=50, max_size=50),
)
def test_transitions_match_a_python_model(episode, seed, task, actions):
    first, (agents, observations, rewards) = episode(
        jax.random.key(seed), jnp.int32(task), jnp.array(actions)
    )
    points = np.asarray(first.pipeline_state.points, np.float64)
    assert ((points >= 0) & (points < 400)).all()
    x, y = 200.0, 200.0
    for t, action in enumerate(actions):
        x += {1: 20, 2: -20}.get(action, 0)
        y += {3: 20, 4: -20}.get(action, 0)
        near = np.hypot(points[task][0] - x, points[task][1] - y) < 50
        assert tuple(agents[t]) == (x, y)
        assert rewards[t] == float(near)
        np.testing.assert_allclose(observations[t], np.array([x, y, *points.flat]) / 400, rtol=1e-6)


def test_points_are_drawn_anew_at_every_reset_and_do_not_depend_on_the_task(env):
    keys = jax.random.split(jax.random.key(0), 2)
    reset = jax.vmap(env.reset_to_task)
    first = reset(keys, jnp.array([0, 0])).pipeline_state.points
    assert (first[0] != first[1]).all()
    np.testing.assert_array_equal(first, reset(keys, jnp.array([1, 1])).pipeline_state.points)


def test_an_action_of_shape_one_is_the_action_itself(env):
    state = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(
        env.step(state, jnp.array([3])).obs, env.step(state, jnp.int32(3)).obs
    )


@pytest.mark.parametrize("task", [0, 1])
def test_a_picture_shows_the_points_of_its_episode_and_which_one_pays(env, task):
    state = env.reset_to_task(jax.random.key(4), jnp.int32(task))
    scene = env.scene(task, np.asarray(state.obs))
    np.testing.assert_allclose([mark[:2] for mark in scene.marks], state.pipeline_state.points)
    assert [mark[2] for mark in scene.marks] == ["0", "1"]
    assert scene.goal == scene.marks[task][:2]
    moved = env.step(state, jnp.int32(4))
    position = env.positions(np.asarray(moved.obs), moved.metrics)
    np.testing.assert_allclose(position, moved.pipeline_state.agent)


def test_what_all_episodes_share_is_the_square_alone(env):
    scene = env.scene(1)
    assert scene.goal is None and not scene.marks
    assert scene.start == (200, 200)
