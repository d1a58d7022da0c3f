import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.base import State, TaskEnv
from envs.errors import EnvError
from envs.wrappers import EpisodeWrapper


class Countdown(TaskEnv):
    """Terminates when the count, which starts at the task, is 0; pays 1 a step."""

    name = "countdown"
    episode_length = 10
    num_actions = 1
    task_names = ()
    observation_size = 1
    action_size = 1
    backend = "none"

    def sample_task(self, key):
        return jax.random.randint(key, (), 1, 5)

    def all_tasks(self):
        return None

    def reset_to_task(self, key, task):
        zero = jnp.float32(0)
        return State(task, task[None] * 1.0, zero, zero, {}, {"task": task, "key": key})

    def step(self, state, action):
        del action
        left = state.pipeline_state - 1
        key = jax.random.fold_in(state.info["key"], left)
        return state.replace(
            pipeline_state=left,
            obs=left[None] * 1.0,
            reward=jnp.float32(1),
            done=(left <= 0).astype(jnp.float32),
            info={**state.info, "key": key},
        )


def _states(task: int, episode_length: int, steps: int):
    env = EpisodeWrapper(Countdown(), episode_length)
    state = env.reset_to_task(jax.random.key(0), jnp.int32(task))
    states = [state]
    for _ in range(steps):
        states.append(env.step(states[-1], jnp.int32(0)))
    return states


def test_termination_is_told_from_truncation():
    last = _states(task=2, episode_length=5, steps=2)[-1]
    assert (last.done, last.info["terminated"], last.info["truncated"]) == (1, True, False)


def test_time_limit_truncates():
    before, last = _states(task=9, episode_length=3, steps=3)[-2:]
    assert (before.done, before.info["truncated"]) == (0, False)
    assert (last.done, last.info["terminated"], last.info["truncated"]) == (1, False, True)
    assert last.info["steps"] == 3


def test_terminating_at_the_time_limit_is_no_truncation():
    last = _states(task=3, episode_length=3, steps=3)[-1]
    assert (last.done, last.info["terminated"], last.info["truncated"]) == (1, True, False)


def test_a_failure_of_the_physics_is_a_truncation():
    class Breaking(Countdown):
        def reset_to_task(self, key, task):
            return super().reset_to_task(key, task).replace(metrics={"physics_nan": jnp.float32(0)})

        def step(self, state, action):
            stepped = super().step(state, action)
            return stepped.replace(metrics={"physics_nan": stepped.done})

    env = EpisodeWrapper(Breaking(), 5)
    state = env.reset_to_task(jax.random.key(0), jnp.int32(1))
    last = env.step(state, jnp.int32(0))
    assert (last.done, last.info["terminated"], last.info["truncated"]) == (1, False, True)


def test_final_observation_is_kept():
    assert _states(task=2, episode_length=5, steps=2)[-1].obs == 0


def test_finished_state_is_frozen_and_pays_nothing():
    *_, last, later = _states(task=2, episode_length=5, steps=3)
    assert (last.reward, later.reward) == (1, 0)
    assert later.done == 1
    same = jax.tree.map(lambda a, b: bool((a == b).all()), last.info, later.info)
    assert all(jax.tree.leaves(same))
    np.testing.assert_array_equal(last.obs, later.obs)
    np.testing.assert_array_equal(last.pipeline_state, later.pipeline_state)


@pytest.mark.parametrize("length", [0, -1, 2.5, True, "10"])
def test_bad_episode_length_is_named(length):
    with pytest.raises(EnvError, match="episode_length"):
        EpisodeWrapper(Countdown(), length)
