"""Worlds without bodies: what a run shows of real episodes in a browser and in an animation."""

import dataclasses

import numpy as np
import pytest
import worlds
from browser import count, world
from test_animation import SIZE, Animation, map_part, pixel, places

from mlsh_jax.viz import animation, colors, replay, scenery

LOST = [np.nan, np.nan]
ITEMS = {
    "taxi": {"passenger": [[1, -6]] * 6 + [[1, -5], [1, -4], [1, -3], [1, -2], [1, -1], [1, -1]]},
    "key_door": {"key": [[300, 200]] * 3 + [[260, 200]] + [[280, 200 + 20 * n] for n in range(6)]},
    "minigrid_door_key_5x5": {
        "door": [[2, -1]] * 3 + [LOST] * 6,
        "key": [[1, -2]] + [[1, -1]] * 3 + [[2, -1]] + [[3, -1]] * 2 + [[3, -2], [3, -3]],
    },
}
ITEMS["minigrid_mixed"] = ITEMS["minigrid_door_key_5x5"]
"""Where each item is before the first and after each step of the scripts."""


@pytest.fixture(scope="module")
def played():
    """The episodes of all worlds."""
    return {name: worlds.play(name) for name in worlds.WORLDS}


def animated(episode, directory):
    """The frames of its animation."""
    path = directory / "episode.gif"
    animation.write_animation(path, None, episode.recording, episode.scene, size=SIZE)
    return Animation(path).frames


def test_the_agent_of_minigrid_faces_where_it_goes(played):
    facing = [["down"] * 2, ["right"] * 4, ["down"] * 3]
    angles = {"down": -np.pi / 2, "right": 0.0}
    expected = [angles[word] for words in facing for word in words]
    recording = played["minigrid_door_key_5x5"].recording
    np.testing.assert_allclose(recording.heading, expected, atol=1e-6)
    for before, after, angle in zip(recording.q, recording.q[1:], recording.heading, strict=False):
        step = after[:2] - before[:2]
        assert not step.any() or np.allclose(step, [np.cos(angle), np.sin(angle)], atol=1e-6)
    assert played["four_rooms"].recording.heading is None


def test_an_animation_shows_where_the_agent_faces(played, tmp_path):
    episode = played["minigrid_door_key_5x5"]
    frames = animated(episode, tmp_path)

    def is_nose(step, place) -> bool:
        row, column = np.rint(pixel(episode.scene, place)).astype(int)
        color = colors.subpolicy_color(int(episode.recording.subpolicy[step]))
        return (
            len(places(map_part(frames[step])[row - 3 : row + 4, column - 3 : column + 4], color))
            > 10
        )

    down, right = (1, -1.4), (1.4, -1)
    assert [is_nose(0, down), is_nose(0, right)] == [True, False]
    assert [is_nose(2, down), is_nose(2, right)] == [False, True]


@pytest.mark.parametrize("name", ITEMS)
def test_items_lie_are_carried_and_go_away(played, name):
    episode = played[name]
    assert list(episode.scene.items) == list(ITEMS[name])
    for i, path in enumerate(ITEMS[name].values()):
        np.testing.assert_allclose(episode.recording.items[:, i], path, atol=1e-3)


def test_worlds_without_items_have_none(played):
    for name in set(worlds.WORLDS) - set(ITEMS):
        assert played[name].scene.items == () and played[name].recording.items is None


def test_a_mark_with_the_word_of_an_item_is_left_to_it(played):
    def words(marks):
        return [word for _, _, word in marks]

    scene = played["key_door"].scene
    assert words(scene.marks) == ["0", "1", "key"]
    assert words(scenery.marks_beside(scene, scene.items)) == ["0", "1"]
    taxi = played["taxi"].scene
    assert words(scenery.marks_beside(taxi, taxi.items)) == ["R", "G", "Y", "B"]


@pytest.fixture
def open_page(played, chromium, tmp_path):
    """Writes the page of a world and returns what opens it at a step."""

    def open_page(name):
        path = tmp_path / f"{name}.html"
        replay.write_replay(path, None, played[name].recording, played[name].scene, name)

        def at(step):
            chromium.open(f"file://{path}#step={step}&paused")
            return world(chromium)

        return at

    return open_page


