"""Animated GIFs: their length and size, and what their frames show."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from envs.scene import NO_WALLS, Scene
from mlsh_jax.viz import animation, colors
from mlsh_jax.viz.replay import Recording

SIZE = 480
REACH = 13  # pixels from the torso to the end of a leg


class Animation:
    """All frames of a GIF, uint8 [F, height, width, 3], and how long each is shown."""

    def __init__(self, path):
        gif = Image.open(path)
        assert gif.format == "GIF"
        self.loop = gif.info.get("loop")
        frames, self.milliseconds = [], []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")))
            self.milliseconds.append(gif.info.get("duration"))
        self.frames = np.stack(frames)


def places(picture: np.ndarray, color: str, tolerance: int = 12) -> np.ndarray:
    """Rows and columns [P, 2] of the pixels in a color."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return np.argwhere((np.abs(picture.astype(int) - rgb) <= tolerance).all(axis=-1))


def header(frame: np.ndarray) -> np.ndarray:
    return frame[: animation.HEADER]


def map_part(frame: np.ndarray) -> np.ndarray:
    return frame[animation.HEADER :]


def pixel(scene, xy) -> np.ndarray:
    """Row and column of a place on the map, which is wider than the scene by 1.5 on each side."""
    x_min, x_max, _, y_max = scene.bounds
    scale = SIZE / (x_max - x_min + 3)
    return np.array([y_max + 1.5 - xy[1], xy[0] - x_min + 1.5]) * scale


@pytest.fixture(scope="module")
def played(ant, scene, recording, tmp_path_factory):
    """Every third step of the recording, and the last: 0, 3, ..., 87, 89."""
    path = tmp_path_factory.mktemp("animation") / "episode.gif"
    animation.write_animation(path, ant.sys, recording, scene, size=SIZE, seconds=1.5)
    return Animation(path)


def test_every_nth_step_and_the_last_are_shown(played):
    assert played.frames.shape == (31, SIZE + animation.HEADER, SIZE, 3)


def test_it_plays_for_the_time_asked_for_and_waits_before_it_starts_again(played):
    assert set(played.milliseconds[:-1]) == {50}
    assert played.milliseconds[-1] > 1000
    assert played.loop == 0


@pytest.mark.parametrize("frame, k", [(2, 0), (15, 1), (28, 0)])
def test_the_label_and_the_body_have_the_color_of_the_active_sub_policy(
    played, recording, scene, frame, k
):
    active, other = colors.subpolicy_color(k), colors.subpolicy_color(1 - k)
    picture = played.frames[frame]
    assert len(places(header(picture), active)) > 500
    assert not len(places(header(picture), other))
    body = places(map_part(picture), active)
    assert len(body) > 3
    torso = pixel(scene, recording.q[3 * frame, :2])
    assert np.linalg.norm(body - torso, axis=1).max() < REACH  # the trail is paler


def test_the_trail_shows_who_led_where(played, recording, scene):
    def shade_at(step, frame=-1):
        row, column = np.rint(pixel(scene, recording.q[step, :2])).astype(int)
        return map_part(played.frames[frame])[row, column].astype(int)

    for step, k in ((10, 0), (45, 1), (70, 0)):
        red, _, blue = shade_at(step)
        assert (blue > red + 40) if k == 0 else (red > blue + 40)
    floor = [int(colors.FLOOR[i : i + 2], 16) for i in (1, 3, 5)]
    np.testing.assert_allclose(shade_at(45, frame=5), floor, atol=6)  # not there yet


def test_walls_and_goal_stay_and_the_enemy_moves(played, recording, scene):
    for color in (colors.WALL, colors.GOAL):
        assert len(places(map_part(played.frames[0]), color)) > 200
    for frame, step in ((0, 0), (30, 89)):
        center = places(map_part(played.frames[frame]), colors.ENEMY).mean(axis=0)
        np.testing.assert_allclose(center, pixel(scene, recording.enemy[step]), atol=1.5)


