"""The rules, the views and the layouts of minigrid_*, beside the package `minigrid` itself."""

from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import minigrid  # noqa: F401  (registers its environments)
import numpy as np
import pytest
from minigrid.core.constants import IDX_TO_OBJECT, OBJECT_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import Wall

import envs
from envs.grids.minigrid.plans import fewest_steps
from envs.grids.minigrid.rules import DONE, FORWARD, NOWHERE, PICK_UP, TOGGLE, Layout, act, begin
from envs.grids.minigrid.tasks import UNIT
from envs.grids.minigrid.view import visible

IDS = {
    "minigrid_empty": "MiniGrid-Empty-8x8-v0",
    "minigrid_door_key_5x5": "MiniGrid-DoorKey-5x5-v0",
    "minigrid_four_rooms": "MiniGrid-FourRooms-v0",
}
OPTIONS = {"minigrid_empty": {"agent_start_pos": None}}
MIXED = "minigrid_mixed"
OF_USE = {"key": PICK_UP, "door": TOGGLE, "empty": FORWARD, "goal": FORWARD}


class Recorded(NamedTuple):
    """What the package did with a sequence of actions, up to the end of the episode.

    Attributes:
        layout: of the episode, without padding.
        actions: int [t].
        images: of the reset and after each action, int [t + 1, 7, 7, 3].
        directions: int [t + 1].
        rewards: float32 [t].
        terminated: bool [t].
        truncated: bool [t].
    """

    layout: Layout
    actions: np.ndarray
    images: np.ndarray
    directions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


def original(name, **options):
    """The package's environment, without checks; `options` in addition to ours."""
    return gymnasium.make(IDS[name], **OPTIONS.get(name, {}), **options).unwrapped


def layout_of(env) -> Layout:
    """The layout that an environment of the package is in after a reset."""
    kinds = env.grid.encode()[..., 0].T  # by row and column

    def place(kind):
        cells = np.argwhere(kinds == OBJECT_TO_IDX[kind])[:, ::-1]
        return np.array(cells[0] if len(cells) else NOWHERE, np.int32)

    return Layout(
        walls=kinds == OBJECT_TO_IDX["wall"],
        goal=place("goal"),
        door=place("door"),
        key=place("key"),
        start=np.array(env.agent_pos, np.int32),
        start_direction=np.int32(env.agent_dir),
        see_through=np.bool_(env.see_through_walls),
    )


def record(env, seed, num_actions) -> Recorded:
    """Resets an environment of the package with a seed and plays to the end of the episode.

    Half of the actions are what is of use with what is in front, if anything is, all others random:
    else few sequences would get through a door.
    """
    draw = np.random.default_rng(seed)
    actions = draw.integers(7, size=num_actions)
    seen = [env.reset(seed=seed)[0]]
    layout, outcomes = layout_of(env), []
    for index in range(num_actions):
        if draw.random() < 0.5:
            front = seen[-1]["image"][3, 5, 0]
            actions[index] = OF_USE.get(IDX_TO_OBJECT[front], actions[index])
        observation, *outcome, _ = env.step(actions[index])
        seen.append(observation)
        outcomes.append(outcome)
        if any(outcome[1:]):
            break
    rewards, terminated, truncated = (np.array(each) for each in zip(*outcomes, strict=True))
    return Recorded(
        layout=layout,
        actions=actions[: len(outcomes)],
        images=np.array([each["image"] for each in seen], int),
        directions=np.array([each["direction"] for each in seen]),
        rewards=rewards.astype(np.float32),
        terminated=terminated,
        truncated=truncated,
    )


def replay(name, recorded):
    """Ours in the same layouts with the same actions: observations, rewards, ends, [R, T + 1]."""
    env = envs.make(name)
    size = env.sample_task(jax.random.key(0)).walls.shape
    longest = max(len(each.actions) for each in recorded)

    def padded(layout):
        missing = np.subtract(size, layout.walls.shape)
        walls = np.pad(layout.walls, [(0, n) for n in missing], constant_values=True)
        return layout.replace(walls=walls)

    tasks = jax.tree.map(lambda *leaves: np.stack(leaves), *(padded(r.layout) for r in recorded))
    actions = np.stack([np.pad(r.actions, (0, longest - len(r.actions))) for r in recorded])

    def play(task, actions):
        first = env.reset_to_task(jax.random.key(0), task)

        def step(state, action):
            state = env.step(state, action)
            return state, kept(state)

        _, after = jax.lax.scan(step, first, actions)
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), kept(first), after)

    def kept(state):
        return state.obs, state.reward, state.info["terminated"], state.info["truncated"]

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(play))(tasks, actions))


