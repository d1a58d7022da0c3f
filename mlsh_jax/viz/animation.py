"""Animations: one recorded episode seen from above or from the side, as a GIF."""

import dataclasses
import math
import os
from collections.abc import Collection, Iterator

import brax.base
import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.text import Text
from PIL import Image

from mlsh_jax.viz import bodies, colors, scenery
from mlsh_jax.viz.replay import LONGEST_SECONDS, Recording, items_by_word

HEADER = 34
"""Pixels above the map, in which the animation says what is going on."""

_DPI = 100
_POINTS = 72 / _DPI  # in a pixel
_FRAME_SECONDS = 0.05
_LAST_FRAME_SECONDS = 2.0  # before it begins again
_PALETTE_SIZE = 128
_TRAIL_PIXELS = 2.0
_TRAIL_OPACITY = 0.55  # less than all of it, to see the body on its trail
_OUTLINE_PIXELS = 1.5
_LEAST_LENGTH = 1e-3  # of a part: Matplotlib draws nothing of a line without length, not even ends


def write_animation(
    path: str | os.PathLike[str],
    sys: brax.base.System | None,
    recording: Recording,
    scene: scenery.Scene,
    *,
    size: int = 480,
    seconds: float = LONGEST_SECONDS,
) -> None:
    """Writes a GIF of an episode.

    It shows the map to scale, or the world from the side where the scene says so, the path so far
    in the colors of the sub-policies that were active, the body, the enemy, items, and above them
    the active sub-policy, the time (or the step, in a world without time) and the return so far.

    Args:
        path: of the animation, ends in `.gif`.
        sys: the system, only used for the shape of the body; None for an agent without one.
        recording: the episode.
        scene: the world around the body.
        size: pixels that the map is wide and high; a view from the side is twice as wide and as
            high as it has to be.
        seconds: that it takes at most; of a longer episode only every n-th step is shown.
    """
    frame_seconds = _FRAME_SECONDS if recording.dt is not None else recording.step_seconds(seconds)
    steps = _shown_steps(len(recording.q), max(1, round(seconds / frame_seconds)))
    _, first_of_each = np.unique(np.asarray(recording.subpolicy)[steps], return_index=True)
    telling = np.unique([*steps[first_of_each], steps[-1]])
    palette = _palette(list(_frames(sys, recording, scene, size, telling)))
    images = [
        frame.quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in _frames(sys, recording, scene, size, steps)
    ]
    durations = [frame_seconds] * (len(images) - 1) + [_LAST_FRAME_SECONDS]
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=[round(1000 * duration) for duration in durations],
        loop=0,
    )


def _shown_steps(length: int, most: int) -> np.ndarray:
    """Every n-th step, of which there are at most `most`, and the last one."""
    every = math.ceil(length / most)
    return np.union1d(np.arange(0, length, every), length - 1)


