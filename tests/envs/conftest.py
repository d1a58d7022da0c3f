"""Compiled rollouts of the ants, shared by the test modules: compiling them is the dear part."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

import envs
from envs.locomotion.ant import BACKENDS

STEPS = 60
INSTANCES = 48


class Play:
    """Plays an ant task without a time limit from chosen physics, many instances at once."""

    def __init__(self, name: str, backend: str):
        self.env = envs.make(name, backend=backend).unwrapped
        self._task = jax.tree.map(lambda x: x[0], self.env.all_tasks())
        info = jax.jit(lambda: self.env.reset_to_task(jax.random.key(0), self._task).info)()
        self._start = {field: info[field] for field in info if field != "key"}
        self._run = jax.jit(jax.vmap(self._play_one))

    def _play_one(self, key, q, qd, info, actions):
        state = self.env.reset_to_task(key, self._task)
        state = state.replace(
            pipeline_state=self.env.pipeline_init(q, qd), info={**state.info, **info}
        )

        def step(state, action):
            after = self.env.step(state, action)
            seen = {
                "q": after.pipeline_state.q,
                "qd": after.pipeline_state.qd,
                "obs": after.obs,
                "reward": after.reward,
                "done": after.done,
                **after.metrics,
            }
            return after, seen

        return jax.lax.scan(step, state, actions)[1]

    def standing(self, positions) -> tuple[np.ndarray, np.ndarray]:
        """Physics (q [P, 15], qd [P, 14]) of ants at rest and standing at `positions` [P, 2]."""
        positions = np.asarray(positions, np.float32)
        q = np.tile(np.asarray(self.env.sys.init_q, np.float32), (len(positions), 1))
        q[:, :2] = positions
        return q, np.zeros((len(positions), 14), np.float32)

    def __call__(self, q, qd, *, actions=None, **info):
        """Returns arrays [P, STEPS, ...] by name.

        `actions` is [P, STEPS, 8], zero if None; `info` replaces what a reset puts into
        `state.info`, for all instances or with a leading axis P.
        """
        count = len(q)
        assert count <= INSTANCES
        if actions is None:
            actions = np.zeros((count, STEPS, 8))
        rows = np.arange(INSTANCES) % count

        def batched(start, value):
            value = np.broadcast_to(np.asarray(value, start.dtype), (count, *start.shape))
            return value[rows]

        info = jax.tree.map(batched, self._start, {**self._start, **info})
        arrays = [np.asarray(a, np.float32)[rows] for a in (q, qd, actions)]
        keys = jax.random.split(jax.random.key(0), INSTANCES)
        seen = self._run(keys, *arrays[:2], info, arrays[2])
        return {name: np.asarray(value)[:count] for name, value in seen.items()}


@functools.cache
def _play(name: str, backend: str) -> Play:
    return Play(name, backend)


def _backends(mark: pytest.MarkDecorator) -> list[Any]:
    """Every backend that is offered, with a mark on those that compile for long."""
    return [name if name == "spring" else pytest.param(name, marks=mark) for name in BACKENDS]


# `.ci/run` tests walls in every backend in `ant_maze` alone.
@pytest.fixture(scope="session", params=_backends(pytest.mark.slow))
def play(request) -> Play:
    """`ant_obstacle` in each backend that is offered."""
    return _play("ant_obstacle", request.param)


@pytest.fixture(scope="session")
def play_spring() -> Play:
    """`ant_obstacle` in the default backend."""
    return _play("ant_obstacle", "spring")


@pytest.fixture(scope="session")
def play_big() -> Play:
    """`ant_obstacle_big` in the default backend."""
    return _play("ant_obstacle_big", "spring")


@pytest.fixture(scope="session", params=_backends(pytest.mark.whole))
def play_maze(request) -> Play:
    """`ant_maze` in each backend that is offered, to which any layout can be given."""
    return _play("ant_maze", request.param)


@pytest.fixture(scope="session")
def play_maze_spring() -> Play:
    """`ant_maze` in the default backend."""
    return _play("ant_maze", "spring")


@pytest.fixture
def random_actions() -> np.ndarray:
    """Actions [INSTANCES, STEPS, 8], uniform in [-1, 1]."""
    return np.random.default_rng(0).uniform(-1, 1, (INSTANCES, STEPS, 8))