def shown_words(chromium):
    """The middle of each word over the world, by word."""
    return chromium.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.word')]"
        ".filter((word) => word.style.display !== 'none').map((word) => {"
        "const {left, right, top, bottom} = word.getBoundingClientRect();"
        "return [word.textContent, [(left + right) / 2, (top + bottom) / 2]]; }))"
    )


@pytest.mark.parametrize("name", worlds.WORLDS)
def test_every_world_is_shown_with_its_agent_and_goal(open_page, played, chromium, name):
    at = open_page(name)
    last = len(played[name].recording.q) - 1
    for step, k in ((0, 0), (last, 1)):
        seen = at(step)
        assert count(seen, colors.subpolicy_color(k)) > 40
        x, y, z = chromium.evaluate("window.replay.torso")
        np.testing.assert_allclose([x, y], played[name].recording.q[step], rtol=1e-4, atol=1e-3)
        assert z == pytest.approx(played[name].scene.agent_radius, rel=1e-3)
    assert count(at(0), colors.GOAL) > 40
    label = chromium.evaluate("document.getElementById('numbers').innerText")
    assert label == f"step 0 of {last + 1} · return 0.00"  # there is no time
    scene = played[name].scene
    marks = {word for _, _, word in scenery.marks_beside(scene, scene.items)}
    assert set(shown_words(chromium)) == marks | set(ITEMS.get(name, {}))


def test_the_passenger_is_over_the_taxi_once_it_has_boarded(open_page, chromium):
    at = open_page("taxi")
    at(3)
    waiting = shown_words(chromium)
    assert abs(waiting["passenger"][0] - waiting["Y"][0]) < 15
    at(11)
    brought = shown_words(chromium)
    assert abs(brought["passenger"][0] - brought["R"][0]) < 15
    assert brought["passenger"][1] < waiting["passenger"][1] - 100
    assert chromium.evaluate("window.replay.items.passenger") == [1, -1]


def test_a_door_is_gone_when_it_is_open(open_page, chromium):
    at = open_page("minigrid_door_key_5x5")
    at(2)
    assert {"door", "key"} <= set(shown_words(chromium))
    at(3)
    assert set(shown_words(chromium)) == {"key"}


def test_words_and_numbers_of_any_kind_do_not_break_a_page(played, chromium, tmp_path):
    four = np.float32(4)
    odd = "</script><!-- $x$ $"
    episode = played["moving_bandits"]
    scene = dataclasses.replace(
        episode.scene, start=(four, four), goal=(four, four), marks=((four, four, odd),)
    )
    replay.write_replay(tmp_path / "odd.html", None, episode.recording, scene, "odd")
    animation.write_animation(tmp_path / "odd.gif", None, episode.recording, scene)
    chromium.open(f"file://{tmp_path}/odd.html#paused")
    assert set(shown_words(chromium)) == {odd}


def test_items_that_were_not_recorded_are_marks(played, chromium, tmp_path):
    episode = played["key_door"]
    unrecorded = dataclasses.replace(episode.recording, items=None)
    replay.write_replay(tmp_path / "marks.html", None, unrecorded, episode.scene, "marks")
    animation.write_animation(tmp_path / "marks.gif", None, unrecorded, episode.scene)
    chromium.open(f"file://{tmp_path}/marks.html#paused")
    assert set(shown_words(chromium)) == {"0", "1", "key"}


def test_a_world_without_time_plays_to_its_end(open_page, chromium):
    open_page("four_rooms")(0)
    chromium.evaluate("document.getElementById('play').click()")
    chromium.wait_for("!window.replay.playing")
    assert chromium.evaluate("window.replay.step") == 4


def test_an_animation_has_the_words_of_items_over_their_places(played, tmp_path):
    episode = played["minigrid_door_key_5x5"]
    frames = animated(episode, tmp_path)

    def is_over(step, place) -> bool:
        row, column = np.rint(pixel(episode.scene, place)).astype(int)
        near = map_part(frames[step])[row - 14 : row + 1, column - 12 : column + 12]
        return len(places(near, colors.START, tolerance=29)) > 60

    assert [is_over(step, (2, -1)) for step in (0, 2, 3)] == [True, True, False]  # the door
    assert [is_over(step, (3, -3)) for step in (0, 7, 8)] == [False, False, True]  # the key
