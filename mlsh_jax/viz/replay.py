"""Replays: one recorded episode as an HTML page that needs nothing but a browser.

Everything is inlined (page, viewer, three.js, the poses of all links), so that a page opens from
a disk without a network and can be sent by mail. `assets/viewer.js` draws it; this module says
what there is to draw.
"""

import base64
import dataclasses
import html
import importlib.resources
import json
import os
from pathlib import Path
from typing import Any

import brax.base
import numpy as np

from mlsh_jax.viz import bodies, colors, scenery

_LEVELS = np.iinfo(np.uint16).max

LONGEST_SECONDS = 12.0
"""What an episode takes at most where it is not played in its own time."""
# Of a world without time, whose episodes may have few steps or many.
_SHORTEST_STEP_SECONDS, _LONGEST_STEP_SECONDS = 0.05, 0.15
_LARGE_RETURN = 20


@dataclasses.dataclass(frozen=True)
class Recording:
    """One episode of `T` env steps.

    Attributes:
        q: generalized positions at every step, float `[T, nq]`; x and y where there is no body.
        subpolicy: which sub-policy was active, int `[T]`.
        reward: of every step, float `[T]`.
        enemy: x and y of the enemy at every step, float `[T, 2]`; None if there is none.
        dt: seconds per env step; None in a world without time.
        roofed: whether the ceilings of the scene were there, bool `[T]`; None if they always are.
        items: x and y of each item of the scene at every step, float `[T, I, 2]`, NaN where it is
            not to be seen; None if there is none.
        heading: where an agent without a body faced, in radians from x toward y, float `[T]`; None
            if it faces nowhere.
    """

    q: np.ndarray
    subpolicy: np.ndarray
    reward: np.ndarray
    enemy: np.ndarray | None
    dt: float | None
    roofed: np.ndarray | None = None
    items: np.ndarray | None = None
    heading: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Raises ValueError if the arrays differ in length."""
        for name in ("subpolicy", "reward", "enemy", "roofed", "items", "heading"):
            array = getattr(self, name)
            if array is not None and len(array) != len(self.q):
                raise ValueError(f"{name} has {len(array)} steps, q has {len(self.q)}")

    def step_seconds(self, seconds: float) -> float:
        """What a step takes when it is played: its time, or long enough to be followed.

        Args:
            seconds: for which the episode of a world without time should not take longer.
        """
        if self.dt is not None:
            return self.dt
        evenly = seconds / len(self.q)
        return float(np.clip(evenly, _SHORTEST_STEP_SECONDS, _LONGEST_STEP_SECONDS))

    @property
    def return_decimals(self) -> int:
        """Decimals with which the return so far is told: more where it stays small."""
        return 1 if np.abs(np.cumsum(self.reward)).max() >= _LARGE_RETURN else 2


def items_by_word(recording: Recording, scene: scenery.Scene) -> dict[str, np.ndarray]:
    """Where the scene's items were at every step, `[T, 2]` each; none where that is not known."""
    if recording.items is None or scene.seen_from_side:
        return {}
    return {word: recording.items[:, i] for i, word in enumerate(scene.items)}


def write_replay(
    path: str | os.PathLike[str],
    sys: brax.base.System | None,
    recording: Recording,
    scene: scenery.Scene,
    title: str,
) -> None:
    """Writes a page that plays an episode: about 0.6 MB plus 0.2 MB for 1000 steps of an ant.

    The hash of the address may name what to show: `#step=123` to begin at a step, `&paused` to
    stay there, `&follow` to have the camera follow the body.

    Args:
        path: of the page, ends in `.html`.
        sys: the system, only used for the shape of the body; None for an agent without one, which
            is a ball.
        recording: the episode.
        scene: the world around the body.
        title: of the page.
    """
    page = _asset("replay.html")
    # Numbers of NumPy are numbers too, and no word may end the script that it stands in.
    page_data = _page_data(sys, recording, scene)
    data = json.dumps(page_data, separators=(",", ":"), default=float).replace("<", "\\u003c")
    for place, text in {
        "TITLE": html.escape(title),
        "THREE": _asset("three.min.js"),
        "VIEWER": _asset("viewer.js"),
        "RECORDING": data,
    }.items():
        page = page.replace(f"@@{place}@@", text)
    Path(path).write_text(page, encoding="utf-8")


