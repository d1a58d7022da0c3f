"""Replay pages: what they hold, and what a browser shows of them."""

import base64
import dataclasses
import json
import re

import numpy as np
import pytest
from browser import HEIGHT, WIDTH, count, world

from mlsh_jax.viz import bodies, colors, replay

BAR = 76  # pixels below the world


@pytest.fixture(scope="module")
def page(ant, scene, recording, tmp_path_factory):
    """The path of a page."""
    path = tmp_path_factory.mktemp("replay") / "episode.html"
    replay.write_replay(path, ant.sys, recording, scene, "an <ant> & its enemy")
    return path


@pytest.fixture
def show(chromium, page):
    """Opens the page with a hash and returns the browser."""

    def show(fragment):
        chromium.open(f"file://{page}#{fragment}")
        return chromium

    return show


def page_data(path):
    """What the viewer reads."""
    tag = re.search(r'<script type="application/json" id="recording">(.*?)</script>', _text(path))
    return json.loads(tag.group(1))


def _text(path):
    return path.read_text(encoding="utf-8")


def unpack(packed):
    levels = np.frombuffer(base64.b64decode(packed["base64"]), "<u2").reshape(packed["shape"])
    return packed["low"] + packed["unit"] * levels


def test_a_page_opens_from_a_disk_and_asks_for_nothing_else(chromium, page):
    chromium.open(f"file://{page}#paused")
    assert chromium.screenshot().std() > 10
    assert [url.split("#")[0] for url in chromium.requests] == [f"file://{page}"]
    assert chromium.evaluate("document.title") == "an <ant> & its enemy"


def test_a_page_has_no_place_left_to_fill_and_no_address_to_load(page):
    shell = _text(page).replace(replay._asset("three.min.js"), "")
    assert "@@" not in shell and "http" not in shell


def test_the_picture_shows_walls_goal_and_enemy(show):
    seen = world(show("step=0&paused"))
    assert count(seen, colors.WALL) > 2000
    for color in (colors.GOAL, colors.ENEMY):
        assert count(seen, color) > 1000, color


def test_what_a_scene_lacks_is_not_shown(ant, scene, recording, chromium, tmp_path):
    bare = dataclasses.replace(scene, walls=np.zeros((0, 4)), goal=None, enemy_radius=None)
    alone = dataclasses.replace(recording, enemy=None)
    replay.write_replay(tmp_path / "bare.html", ant.sys, alone, bare, "alone")
    chromium.open(f"file://{tmp_path}/bare.html#step=5&paused")
    seen = world(chromium)
    assert count(seen, colors.WALL) < 200  # the mark at the start has the same hue
    for color in (colors.GOAL, colors.ENEMY):
        assert count(seen, color) == 0, color
    assert count(seen, colors.subpolicy_color(0)) > 0
    legend = chromium.evaluate("document.getElementById('legend').innerText").split("\n")
    assert legend == ["sub-policy 0", "sub-policy 1"]


def test_a_ceiling_is_over_the_floor_and_seen_through(ant, scene, recording, chromium, tmp_path):
    open_sky = dataclasses.replace(scene, walls=np.zeros((0, 4)), goal=None)
    roofed = dataclasses.replace(open_sky, ceilings=np.array([[2.0, 0.0, 8.0, 4.0, 1.5, 2.0]]))
    alone = dataclasses.replace(recording, enemy=None)
    seen = []
    for name, world_of in (("open", open_sky), ("roofed", roofed)):
        replay.write_replay(tmp_path / f"{name}.html", ant.sys, alone, world_of, name)
        chromium.open(f"file://{tmp_path}/{name}.html#step=5&paused")
        seen.append(world(chromium))
    darker = seen[0][..., 2] - seen[1][..., 2] > 0.05
    assert darker.sum() > 2000
    blue = colors.subpolicy_color(0)
    assert 0 < count(seen[1], blue) <= count(seen[0], blue)


def test_a_ceiling_is_seen_only_while_it_is_there(ant, scene, recording, chromium, tmp_path):
    roof = np.array([[2.0, 0.0, 8.0, 4.0, 1.5, 2.0]])
    roofed_scene = dataclasses.replace(scene, walls=np.zeros((0, 4)), goal=None, ceilings=roof)
    roofed = np.arange(len(recording.q)) >= 6
    alone = dataclasses.replace(recording, enemy=None, roofed=roofed)
    replay.write_replay(tmp_path / "roof.html", ant.sys, alone, roofed_scene, "roof")
    seen = []
    for step in (5, 6):
        chromium.open(f"file://{tmp_path}/roof.html#step={step}&paused")
        seen.append(world(chromium))
    assert (seen[0][..., 2] - seen[1][..., 2] > 0.05).sum() > 2000


