import jax
import jax.numpy as jnp
import numpy as np
import pytest
from courses import MAZES, PLACES, as_maze, least_gaps, reachable

import envs
from envs.locomotion import ant_maze, walls

# DESIGN section 3: goal and rows of cells, 0 open.
TRAINING = (
    "(8,24) 011/011/111 · (8,-24) 111/011/011 · (24,24) 101/001/111 · (24,-24) 111/001/101 · "
    "(48,0) 111/000/111 · (40,24) 110/000/111 · (40,-24) 111/000/110 · (32,16) 001/011/111 · "
    "(32,-16) 111/011/001"
)
UNSEEN = "(40,24) 000/011/111 · (40,-24) 111/011/000 · (40,24) 100/001/111 · (40,-24) 111/001/100"
ROUTE = {"up": (0, 16), "down": (0, -16), "right": (16, 0)}
SPEEDS = (3.0, 9.0, 9.0)

# Layout, where an ant stands and the direction of its push: faces and corners of blocks, where
# slits have been closed (between blocks, and to the outer wall), the border of the arena.
PUSHES = (
    ("right_up", (14.0, 7.0), (0, 1)),
    ("right_up", (14.3, 7.1), (1, 1)),
    ("right_up", (17.0, 9.6), (-1, -1)),
    ("right_up", (31.0, -7.0), (1, -1)),
    ("right_up", (16.0, -7.0), (0, -1)),
    ("right_up", (31.0, 8.0), (1, 0)),
    ("right_up", (31.0, 22.4), (1, 1)),
    ("right_up", (1.6, 7.0), (-1, 1)),
    ("up", (14.2, 8.0), (1, 0)),
    ("up", (14.2, 22.5), (1, 1)),
    ("right_right", (46.4, -7.0), (1, -1)),
    ("right_right", (32.0, 7.1), (0, 1)),
    ("up_right_right", (46.6, 9.0), (1, -1)),
    ("right_down_right", (33.8, -9.6), (-1, 1)),
    ("big", (8.5, -21.5), (1, 1)),
    ("course", (28.5, 24.5), (1, 1)),
)


def _layouts(text):
    pairs = [entry.split() for entry in text.split(" · ")]
    return [(tuple(float(x) for x in goal.strip("()").split(",")), rows) for goal, rows in pairs]


def _open_centers(rows):
    cells = [(r, c) for r, row in enumerate(rows.split("/")) for c in range(3) if row[c] == "0"]
    return np.array([(8 + 16 * c, 16 - 16 * r) for r, c in cells])


def _pushed(play, pushes):
    q, qd = play.standing([position for _, position, _ in pushes] * len(SPEEDS))
    directions = np.array([direction for _, _, direction in pushes] * len(SPEEDS))
    qd[:, :2] = directions * np.repeat(SPEEDS, len(pushes))[:, None]
    return q, qd


def _tasks(names):
    """The maze tasks of places by name, along a leading axis; courses as if they were mazes."""
    rows = [
        ant_maze.MazeTask(np.array(PLACES[n].goal, np.float32), as_maze(PLACES[n].walls))
        for n in names
    ]
    return jax.tree.map(lambda *x: np.stack(x), *rows)


def _assert_free(names, seen):
    for name, path in zip(names, seen["q"][..., :2], strict=True):
        place = PLACES[name]
        assert (least_gaps(place.walls, path) > 0).all(), name
        assert walls.crossings(place.walls, path) == 0, name
        x0, x1, y0, y1 = place.arena
        assert (path > (x0, y0)).all(), name
        assert (path < (x1, y1)).all(), name


@pytest.mark.parametrize(("layouts", "text"), [("training", TRAINING), ("unseen", UNSEEN)])
def test_layouts_and_goals_are_the_released_ones(layouts, text):
    env = envs.make("ant_maze", layouts=layouts)
    assert [(maze.goal, maze.blocked) for maze in ant_maze.LAYOUTS[layouts]] == _layouts(text)
    assert env.task_names == tuple(maze.name for maze in ant_maze.LAYOUTS[layouts])
    goals = np.array([goal for goal, _ in _layouts(text)])
    np.testing.assert_array_equal(env.all_tasks().goal, goals)
    drawn = jax.vmap(env.sample_task)(jax.random.split(jax.random.key(0), 100))
    assert {tuple(g) for g in np.asarray(drawn.goal)} == {tuple(g) for g in goals}