def assert_equal_at_every_step(name, recorded):
    observations, rewards, terminated, truncated = replay(name, recorded)
    for index, theirs in enumerate(recorded):
        steps = len(theirs.actions)
        ours = observations[index, : steps + 1]
        images = np.moveaxis(UNIT * ours[:, :-4].reshape(-1, 3, 7, 7), 1, -1)
        np.testing.assert_array_equal(images, theirs.images, f"images of {name}, {index}")
        np.testing.assert_array_equal(ours[:, -4:], np.eye(4)[theirs.directions])
        np.testing.assert_array_equal(rewards[index, 1 : steps + 1], theirs.rewards)
        np.testing.assert_array_equal(terminated[index, 1 : steps + 1], theirs.terminated)
        # Who enters the goal in the last step has not run out of time here.
        out_of_time = theirs.truncated & ~theirs.terminated
        np.testing.assert_array_equal(truncated[index, 1 : steps + 1], out_of_time)


def events(recorded):
    """What happened, or was seen, in recorded sequences: nothing is compared that nobody did."""
    kinds, states = (np.concatenate([r.images[..., i] for r in recorded]) for i in (0, 2))
    had, has = (
        np.concatenate([r.images[i : len(r.actions) + i, 3, 6, 0] for r in recorded])
        == OBJECT_TO_IDX["key"]
        for i in (0, 1)
    )
    is_door = kinds == OBJECT_TO_IDX["door"]
    return {
        "picks up": (has & ~had).any(),
        "drops": (had & ~has).any(),
        **{f"door {state}": (is_door & (states == state)).any() for state in range(3)},
        "hidden": (kinds == OBJECT_TO_IDX["unseen"]).any(),
        "arrives": any(r.terminated.any() for r in recorded),
        "runs out of time": any((r.truncated & ~r.terminated).any() for r in recorded),
    }


def test_the_mix_plays_as_the_package_does():
    limit = envs.make(MIXED).episode_length
    origins = {name: original(name, max_steps=limit) for name in IDS}
    recorded = [record(env, seed, 80) for env in origins.values() for seed in range(12)]
    recorded.append(record(origins["minigrid_four_rooms"], 12, limit))
    assert all(events(recorded).values()), events(recorded)
    assert any(r.terminated.any() for r in recorded if r.layout.door[0] > 0)
    assert_equal_at_every_step(MIXED, recorded)


@pytest.mark.slow
@pytest.mark.parametrize("name", IDS)
def test_thousands_of_sequences_are_played_as_the_package_does(name):
    env, limit = original(name), envs.make(name).episode_length
    assert env.max_steps == limit
    recorded = [record(env, seed, limit) for seed in range(1000)]
    happened = events(recorded)
    if name != "minigrid_door_key_5x5":
        happened = {what: happened[what] for what in ("arrives", "runs out of time")}
    assert all(happened.values()), happened
    assert_equal_at_every_step(name, recorded)


@pytest.mark.slow
def test_thousands_of_sequences_are_played_in_the_mix_as_well():
    limit = envs.make(MIXED).episode_length
    origins = [original(name, max_steps=limit) for name in IDS]
    recorded = [record(env, seed, limit) for env in origins for seed in range(1000, 1400)]
    assert_equal_at_every_step(MIXED, recorded)


def test_walls_hide_what_they_hide_in_the_package():
    draw = np.random.default_rng(0)
    is_clear = draw.random((400, 7, 7)) < draw.random((400, 1, 1))
    seen = jax.jit(jax.vmap(visible))(is_clear)
    for ours, clear in zip(np.asarray(seen), is_clear, strict=True):
        grid = Grid(7, 7)
        for column, row in np.argwhere(~clear):
            grid.set(column, row, Wall())
        np.testing.assert_array_equal(ours, grid.process_vis((3, 6)))


def draws(name, count) -> Layout:
    """Layouts `[count]` of ours."""
    keys = jax.random.split(jax.random.key(0), count)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(envs.make(name).sample_task))(keys))