def test_a_body_that_leaves_the_scene_stays_in_the_picture(ant, scene, recording, tmp_path):
    far = np.array(recording.q)
    far[:, 0] *= 3
    path = tmp_path / "episode.gif"
    away = dataclasses.replace(recording, q=far, enemy=None)
    animation.write_animation(path, ant.sys, away, scene, size=SIZE, seconds=0.1)
    last = map_part(Animation(path).frames[-1])
    assert len(places(last, colors.subpolicy_color(0), tolerance=40))
    assert not len(places(last, colors.ENEMY))


def test_an_episode_of_one_step_is_a_picture(ant, scene, recording, tmp_path):
    first = {name: getattr(recording, name)[:1] for name in ("q", "subpolicy", "reward", "enemy")}
    path = tmp_path / "episode.gif"
    one = dataclasses.replace(recording, **first)
    animation.write_animation(path, ant.sys, one, scene, size=SIZE)
    (picture,) = Animation(path).frames
    assert len(places(picture, colors.ENEMY)) > 200


def test_from_the_side_it_shows_heights_the_floor_and_ceilings(ant, scene, recording, tmp_path):
    ceilings = np.array([[20.0, 0.0, 5.0, 3.0, 2.0, 4.0]])
    side = dataclasses.replace(
        scene,
        walls=NO_WALLS,
        bounds=(-1.0, 29.0, -1.0, 1.0),
        ceilings=ceilings,
        seen_from_side=True,
        marks=((27.0, 0.0, "mark"),),
    )
    rising = np.array(recording.q)
    rising[:, 0] = np.linspace(0, 8, len(rising))
    rising[:, 2] = np.linspace(0.5, 3.0, len(rising))
    recording = dataclasses.replace(recording, q=rising, enemy=None)
    path = tmp_path / "episode.gif"
    animation.write_animation(path, ant.sys, recording, side, size=SIZE, seconds=1.0)
    frames = Animation(path).frames
    scale = 2 * SIZE / 32  # a unit of space on both sides
    left, top = -2.0, 4.0 + 0.6
    height = animation.HEADER + (top + 0.3) * scale
    np.testing.assert_allclose(frames.shape[1:3], (height, 2 * SIZE), atol=1)

    def place(x, z):
        return tuple(np.rint([(top - z) * scale, (x - left) * scale]).astype(int))

    last = map_part(frames[-1]).astype(int)
    floor, below, ceiling = last[place(12, 0.5)], last[place(12, -0.2)], last[place(20, 3)]
    assert floor.min() > 235 and below.max() < floor.min() and ceiling.max() < below.min()
    np.testing.assert_allclose(last[place(20, 1.5)], floor, atol=6)
    for frame, step in ((0, 0), (-1, -1)):
        color = colors.subpolicy_color(int(recording.subpolicy[step]))
        body = places(map_part(frames[frame]), color)
        # The ant's legs reach less than a unit up and down.
        np.testing.assert_allclose(body.mean(axis=0), place(*rising[step, [0, 2]]), atol=scale / 2)