def test_unseen_mazes_are_none_of_those_to_learn_on():
    training, unseen = (
        {maze.blocked for maze in ant_maze.LAYOUTS[s]} for s in ("training", "unseen")
    )
    assert (len(training), len(unseen)) == (9, 4)
    assert not training & unseen


@pytest.mark.parametrize("maze", MAZES, ids=lambda maze: maze.name)
def test_name_is_the_way_through_the_open_cells(maze):
    steps = [ROUTE[word] for word in maze.name.split("_")]
    cells = np.cumsum([(8, 0), *steps], axis=0)
    centers = _open_centers(maze.blocked)
    assert {tuple(c) for c in cells} == {tuple(c) for c in centers}
    assert np.abs(np.array(maze.goal) - cells[-1]).max() <= 8


@pytest.mark.parametrize("maze", MAZES, ids=lambda maze: maze.name)
def test_all_is_wall_but_the_open_cells_up_to_the_faces_of_the_blocks(maze):
    x, y = np.meshgrid(np.arange(0.02, 48, 0.1), np.arange(-23.98, 24, 0.1))
    points = np.stack([x, y], axis=-1)
    in_a_cell = np.abs(points[..., None, :] - _open_centers(maze.blocked)).max(axis=-1) < 8.4
    in_the_arena = (x > 0.15) & (x < 47.85) & (np.abs(y) < 23.85)
    gaps = least_gaps(ant_maze.maze_walls(maze.blocked), points)
    np.testing.assert_array_equal(gaps > 0, in_a_cell.any(axis=-1) & in_the_arena)


def test_start_anywhere_is_in_every_open_cell_clear_of_the_walls():
    env = envs.make("ant_maze", layouts="all", start="anywhere").unwrapped
    keys = jax.random.split(jax.random.key(0), 200)
    over_keys = jax.vmap(lambda key, task: env.reset_to_task(key, task).obs[:2], (0, None))
    starts = np.asarray(jax.jit(jax.vmap(over_keys, (None, 0)))(keys, env.all_tasks()))
    for maze, points in zip(MAZES, starts, strict=True):
        assert least_gaps(ant_maze.maze_walls(maze.blocked), points).min() > 1.3, maze.name
        offset = points[:, None] - _open_centers(maze.blocked)
        in_cell = np.abs(offset).max(axis=-1) < 8
        assert (in_cell.sum(axis=1) == 1).all()
        assert in_cell.mean(axis=0).min() > 0.8 / in_cell.shape[1] - 0.05
        assert points.std(axis=0).min() > 3


@pytest.mark.parametrize("name", PLACES)
def test_an_ant_can_get_from_the_start_to_the_goal(name):
    place = PLACES[name]
    points = reachable(place, clearance=1.3, spacing=0.25)
    assert np.linalg.norm(points - place.goal, axis=1).min() < place.goal_radius


@pytest.mark.whole
def test_pushed_ant_stays_on_its_side_of_every_wall(play_maze, random_actions):
    names = [name for name, _, _ in PUSHES] * len(SPEEDS)
    q, qd = _pushed(play_maze, PUSHES)
    actions = random_actions.copy()
    actions[: 2 * len(PUSHES)] = 0  # limp, once slow and once fast
    seen = play_maze(q, qd, task=_tasks(names), actions=actions)
    _assert_free(names, seen)
    assert not seen["physics_nan"].any()


def test_ant_that_is_stood_up_against_a_wall_stays_on_its_side(play_maze_spring):
    names = [name for name, _, _ in PUSHES] * len(SPEEDS)
    q, qd = _pushed(play_maze_spring, PUSHES)
    seen = play_maze_spring(q, qd, task=_tasks(names), clock=196)
    upright = np.asarray(play_maze_spring.env.sys.init_q)[3:7]
    assert np.abs(seen["q"][:, 3, 3:7] - upright).max() < 0.25
    np.testing.assert_array_equal(seen["obs"][:, 3, :15], seen["q"][:, 3])
    _assert_free(names, seen)
    assert not seen["physics_nan"].any()


