import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_registry import Corridor

import envs
from envs.contract import check
from envs.scene import NO_WALLS, Scene


class TooLong(Corridor):
    observation_size = 2


class OneName(Corridor):
    task_names = ("left",)


class SameNames(Corridor):
    task_names = ("left", "left")


class NamesOfDirectories(Corridor):
    task_names = ("left", "north/west")


class NamesOfNothing(Corridor):
    def all_tasks(self):
        return None


class OtherTask(Corridor):
    def sample_task(self, key):
        return jax.random.uniform(key)


class Forgets(Corridor):
    def reset_to_task(self, key, task):
        return super().reset_to_task(key, task).replace(info={})

    def step(self, state, action):
        return state


class WholeReward(Corridor):
    def reset_to_task(self, key, task):
        return super().reset_to_task(key, task).replace(reward=jnp.zeros((), jnp.int32))


class OneOptimum(Corridor):
    def best_returns(self, episode_length):
        return np.ones(1)


class NoNumber(Corridor):
    task_names = ()

    def all_tasks(self):
        return None

    def best_return_of(self, task, episode_length):
        return float("nan")


class LateMetric(Corridor):
    def step(self, state, action):
        return super().step(state, action).replace(metrics={"x": jnp.zeros(())})


class LongMetric(Corridor):
    def reset_to_task(self, key, task):
        return super().reset_to_task(key, task).replace(metrics={"x": jnp.zeros(3)})


class Drawn(Corridor):
    def scene(self, task, observation=None):
        return Scene(walls=NO_WALLS, start=(0.0, 0.0), bounds=(-1.0, 1.0, -1.0, 1.0))


class WithX(Drawn):
    def reset_to_task(self, key, task):
        return super().reset_to_task(key, task).replace(metrics={"x_position": jnp.zeros(())})


class OnALine(Drawn):
    def positions(self, observation, metrics):
        return observation


class Unheld(Drawn):
    def scene(self, task, observation=None):
        return dataclasses.replace(super().scene(task, observation), items=("key",))

    def positions(self, observation, metrics):
        return np.zeros((*observation.shape[:-1], 2))


class Facing(Drawn):
    def positions(self, observation, metrics):
        return np.zeros((*observation.shape[:-1], 2))

    def headings(self, observation):
        return 0.5


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (TooLong, ["obs", "[2] (observation_size)", "float32 [1]"]),
        (OneOptimum, ["best_returns must be None or 2 finite numbers", "array([1.])"]),
        (NoNumber, ["best_return_of must return None or a finite number", "nan"]),
        (OneName, ["2 rows", "task_names 1"]),
        (SameNames, ["task_names must differ", "['left']"]),
        (NamesOfDirectories, ["without /", "['north/west']"]),
        (NamesOfNothing, ["all_tasks is None", "task_names"]),
        (OtherTask, ["sample_task", "all_tasks", "float32", "int32"]),
        (Forgets, ['info["task"]']),
        (WholeReward, ["reward of reset_to_task must be float32 []", "int32"]),
        (LateMetric, ["step", "metrics['x']", "missing"]),
        (LongMetric, ["metric 'x'", "scalar", "[3]"]),
        (Drawn, ["with a scene", "x_position and y_position"]),
        (WithX, ["with a scene", "x_position and y_position"]),
        (OnALine, ["positions that returns x and y"]),
        (Facing, ["headings must return None or an angle each", "0.5"]),
        (Unheld, ["item_positions", "1 items", "[1, 2, 0, 2]"]),
    ],
)
def test_what_does_not_keep_the_contract_is_refused_when_it_is_made(environment, words):
    with pytest.raises(envs.EnvError) as refusal:
        envs.make(environment)
    message = str(refusal.value)
    assert message.startswith(f"environment '{environment.__module__}:{environment.__name__}'")
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    "name",
    ["moving_bandits", "ant_maze", pytest.param("swimmer_bandits", marks=pytest.mark.slow)],
)
def test_what_comes_with_the_package_keeps_it(name):
    check(envs.make(name).unwrapped, name)