@pytest.mark.parametrize("step, k", [(5, 0), (45, 1), (75, 0)])
def test_the_body_and_the_label_say_which_sub_policy_is_active(show, step, k):
    seen = world(show(f"step={step}&paused&follow"))
    row, column = (HEIGHT - BAR) // 2, WIDTH // 2
    torso = seen[row - 8 : row + 8, column - 8 : column + 8]
    assert count(torso, colors.subpolicy_color(k)) > 100
    assert count(torso, colors.subpolicy_color(1 - k)) == 0
    label = show(f"step={step}&paused").evaluate("document.getElementById('subpolicy').innerText")
    assert label == f"sub-policy {k}"


def test_the_trail_grows_with_time(show):
    orange = colors.subpolicy_color(1)
    first_leg, second_leg, third_leg = (
        count(world(show(f"step={step}&paused")), orange) for step in (29, 59, 89)
    )
    assert first_leg == 0
    assert second_leg > 20 and third_leg > 20  # the trail stays


def test_the_label_says_time_return_and_whether_the_goal_is_reached(
    ant, scene, recording, chromium, tmp_path
):
    at_goal = np.array(recording.q)
    at_goal[40:, :2] = scene.goal
    path = tmp_path / "goal.html"
    arrives = dataclasses.replace(recording, q=at_goal)
    replay.write_replay(path, ant.sys, arrives, scene, "arrives")
    texts = []
    for step in (39, 40):
        chromium.open(f"file://{path}#step={step}&paused")
        texts.append(chromium.evaluate("document.getElementById('label').innerText"))
    assert "1.95 s · step 39 of 90 · return 40.0" in texts[0] and "goal" not in texts[0]
    assert "2.00 s · step 40 of 90 · return 41.0" in texts[1] and "in the goal" in texts[1]


def test_the_hash_the_slider_and_the_arrow_keys_choose_the_step(show):
    chromium = show("step=45&paused")

    def shown():
        chromium.screenshot()
        step = chromium.evaluate("window.replay.step")
        assert chromium.evaluate("Number(document.getElementById('slider').value)") == step
        return step

    def press(key):
        chromium.evaluate(f"window.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")

    assert shown() == 45
    chromium.evaluate(
        "const slider = document.getElementById('slider'); slider.value = 12;"
        "slider.dispatchEvent(new Event('input'))"
    )
    assert shown() == 12
    press("ArrowRight")
    assert shown() == 13
    press("ArrowLeft")
    assert shown() == 12
    chromium.evaluate("location.hash = '#step=1000&paused'")
    chromium.wait_for("window.replay.step === 89")
    assert shown() == 89  # the last one


def test_it_plays_in_real_time_to_the_end_and_starts_again(show):
    chromium = show("step=80")
    chromium.wait_for("!window.replay.playing")
    assert chromium.evaluate("window.replay.step") == 89
    chromium.evaluate("document.getElementById('play').click()")
    assert chromium.evaluate("window.replay.playing && window.replay.step < 10")
    chromium.evaluate("document.getElementById('play').click()")
    assert not chromium.evaluate("window.replay.playing")


def test_the_browser_has_the_torso_where_the_recording_has_it(show, recording):
    for step in (0, 44, 89):
        torso = show(f"step={step}&paused").evaluate("window.replay.torso")
        np.testing.assert_allclose(torso, recording.q[step, :3], atol=1e-3)


def test_poses_come_out_of_a_page_as_they_went_in(ant, recording, page):
    data = page_data(page)
    position, rotation = bodies.link_poses(ant.sys, recording.q)
    arrays = {"position": position, "rotation": rotation, "enemy": recording.enemy}
    for name, array in arrays.items():
        unit = data[name]["unit"]
        assert unit == pytest.approx(np.ptp(array) / 65535)
        np.testing.assert_allclose(unpack(data[name]), array, atol=0.501 * unit)
    assert data["position"]["unit"] < 0.001
    assert data["subpolicy"] == recording.subpolicy.tolist()


def test_an_array_of_one_value_survives_packing():
    np.testing.assert_array_equal(unpack(replay._pack(np.full((3, 2), 0.25))), 0.25)


def test_a_page_is_as_small_as_promised(ant, scene, record, page, tmp_path):
    long = tmp_path / "long.html"
    replay.write_replay(long, ant.sys, record(430), scene, "long")
    short_size, long_size = page.stat().st_size, long.stat().st_size
    assert short_size < 0.65e6
    assert long_size - short_size < 0.2e6 * (3 * 430 - 90) / 1000


@pytest.mark.parametrize("name", ["subpolicy", "reward", "enemy", "roofed"])
def test_arrays_of_different_lengths_are_refused(recording, name):
    recording = dataclasses.replace(recording, roofed=np.ones(len(recording.q), bool))
    with pytest.raises(ValueError, match=f"{name} has 89 steps, q has 90"):
        dataclasses.replace(recording, **{name: getattr(recording, name)[:-1]})