def test_reward_is_the_velocity_toward_the_goal_up_to_the_pace_less_sideways_and_control_cost(
    play_maze_spring, random_actions
):
    names = [maze.name for maze in MAZES] * 3
    goals = np.array([PLACES[name].goal for name in names])
    positions = [(4.0, 2.0)] * 26 + [(7.9, 0.0)] * 13
    q, qd = play_maze_spring.standing(positions)
    qd[:, :2] = np.random.default_rng(1).normal(size=(len(q), 2))
    qd[26:, 0] = 4.0  # these cross the x of the goals at x = 8
    actions = 2 * random_actions[: len(q)]
    seen = play_maze_spring(q, qd, task=_tasks(names), actions=actions)
    path = np.concatenate([q[:, None, :2], seen["q"][..., :2]], axis=1).astype(np.float64)
    velocity = np.diff(path, axis=1) / 0.05
    toward = (velocity * np.sign(goals[:, None] - path[:, :-1])).sum(axis=-1)
    cost = 0.1 * (np.clip(actions, -1, 1) ** 2).sum(axis=-1)
    sideways = np.abs(velocity).min(axis=-1)
    np.testing.assert_allclose(seen["reward"], np.minimum(toward, 2) - sideways - cost, atol=2e-3)
    assert (toward > 2).any() and (toward < 2).any()
    assert (path[26, 0, 0] < goals[26, 0]) and (path[26, -1, 0] > goals[26, 0])


def test_velocity_reward_has_no_limit():
    paced, free = (envs.make("ant_maze", reward=r).unwrapped for r in ("pace", "velocity"))
    here, goal = jnp.array([4.0, 1.0]), jnp.array([8.0, 22.0])
    action = jnp.full(8, 0.5)

    def rewards(velocity):
        there = here + 0.05 * jnp.array(velocity)
        return [env._reward(here, there, action, goal) for env in (paced, free)]

    cost, sideways = 0.1 * 8 * 0.5**2, ant_maze.SIDEWAYS_COST
    np.testing.assert_allclose(
        rewards([0.5, 1.0]), [1.5 - 0.5 * sideways - cost, 1.5 - cost], atol=1e-3
    )
    np.testing.assert_allclose(rewards([-1.0, 6.0]), [2 - sideways - cost, 5 - cost], atol=1e-3)


def test_success_is_being_within_three_units_of_the_goal(play_maze_spring):
    names = ["up"] * 4 + ["right_right"] * 2
    positions = [(8, 22), (6, 21.9), (5.5, 22), (8, 20.5), (46, 1), (44.5, 0)]
    q, qd = play_maze_spring.standing(positions)
    seen = play_maze_spring(q, qd, task=_tasks(names))
    np.testing.assert_array_equal(seen["success"][:, 0], [1, 1, 0, 0, 1, 0])


def test_broken_physics_keeps_the_last_finite_state_and_terminates(
    play_maze_spring, random_actions
):
    q, qd = play_maze_spring.standing([(4.0, 0.0)])
    actions = random_actions[:1].copy()
    actions[0, 10] = np.nan
    seen = play_maze_spring(q, qd, actions=actions)
    np.testing.assert_array_equal(seen["q"][0, 10], seen["q"][0, 9])
    np.testing.assert_array_equal(seen["physics_nan"][0, 8:12], [0, 0, 1, 0])
    np.testing.assert_array_equal(seen["done"][0, 8:12], [0, 0, 1, 0])
    assert seen["reward"][0, 10] == 0
    assert np.isfinite(seen["obs"]).all()


def test_scene_is_the_maze_without_its_open_cells():
    env = envs.make("ant_maze")
    for index, maze in enumerate(ant_maze.LAYOUTS["training"]):
        scene = env.scene(jax.tree.map(lambda x, i=index: x[i], env.all_tasks()))
        assert (scene.start, scene.goal, scene.goal_radius) == ((2, 0), maze.goal, 3)
        assert len(scene.walls) == 4 + maze.blocked.count("1")
        np.testing.assert_array_equal(scene.walls, ant_maze.maze_walls(maze.blocked).rows())