def resets(name, count) -> Layout:
    """Layouts `[count]` of the package."""
    env, found = original(name), []
    for seed in range(count):
        env.reset(seed=seed)
        found.append(layout_of(env))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def assert_drawn_alike(ours, theirs):
    """Every number of a layout has the same range in both, and the same mean but for chance."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        a, b = a.astype(float), b.astype(float)
        np.testing.assert_array_equal(
            (a.min(axis=0), a.max(axis=0)), (b.min(axis=0), b.max(axis=0))
        )
        error = a.std(axis=0) * (1 / len(a) + 1 / len(b)) ** 0.5
        assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) <= 4.5 * error).all()


def different(layouts):
    """The set of layouts among `[count]`."""
    rows = [leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(layouts)]
    return set(map(np.ndarray.tobytes, np.concatenate(rows, axis=1)))


@pytest.mark.parametrize(
    ("name", "number"), [("minigrid_empty", 140), ("minigrid_door_key_5x5", 48)]
)
def test_every_layout_of_a_small_room_is_drawn_as_in_the_package(name, number):
    ours, theirs = draws(name, 2000), resets(name, 300)
    assert len(different(ours)) == number
    assert different(theirs) <= different(ours)
    assert_drawn_alike(ours, theirs)


@pytest.mark.slow
def test_four_rooms_are_drawn_as_in_the_package():
    ours = draws("minigrid_four_rooms", 20_000)
    assert_drawn_alike(ours, resets("minigrid_four_rooms", 300))
    ever_free = np.argwhere(~ours.walls.all(axis=0))[:, ::-1]  # gaps, too
    for place in (ours.start, ours.goal):
        np.testing.assert_array_equal(np.unique(place, axis=0), np.unique(ever_free, axis=0))
    assert (ours.start != ours.goal).any(axis=1).all()


@pytest.mark.slow
def test_a_third_of_the_mix_is_each_of_the_three_and_wall_around_it():
    mixed = draws(MIXED, 10_000)
    is_kind = {
        "minigrid_empty": mixed.see_through,
        "minigrid_door_key_5x5": mixed.door[:, 0] > 0,
        "minigrid_four_rooms": ~mixed.see_through & (mixed.door[:, 0] < 0),
    }
    for name, chosen in is_kind.items():
        assert abs(chosen.mean() - 1 / 3) < 0.02
        alone = draws(name, 10_000)
        height, width = alone.walls.shape[1:]
        layouts = jax.tree.map(lambda x, chosen=chosen: x[chosen], mixed)
        assert layouts.walls[:, height:].all() and layouts.walls[:, :, width:].all()
        assert_drawn_alike(layouts.replace(walls=layouts.walls[:, :height, :width]), alone)


def fewest_steps_of_any_actions(task, at_most):
    """Steps until the goal is entered, by trying all seven actions in all worlds so far."""
    size = 2048
    act_all = jax.jit(jax.vmap(jax.vmap(act, in_axes=(None, None, 0)), in_axes=(None, 0, None)))
    worlds, seen = jax.tree.map(lambda x: np.asarray(x)[None], begin(task)), set()
    for steps in range(1, at_most + 1):
        count = len(worlds.direction)
        padded = jax.tree.map(lambda x, n=count: np.resize(x, (size, *x.shape[1:])), worlds)
        assert count <= size
        after, arrives = jax.tree.map(np.asarray, act_all(task, padded, jnp.arange(DONE + 1)))
        if arrives[:count].any():
            return steps
        flat = jax.tree.map(lambda x, n=count: x[:n].reshape(n * (DONE + 1), *x.shape[2:]), after)
        flat = flat.replace(steps=np.zeros_like(flat.steps))
        rows = [b"".join(np.asarray(leaf[i]).tobytes() for leaf in jax.tree.leaves(flat))
                for i in range(len(flat.direction))]  # fmt: skip
        new = [i for i, row in enumerate(rows) if row not in seen and not seen.add(row)]
        worlds = jax.tree.map(lambda x, new=new: x[new], flat)
    return None


@pytest.mark.parametrize(("name", "count"), [(n, 8) for n in IDS] + [(MIXED, 6)])
def test_nobody_is_sooner_in_the_goal_than_the_plan(name, count):
    env = envs.make(name)
    layouts = draws(name, count)
    for i in range(count):
        task = jax.tree.map(lambda x, i=i: x[i], layouts)
        steps = fewest_steps_of_any_actions(task, at_most=60)
        paid = np.float32(1 - 0.9 * steps / env.episode_length)
        assert fewest_steps(task) == steps
        assert env.best_return_of(task) == paid
        assert env.best_return_of(task, steps) == paid
        assert env.best_return_of(task, steps - 1) == 0.0


def test_a_goal_behind_walls_cannot_be_reached():
    task = jax.tree.map(lambda x: x[0], draws("minigrid_empty", 1))
    task = task.replace(start=np.array([1, 1], np.int32), start_direction=np.int32(0))
    walls = task.walls.copy()
    walls[2:, 5] = True  # a gap is left in the first row
    assert fewest_steps(task.replace(walls=walls)) == 5 + 1 + 5
    walls[1, 5] = True
    assert fewest_steps(task.replace(walls=walls)) is None
    assert envs.make("minigrid_empty").best_return_of(task.replace(walls=walls)) == 0.0


def test_pictures_show_the_grid_from_above():
    env = envs.make(MIXED)
    walls = np.ones((19, 19), bool)
    walls[1:4, [1, 3]], walls[2, 2] = False, False
    layout = Layout(
        walls=walls,
        goal=np.array([3, 3]),
        door=np.array([2, 2]),
        key=np.array([1, 3]),
        start=np.array([1, 1]),
        start_direction=np.int32(0),
        see_through=np.bool_(False),
    )
    scene = env.scene(layout)
    cells = {(x, y) for x, y, *half in scene.walls.tolist() if half == [0.5, 0.5]}
    assert len(cells) == len(scene.walls) == 25 - 7
    assert {(0, 0), (4, -4), (2, -1), (2, -3)} <= cells
    assert (scene.start, scene.goal, scene.goal_radius) == ((1, -1), (3, -3), 0.5)
    assert scene.bounds == (-0.5, 4.5, -4.5, 0.5)
    assert scene.marks == ((2, -2, "door"), (1, -3, "key"))
    assert env.scene(layout.replace(door=np.array(NOWHERE), key=np.array(NOWHERE))).marks == ()
