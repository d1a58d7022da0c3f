"""An ant in the obstacle course and an episode of it, made up: it goes right, up and right."""

import functools
import os

import browser
import jax
import numpy as np
import pytest

import envs
from mlsh_jax.viz.replay import Recording

LEG = 30  # steps for which a sub-policy is active
DT = 0.05


@pytest.fixture(scope="session")
def ant():
    """The environment, for its body and its scene."""
    return envs.make("ant_obstacle").unwrapped


@pytest.fixture(scope="session")
def scene(ant):
    """Walls, a goal in the upper right corner and an enemy."""
    return ant.scene(jax.tree.map(lambda x: x[0], ant.all_tasks()))


@pytest.fixture(scope="session")
def record(ant):
    """Makes an episode of three legs of so many steps, each 12 units long."""
    return functools.partial(_record, np.asarray(ant.sys.init_q))


@pytest.fixture(scope="session")
def recording(record) -> Recording:
    """Steps 0 to 29 and 60 to 89 are sub-policy 0's, who goes right, the rest sub-policy 1's."""
    return record(LEG)


@pytest.fixture(scope="session")
def opened(tmp_path_factory):
    """A browser with one page, for all tests."""
    executable = browser.find()
    if executable is None:
        missing = pytest.fail if os.environ.get("MLSH_REQUIRE_BROWSER") else pytest.skip
        missing(f"needs one of {', '.join(browser.NAMES)}")
    chromium = browser.Browser(
        executable, str(tmp_path_factory.mktemp("profile")), (browser.WIDTH, browser.HEIGHT)
    )
    yield chromium
    chromium.close()


@pytest.fixture
def chromium(opened):
    """The browser, which must have nothing to complain of during a test."""
    opened.requests.clear()
    yield opened
    assert opened.complaints == []


def _record(pose: np.ndarray, leg: int) -> Recording:
    rightwards = np.repeat([1.0, 0.0, 1.0], leg)
    moves = np.stack([rightwards, 1 - rightwards], axis=1) * 12 / leg
    steps = np.arange(3 * leg)
    q = np.tile(pose, (len(steps), 1)).astype(np.float32)
    q[:, :2] = np.cumsum(moves, axis=0) - moves
    q[:, 7:] += 0.3 * np.sin(0.9 * steps[:, None] + np.arange(8))
    turn = 0.1 * np.sin(0.3 * steps)
    q[:, 3], q[:, 6] = np.cos(turn / 2), np.sin(turn / 2)
    return Recording(
        q=q,
        subpolicy=(1 - rightwards).astype(np.int32),
        reward=np.ones(len(steps), np.float32),
        enemy=np.stack([4 + 6 * steps / len(steps), np.full(len(steps), 28.0)], axis=1),
        dt=DT,
    )
