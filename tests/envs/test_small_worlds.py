"""Rooms, codes and a wheel: how they move and what pays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from envs.grids.codes import NUM_BUTTONS, NUM_TIMES, HiddenCodes
from envs.grids.rooms import CornerRooms, RoomsWorld
from envs.grids.wheel import FASTEST, TOLERANCE, TORQUE, WheelSpeeds, WheelWorld

UP, DOWN, LEFT, RIGHT = range(4)


def in_room(cell, task=0):
    env = CornerRooms()
    state = env.reset_to_task(jax.random.key(0), jnp.int32(task))
    return env, state.replace(pipeline_state=RoomsWorld(cell=jnp.asarray(cell, jnp.int32)))


@pytest.mark.parametrize(
    ("cell", "action", "after"),
    [
        ((1, 1), UP, (0, 1)),
        ((1, 1), DOWN, (2, 1)),
        ((1, 1), LEFT, (1, 0)),
        ((1, 1), RIGHT, (1, 2)),
        ((0, 3), RIGHT, (0, 3)),  # the wall between the upper rooms
        ((2, 3), RIGHT, (2, 4)),  # its door
        ((2, 4), UP, (2, 4)),  # the wall goes on in the door
        ((3, 2), DOWN, (4, 2)),  # the door to the lower left
        ((3, 1), DOWN, (3, 1)),
        ((0, 0), UP, (0, 0)),
        ((8, 8), RIGHT, (8, 8)),
    ],
)
def test_a_move_in_the_rooms(cell, action, after):
    env, state = in_room(cell)
    state = env.step(state, jnp.int32(action))
    assert tuple(state.pipeline_state.cell.tolist()) == after
    assert tuple(np.argmax(state.obs.reshape(2, 9), axis=1).tolist()) == after


@pytest.mark.parametrize(("task", "corner"), list(enumerate([(0, 0), (0, 8), (8, 0), (8, 8)])))
def test_a_corner_pays_its_task_alone(task, corner):
    for other in range(4):
        env, state = in_room(corner, other)
        into_the_corner = env.best_action(state.obs, jnp.int32(task))
        state = env.step(state, into_the_corner)
        assert float(state.reward) == float(other == task)
        assert float(state.metrics["success"]) == float(state.reward)


def test_the_best_action_leads_to_the_corner_on_a_shortest_way():
    env = CornerRooms()
    free = [tuple(cell) for cell in np.argwhere(env._is_free).tolist()]
    for task, corner in enumerate([(0, 0), (0, 8), (8, 0), (8, 8)]):
        # Bellman's iteration, cell by cell, knows no queue and no moves.
        distance = dict.fromkeys(free, np.inf) | {corner: 0}
        for _ in free:
            for row, column in free:
                near = ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1))
                best = min((distance.get(cell, np.inf) for cell in near), default=np.inf)
                distance[row, column] = min(distance[row, column], best + 1)
        assert np.isfinite(list(distance.values())).all()

        def arrives(cell, task=task):
            def step(state, _):
                state = env.step(state, env.best_action(state.obs, task))
                return state, state.reward

            _, state = in_room((0, 0), task)
            observation = env._observe(RoomsWorld(cell=cell))
            state = state.replace(pipeline_state=RoomsWorld(cell=cell), obs=observation)
            rewards = jax.lax.scan(step, state, length=20)[1]
            return 20 - rewards.sum()

        steps = jax.jit(jax.vmap(arrives))(jnp.asarray(free, jnp.int32))
        # The step that arrives pays.
        expected = [max(distance[cell] - 1, 0) for cell in free]
        np.testing.assert_array_equal(steps, expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 1000))
def test_a_button_pays_if_the_code_has_it_at_that_time(task, button, seed):
    env = HiddenCodes()
    state = env.reset_to_task(jax.random.key(seed), jnp.int32(task))
    time = int(np.argmax(state.obs))
    for _ in range(2 * NUM_TIMES):
        state = env.step(state, jnp.int32(button))
        assert float(state.reward) == float(env.codes[task, time] == button)
        time = (time + 1) % NUM_TIMES
        np.testing.assert_array_equal(state.obs, np.eye(NUM_TIMES)[time])


def test_codes_are_different_and_always_the_same():
    codes = HiddenCodes().codes
    assert codes.shape == (4, NUM_TIMES) and set(codes.flat) <= set(range(NUM_BUTTONS))
    assert len({tuple(code) for code in codes.tolist()}) == 4
    np.testing.assert_array_equal(codes, HiddenCodes().codes)
    with pytest.raises(envs.EnvError, match="num_codes must be an integer from 2 to 10000, got 1"):
        envs.make("hidden_codes", num_codes=1)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2),
    st.floats(-FASTEST, FASTEST, width=32),
    st.floats(-3, 3, width=32),
    st.floats(0, 6, width=32),
)
def test_the_wheel_turns_as_it_is_pushed(task, speed, action, angle):
    env = WheelSpeeds()
    state = env.reset_to_task(jax.random.key(0), jnp.int32(task))
    world = WheelWorld(angle=jnp.float32(angle), speed=jnp.float32(speed))
    state = env.step(state.replace(pipeline_state=world), jnp.asarray([action], jnp.float32))
    faster = np.clip(speed + TORQUE * np.clip(action, -1, 1), -FASTEST, FASTEST)
    expected = [np.cos(angle + faster), np.sin(angle + faster), faster]
    np.testing.assert_allclose(state.obs, expected, atol=1e-5)
    missing = abs((-1.0, 0.0, 1.0)[task] - faster)
    if abs(missing - TOLERANCE) > 1e-4:
        assert float(state.reward) == float(missing < TOLERANCE)
