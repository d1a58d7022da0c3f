"""Heights over time, in the colors of who was active."""

import numpy as np
import pytest
from PIL import Image

from mlsh_jax.viz import heights

STEPS = 200


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> np.ndarray:
    """A body that falls halfway, when sub-policy 1 takes over, and one whose episode ends there."""
    time = np.arange(STEPS)
    falls = np.where(time < STEPS / 2, 1.4, 0.2)
    ends = np.where(time < STEPS / 2, 1.4, np.nan)
    active = (time >= STEPS / 2).astype(int)
    path = tmp_path_factory.mktemp("heights") / "heights.png"
    episodes = {
        "one": (falls[None], active[None]),
        "other": (ends[None], np.zeros((1, STEPS), int)),
    }
    heights.plot_heights(path, episodes, dt=0.1)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def rows_and_columns(picture, k):
    """Where the lines of sub-policy `k`, blue or orange, are, but for the legend below."""
    red, _, blue = np.moveaxis(picture[: int(0.8 * len(picture))], -1, 0)
    return np.argwhere(blue - red > 60 if k == 0 else red - blue > 60)


def test_a_fall_is_seen_and_who_was_active_then(picture):
    width = picture.shape[1]
    up, down = rows_and_columns(picture, 0), rows_and_columns(picture, 1)
    assert len(up) and len(down)
    assert up[:, 0].max() < down[:, 0].max()
    assert down[:, 1].max() < width / 2  # in the first panel alone
    left = up[up[:, 1] < width / 2]
    assert left[:, 1].max() <= down[:, 1].min() + 3


def test_nothing_is_drawn_after_the_end_of_an_episode(picture):
    width = picture.shape[1]
    columns = rows_and_columns(picture, 0)[:, 1]
    right = columns[columns > width / 2]
    assert len(right)
    assert right.max() < 0.8 * width
