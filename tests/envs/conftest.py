"""Compiled rollouts of the ants, shared by the test modules: compiling them is the dear part."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import ant_obstacle
from envs.ant import BACKENDS

STEPS = 60
INSTANCES = 48


class ObstaclePlay:
    """Plays `ant_obstacle` without a time limit from chosen physics, many instances at once."""

    def __init__(self, backend: str):
        self.env = envs.make("ant_obstacle", backend=backend).unwrapped
        self._run = jax.jit(jax.vmap(self._play_one))

    def _play_one(self, key, q, qd, clock, enemy, actions):
        state = self.env.reset_to_task(key, jnp.int32(0))
        state = state.replace(
            pipeline_state=self.env.pipeline_init(q, qd),
            info={**state.info, "clock": clock, "enemy": enemy},
        )

        def step(state, action):
            after = self.env.step(state, action)
            seen = {
                "q": after.pipeline_state.q,
                "qd": after.pipeline_state.qd,
                "obs": after.obs,
                "enemy": after.info["enemy"],
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

    def __call__(self, q, qd, *, clock=0, enemy=ant_obstacle.ENEMY_START, actions=None):
        """Returns arrays [P, STEPS, ...] by name; `actions` is [P, STEPS, 8], zero if None."""
        count = len(q)
        assert count <= INSTANCES
        if actions is None:
            actions = np.zeros((count, STEPS, 8))
        enemy = np.broadcast_to(np.asarray(enemy, np.float32), (count, 2))
        clock = np.broadcast_to(np.asarray(clock, np.int32), count)
        rows = np.arange(INSTANCES) % count
        arrays = [np.asarray(a)[rows] for a in (q, qd, clock, enemy, actions.astype(np.float32))]
        seen = self._run(jax.random.split(jax.random.key(0), INSTANCES), *arrays)
        return {name: np.asarray(value)[:count] for name, value in seen.items()}


@functools.cache
def _obstacle_play(backend: str) -> ObstaclePlay:
    return ObstaclePlay(backend)


@pytest.fixture(scope="session", params=BACKENDS)
def play(request) -> ObstaclePlay:
    """`ant_obstacle` in each backend that is offered."""
    return _obstacle_play(request.param)


@pytest.fixture(scope="session")
def play_spring() -> ObstaclePlay:
    """`ant_obstacle` in the default backend."""
    return _obstacle_play("spring")


@pytest.fixture
def random_actions() -> np.ndarray:
    """Actions [INSTANCES, STEPS, 8], uniform in [-1, 1]."""
    return np.random.default_rng(0).uniform(-1, 1, (INSTANCES, STEPS, 8))