@pytest.mark.parametrize(("seen_from_side", "size"), [(False, (10, 6)), (True, (10, 2))])
def test_a_ceiling_is_seen_only_while_it_is_there(
    seen_from_side, size, ant, scene, recording, tmp_path
):
    roof = dataclasses.replace(
        scene,
        walls=NO_WALLS,
        goal=None,
        ceilings=np.array([[20.0, 20.0, 5.0, 3.0, 2.0, 4.0]]),
        seen_from_side=seen_from_side,
    )
    roofed = np.arange(len(recording.q)) >= len(recording.q) // 2
    alone = dataclasses.replace(recording, enemy=None, roofed=roofed)
    path = tmp_path / "episode.gif"
    animation.write_animation(path, ant.sys, alone, roof, size=SIZE, seconds=1.0)
    width = scene.bounds[1] - scene.bounds[0]
    scale = 2 * SIZE / (width + 2) if seen_from_side else SIZE / (width + 3)
    # Above the body and its trail: over a height of 1.8, or beyond y = 16.
    above = round((4.6 - 1.8 if seen_from_side else scene.bounds[3] + 1.5 - 16) * scale)
    frames = map(map_part, Animation(path).frames)
    first, *_, last = pictures = [frame[:above].astype(int) for frame in frames]
    darker = ((first - last) > 20).all(axis=-1)
    assert darker.sum() == pytest.approx(np.prod(size) * scale**2, rel=0.05)
    is_dark = [not (picture[darker] == first[darker]).all() for picture in pictures]
    assert is_dark == sorted(is_dark) and 8 < sum(is_dark) < 13  # of 20


def test_a_long_episode_fits_into_a_readme(ant, scene, record, tmp_path):
    path = tmp_path / "episode.gif"
    animation.write_animation(path, ant.sys, record(667), scene)
    assert path.stat().st_size < 3e6
    animation_seconds = sum(Animation(path).milliseconds) / 1000
    assert 10 < animation_seconds < 15


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """A point that goes right and then down in a world without time: scene, path, animation."""
    xy = np.array([[0, 0], [10, 0], [20, 0], [20, -10], [20, -20]], float)
    scene = Scene(
        walls=NO_WALLS,
        start=(0.0, 0.0),
        bounds=(-48.5, 48.5, -48.5, 48.5),
        goal=(-30.0, 30.0),
        marks=((30.0, 30.0, "A"),),
        agent_radius=4.0,
    )
    recording = Recording(
        q=xy,
        subpolicy=np.array([0, 0, 0, 1, 1]),
        reward=np.arange(5.0),
        enemy=None,
        dt=None,
    )
    path = tmp_path_factory.mktemp("walk") / "episode.gif"
    animation.write_animation(path, None, recording, scene, size=SIZE)
    return scene, xy, Animation(path)


def test_an_agent_without_a_body_is_a_disc_in_the_color_of_its_sub_policy(walk):
    scene, xy, played = walk
    for frame, k in enumerate((0, 0, 0, 1, 1)):
        disc = places(map_part(played.frames[frame]), colors.subpolicy_color(k))
        np.testing.assert_allclose(disc.mean(axis=0), pixel(scene, xy[frame]), atol=1.5)
        radius = 4.0 * SIZE / 100
        assert len(disc) == pytest.approx(np.pi * radius**2, rel=0.15)


def test_each_step_of_a_path_has_the_color_of_who_led_there(walk):
    scene, _, played = walk
    for place, k in (((5, 0), 0), ((14, 0), 0), ((20, -6), 1), ((20, -14), 1)):
        row, column = np.rint(pixel(scene, place)).astype(int)
        near = map_part(played.frames[-1])[row - 1 : row + 2, column - 1 : column + 2]
        red, _, blue = near.reshape(-1, 3)[np.ptp(near, axis=-1).argmax()].astype(int)
        assert (blue > red + 40) if k == 0 else (red > blue + 40), place


def test_a_world_without_time_plays_slowly_enough_to_follow(walk):
    _, _, played = walk
    assert len(played.frames) == 5
    assert set(played.milliseconds[:-1]) == {150}


def test_a_long_episode_in_a_world_without_time_takes_no_longer_than_others(walk, tmp_path):
    scene, xy, _ = walk
    length = 900
    long = Recording(
        q=np.resize(xy, (length, 2)),
        subpolicy=np.zeros(length, int),
        reward=np.zeros(length),
        enemy=None,
        dt=None,
    )
    path = tmp_path / "episode.gif"
    animation.write_animation(path, None, long, scene, size=SIZE)
    assert 10 < sum(Animation(path).milliseconds) / 1000 < 15