def _frames(
    sys: brax.base.System | None,
    recording: Recording,
    scene: scenery.Scene,
    size: int,
    steps: np.ndarray,
) -> Iterator[Image.Image]:
    """The frames at ascending `steps`.

    They are drawn on one canvas, on which the path is lengthened, and off which everything
    that moves is taken again, since drawing the scene and the whole path anew takes longer.
    """
    path, ends, radii = _outline(sys, recording, scene)
    items = items_by_word(recording, scene)
    total_reward = np.cumsum(recording.reward, dtype=np.float64)
    decimals = recording.return_decimals

    figure = Figure(dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    axes, ceilings = _view(figure, scene, path, size, items)
    for ceiling in ceilings:
        ceiling.set_animated(recording.roofed is not None)  # else it belongs to what stays
    cast = _cast(axes, scene, radii, items)
    canvas.draw()
    before = 0
    for step in steps:
        # An action leads to the step that it is recorded with.
        leading = recording.subpolicy[before + 1 : step + 1]
        _lengthen(cast.trail, path[before : step + 1], leading)
        figure.draw_artist(cast.trail)
        still = canvas.copy_from_bbox(figure.bbox)
        enemy = None if recording.enemy is None else recording.enemy[step]
        at_step = [xy[step] for xy in items.values()]
        _pose(cast, ends[step], int(recording.subpolicy[step]), enemy, at_step)
        cast.numbers.set_text(
            f"{_clock(step, recording.dt)}   return {_padded(total_reward[step], decimals)}"
        )
        roof = ceilings if recording.roofed is not None and recording.roofed[step] else []
        moved = (cast.enemy, cast.outline, cast.body, *cast.items, cast.label, cast.numbers)
        for artist in (*roof, *moved):
            figure.draw_artist(artist)
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        canvas.restore_region(still)
        before = step


def _outline(
    sys: brax.base.System | None, recording: Recording, scene: scenery.Scene
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How an agent looks from above, or from the side.

    Returns:
        Its path `[T, 2]`, both ends of each of its parts `[T, P, 2, 2]` and their radii `[P]`.
    """
    radius = scenery.agent_radius(scene)
    parts, position, rotation = bodies.posed(sys, recording.q, radius, recording.heading)
    ends, radii = bodies.segments(parts, position, rotation)
    seen = (0, 2) if scene.seen_from_side else (0, 1)
    return position[:, 0, seen], ends[..., seen], radii


@dataclasses.dataclass(frozen=True)
class _Cast:
    """What moves, drawn by hand."""

    trail: LineCollection
    outline: LineCollection
    body: LineCollection
    enemy: Circle
    items: list[Text]
    label: Text
    numbers: Text


def _cast(axes: Axes, scene: scenery.Scene, radii: np.ndarray, words: Collection[str]) -> _Cast:
    """Puts everything that moves on the map and into the header."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches() * _DPI
    widths = 2 * radii * width / np.ptp(axes.get_xlim()) * _POINTS
    enemy = Circle((0, 0), scene.enemy_radius or 0, color=colors.ENEMY, lw=0, animated=True)
    axes.add_patch(enemy)
    text = {"y": 1 - HEADER / 2 / height, "s": "", "va": "center", "size": 11, "animated": True}
    return _Cast(
        trail=_lines(axes, _TRAIL_PIXELS * _POINTS),
        outline=_lines(axes, widths + 2 * _OUTLINE_PIXELS * _POINTS, snap=False),
        body=_lines(axes, widths, snap=False),
        enemy=enemy,
        items=scenery.add_items(axes, words),
        label=figure.text(x=0.025, weight="bold", **text),
        numbers=figure.text(x=0.975, ha="right", **text),
    )


def _lengthen(trail: LineCollection, path: np.ndarray, subpolicy: np.ndarray) -> None:
    """Makes the trail the path `[t + 1, 2]`; a sub-policy, `[t]`, leads from a step to the next."""
    trail.set_segments(list(np.stack([path[:-1], path[1:]], axis=1)))
    trail.set_color([_trail_color(k) for k in subpolicy])


def _pose(
    cast: _Cast, ends: np.ndarray, k: int, enemy: np.ndarray | None, items: list[np.ndarray]
) -> None:
    """Shows a step: both ends of the body's parts `[P, 2, 2]`, the sub-policy and all else.

    Items, `[2]` each, have their words over them, so that who carries one is to be seen.
    """
    visible = ends + _LEAST_LENGTH * np.array([[[0.0, 0.0], [1.0, 0.0]]])
    cast.outline.set_segments(list(visible))
    cast.outline.set_color("white")
    cast.body.set_segments(list(visible))
    cast.body.set_color(colors.subpolicy_color(k))
    cast.enemy.set_visible(enemy is not None)
    if enemy is not None:
        cast.enemy.set_center((float(enemy[0]), float(enemy[1])))
    for text, (x, y) in zip(cast.items, items, strict=True):
        text.set_visible(math.isfinite(x))
        if math.isfinite(x):
            text.set_position((x, y))
    cast.label.set_text(f"sub-policy {k}")
    cast.label.set_color(colors.text_color(k))
    cast.label.set_bbox({"boxstyle": "round,pad=0.3", "lw": 0, "fc": colors.subpolicy_color(k)})


def _view(
    figure: Figure, scene: scenery.Scene, path: np.ndarray, size: int, words: Collection[str]
) -> tuple[Axes, list[Rectangle]]:
    """The scene but what moves, to the edges of the figure, whose size is set, but for the header.

    Returns also the ceilings in it.
    """
    axes = figure.add_axes((0, 0, 1, 1))
    if scene.seen_from_side:
        ceilings = scenery.draw_side(axes, scene, path)
        width = 2 * size
        height = 2 * round(size * np.ptp(axes.get_ylim()) / np.ptp(axes.get_xlim()))
    else:
        ceilings = scenery.draw_scene(axes, scene, words)
        scenery.widen(axes, path)
        width = height = size
    figure.set_size_inches(width / _DPI, (height + HEADER) / _DPI)
    axes.set_position((0, 0, 1, height / (height + HEADER)))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes, ceilings


def _lines(axes: Axes, widths: float | np.ndarray, *, snap: bool | None = None) -> LineCollection:
    """Lines with round ends; with `snap` False not moved to whole pixels."""
    lines = LineCollection([], linewidths=widths, capstyle="round", animated=True, snap=snap)
    axes.add_collection(lines, autolim=False)
    return lines


def _trail_color(k: int) -> str:
    """Mixed rather than transparent, since pieces of a path overlap."""
    color, floor = matplotlib.colors.to_rgba_array([colors.subpolicy_color(k), colors.FLOOR])
    return matplotlib.colors.to_hex(_TRAIL_OPACITY * color + (1 - _TRAIL_OPACITY) * floor)


def _clock(step: int, dt: float | None) -> str:
    """What has passed at a step, with all digits in their places."""
    if dt is None:
        return f"step {step:4d}".replace(" ", "\N{FIGURE SPACE}")
    return f"{_padded(step * dt, 1)} s"


def _padded(value: float, decimals: int) -> str:
    """A number with spaces as wide as digits before it, so that nothing jumps as it grows."""
    return f"{value:6.{decimals}f}".replace(" ", "\N{FIGURE SPACE}")


def _palette(frames: list[Image.Image]) -> Image.Image:
    """A palette that suits all frames, as the image that Pillow takes for one."""
    stacked = np.concatenate([np.asarray(frame) for frame in frames])
    return Image.fromarray(stacked).quantize(_PALETTE_SIZE)