def goal_steps(scene: scenery.Scene, xy: np.ndarray) -> np.ndarray:
    """Whether each point `[T, 2]` is in the goal area, bool `[T]`; never if there is no area."""
    if scene.goal is None or scene.goal_radius is None:
        return np.zeros(len(xy), bool)
    return np.linalg.norm(xy - np.asarray(scene.goal), axis=1) < scene.goal_radius


def _page_data(
    sys: brax.base.System | None, recording: Recording, scene: scenery.Scene
) -> dict[str, Any]:
    """All that `assets/viewer.js` reads, for JSON."""
    radius, items = scenery.agent_radius(scene), items_by_word(recording, scene)
    parts, position, rotation = bodies.posed(sys, recording.q, radius, recording.heading)
    num_subpolicies = int(np.max(recording.subpolicy)) + 1
    return {
        "dt": recording.dt,
        "secondsPerStep": recording.step_seconds(LONGEST_SECONDS),
        "returnDecimals": recording.return_decimals,
        "hasBody": sys is not None,
        # Bodies are about as large in all worlds, what stands for an agent without one is not.
        "unit": 1.0 if sys is not None else 2 * radius,
        "position": _pack(position),
        "rotation": _pack(rotation),
        "subpolicy": np.asarray(recording.subpolicy).tolist(),
        "totalReward": np.cumsum(recording.reward, dtype=np.float64).round(4).tolist(),
        "inGoal": goal_steps(scene, position[:, 0, :2]).astype(int).tolist(),
        "enemy": None if recording.enemy is None else _pack(recording.enemy),
        "roofed": None if recording.roofed is None else recording.roofed.astype(int).tolist(),
        "items": [{"word": word, "path": _path(xy)} for word, xy in items.items()],
        "parts": [_part_data(part) for part in parts],
        "scene": {
            "walls": scenery.visible_walls(scene).round(4).tolist(),
            "ceilings": np.asarray(scene.ceilings, np.float64).round(4).tolist(),
            "bounds": list(scene.bounds),
            "start": list(scene.start),
            "goal": None if scene.goal is None else list(scene.goal),
            "goalRadius": scenery.goal_radius(scene),
            "enemyRadius": scene.enemy_radius,
            "marks": [
                {"at": [x, y], "word": word} for x, y, word in scenery.marks_beside(scene, items)
            ],
        },
        "colors": {
            "subpolicies": [colors.subpolicy_color(k) for k in range(num_subpolicies)],
            "texts": [colors.text_color(k) for k in range(num_subpolicies)],
            "wall": colors.WALL,
            "goal": colors.GOAL,
            "enemy": colors.ENEMY,
            "start": colors.START,
            "floor": colors.FLOOR,
            "grid": colors.GRID,
        },
    }


def _part_data(part: bodies.Part) -> dict[str, Any]:
    return {
        "link": part.link,
        "radius": part.radius,
        "halfLength": part.half_length,
        "position": part.position.tolist(),
        "rotation": part.rotation.tolist(),
    }


def _path(positions: np.ndarray) -> list[list[float] | None]:
    """Positions `[T, 2]` of an item, None where it is not to be seen."""
    return [xy.round(4).tolist() if np.isfinite(xy).all() else None for xy in positions]


def _pack(array: np.ndarray) -> dict[str, Any]:
    """Packs floats into 16 bits each: a value is `low + unit * n`, n little-endian unsigned.

    In an arena of 80 units that is a millimetre's resolution.
    """
    values = np.asarray(array, np.float64)
    low = float(values.min())
    unit = float(values.max() - low) / _LEVELS or 1.0
    levels = np.rint((values - low) / unit).astype("<u2")
    return {
        "shape": list(values.shape),
        "low": low,
        "unit": unit,
        "base64": base64.b64encode(levels.tobytes()).decode(),
    }


def _asset(name: str) -> str:
    return (importlib.resources.files(__package__) / "assets" / name).read_text("utf-8")
