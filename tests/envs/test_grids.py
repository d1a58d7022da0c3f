"""key_door, all_walk, four_rooms and taxi beside models of them in plain Python and NumPy."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import envs
from envs.contract import check
from envs.grids import four_rooms, points

LIVES, STEPS = 128, 800  # more than 100,000 steps in all

MOVES = {1: (20, 0), 2: (-20, 0), 3: (0, 20), 4: (0, -20)}
STRIDES = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]

WALLS = """
wwwwwwwwwwwww / w.....w.....w / w.....w.....w / w...........w / w.....w.....w / w.....w.....w /
ww.wwww.....w / w.....www.www / w.....w.....w / w.....w.....w / w...........w / w.....w.....w /
wwwwwwwwwwwww
"""
STREETS = "11.111 / 11.111 / 111111 / 111111 / 1.1.11 / 1.1.11"
PLACES = {"R": (1, 1), "G": (6, 1), "Y": (1, 6), "B": (5, 6)}  # x and y, from 1


def play(env, rng, steps=STEPS):
    """Random actions in `LIVES` endless lives, of every task: tasks, actions and what was seen."""
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), LIVES)
    rows = env.all_tasks()
    tasks = jax.vmap(env.sample_task)(keys) if rows is None else rows[np.arange(LIVES) % len(rows)]
    actions = rng.integers(0, env.num_actions, (LIVES, steps)).astype(np.int32)

    def one(key, task, actions):
        def step(state, action):
            state = env.step(state, action)
            return state, (state.obs, state.reward, state.done)

        first = env.reset_to_task(key, task)
        return first.obs, *jax.lax.scan(step, first, actions)[1]

    seen = jax.jit(jax.vmap(one))(keys, tasks, actions)
    return np.asarray(tasks), actions, *map(np.asarray, seen)


def walked(actions):
    """Where an agent is after each action, float64 [T, 2]."""
    return np.cumsum([MOVES.get(action, (0, 0)) for action in actions], axis=0) + 200.0


def test_the_key_opens_the_door_of_the_task(rng):
    env = envs.make("key_door").unwrapped
    tasks, actions, first, observations, rewards, done = play(env, rng)
    keys_found = paid = 0
    for life in range(LIVES):
        points = first[life, 2:8].astype(np.float64).reshape(3, 2) * 400
        agent = walked(actions[life])
        near = np.hypot(*(agent[:, None] - points).transpose(2, 0, 1)) < 50  # [T, 3]
        has_key = np.maximum.accumulate(near[:, 2])
        reward = has_key & near[:, tasks[life]]
        np.testing.assert_array_equal(rewards[life], reward)
        expected = np.column_stack(
            [agent / 400, np.tile(points.reshape(-1) / 400, (STEPS, 1)), has_key]
        )
        np.testing.assert_allclose(observations[life], expected, atol=1e-5)
        keys_found, paid = keys_found + has_key.any(), paid + reward.any()
    assert 0 < paid < keys_found < LIVES
    np.testing.assert_array_equal(first[:, [0, 1, 8]], np.tile([0.5, 0.5, 0], (LIVES, 1)))
    assert not done.any()


def test_the_same_step_may_fetch_the_key_and_open():
    env = envs.make("key_door").unwrapped
    state = env.reset_to_task(jax.random.key(0), jnp.int32(0))
    points = jnp.array([[210.0, 200.0], [0.0, 0.0], [230.0, 200.0]])
    state = state.replace(pipeline_state=state.pipeline_state.replace(points=points))
    assert env.step(state, jnp.int32(0)).reward == 1


def test_the_fewest_moves_to_the_key_and_the_door_are_those_of_a_search(rng):
    env = envs.make("key_door").unwrapped
    keys, doors = rng.uniform(0, 400, (2, 30, 2))
    keys[0], doors[0] = (210, 200), (190, 230)  # both near at once
    for key, door, moves in zip(keys, doors, points.fewest_moves(keys, doors), strict=True):
        front, seen, steps = {(0, 0, False)}, set(), 0
        while not any(has_key and near(x, y, door) for x, y, has_key in front) or steps == 0:
            steps += 1
            after = {(x + dx, y + dy, h) for x, y, h in front for dx, dy in STRIDES}
            front = {(x, y, h or near(x, y, key)) for x, y, h in after} - seen
            seen |= front
        assert moves == steps
    many = rng.uniform(0, 400, (2, 20_000, 2))
    expected = (101 - points.fewest_moves(*many)).mean()
    np.testing.assert_allclose(env.best_returns(100), np.full(2, expected), atol=0.3)


def near(x: int, y: int, point: np.ndarray) -> bool:
    """Whether a point is near who has made so many strides from the start."""
    return bool(np.hypot(200 + 20 * x - point[0], 200 + 20 * y - point[1]) < 50)


def test_the_hidden_place_is_the_better_the_nearer(rng):
    env = envs.make("all_walk").unwrapped
    tasks, actions, first, observations, rewards, done = play(env, rng)
    for life in range(LIVES):
        agent = walked(actions[life])
        np.testing.assert_allclose(observations[life], agent / 400, atol=1e-5)
        away = np.abs(agent - tasks[life]).sum(axis=1)
        np.testing.assert_allclose(rewards[life], -away / 5000, atol=1e-5)
    np.testing.assert_array_equal(first, np.full((LIVES, 2), 0.5))
    assert not done.any()
    assert ((tasks >= 0) & (tasks < 400)).all() and np.ptp(tasks) > 300


def test_no_walk_ends_nearer_than_the_best_one(rng):
    env = envs.make("all_walk").unwrapped
    tasks = rng.uniform(0, 400, (200, 2)).astype(np.float32)

    def walk(task):
        def step(state, _):
            state = env.step(state, env.best_action(state.obs, task))
            return state, state.reward

        first = env.reset_to_task(jax.random.key(0), task)
        return jax.lax.scan(step, first, None, length=50)[1].sum()

    got = jax.jit(jax.vmap(walk))(tasks)
    # Along each axis the way is 20 shorter with each of its steps and ends at most 10 off, so that
    # the least sum takes the longest first: all gains of a step in order.
    for task, total in zip(tasks.astype(np.float64), got, strict=True):
        away = np.abs(task - 200)
        ways = [[abs(a - 20 * n) for n in range(int(a / 20 + 0.5) + 1)] for a in away]
        gains = sorted((x - y for way in ways for x, y in itertools.pairwise(way)), reverse=True)
        left = away.sum() - np.cumsum(gains + [0.0] * (50 - len(gains)))
        np.testing.assert_allclose(total, -left.sum() / 5000, rtol=1e-4)
        assert env.best_return_of(task, 50) == pytest.approx(-left.sum() / 5000)
        assert env.best_return_of(task, 3) == pytest.approx(-left[:3].sum() / 5000)


def grid(text):
    return [row.strip() for row in text.replace("\n", " ").split("/")]


def probabilities():
    """P[cell, action, next cell] of the four rooms, from the words of their definition."""
    rows = grid(WALLS)
    cells = [(r, c) for r in range(13) for c in range(13) if rows[r][c] == "."]
    index = {cell: number for number, cell in enumerate(cells)}
    table = np.zeros((len(cells), 4, len(cells)))
    for (r, c), number in index.items():
        for action, (down, right) in enumerate([(-1, 0), (1, 0), (0, -1), (0, 1)]):
            entered = (r + down, c + right)
            if entered not in index:
                table[number, action, number] = 1
                continue
            table[number, action, index[entered]] += 2 / 3
            around = [
                (entered[0] + d, entered[1] + e) for d, e in ((-1, 0), (1, 0), (0, -1), (0, 1))
            ]
            free = [index[cell] for cell in around if cell in index]
            for neighbor in free:
                table[number, action, neighbor] += 1 / 3 / len(free)
    return table


def test_moves_in_the_four_rooms_have_their_probabilities(rng):
    env = envs.make("four_rooms", goals="all").unwrapped
    tasks, actions, first, observations, rewards, done = play(env, rng)
    table = probabilities()
    assert table.shape == (104, 4, 104)
    assert (first.argmax(axis=1) == 62).all() and (first.sum(axis=1) == 1).all()
    cells = observations.argmax(axis=2)
    before = np.column_stack([first.argmax(axis=1), cells[:, :-1]])
    counts = np.zeros_like(table)
    np.add.at(counts, (before.ravel(), actions.ravel(), cells.ravel()), 1)
    assert (counts[table == 0] == 0).all()
    expected = counts.sum(axis=2, keepdims=True) * table
    possible = (table > 0) & (table < 1) & (expected > 0)
    statistic = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    freedom = sum(max(row.sum() - 1, 0) for row in possible.reshape(-1, 104))
    assert 0.001 < scipy.stats.chi2.sf(statistic, freedom) < 0.999
    goals = np.array([int(name.removeprefix("goal_")) for name in env.task_names])[tasks]
    np.testing.assert_array_equal(rewards, cells == goals[:, None])
    assert rewards.any() and not done.any()


@pytest.mark.parametrize("length", [100, 7])
def test_the_best_player_of_the_four_rooms_is_that_of_value_iteration(length):
    env = envs.make("four_rooms", goals="all", episode_length=length)
    table = probabilities()
    for name, best in zip(env.task_names, env.best_returns(), strict=True):
        goal = int(name.removeprefix("goal_"))
        values = np.zeros(104)
        for _ in range(length):
            values = (table[:, :, goal] + table @ values).max(axis=1)
        np.testing.assert_allclose(best, values[62], rtol=1e-9)


def test_unseen_goals_are_in_every_room_and_no_goals_of_training():
    training, unseen, every = (
        [
            int(name.removeprefix("goal_"))
            for name in envs.make("four_rooms", goals=goals).task_names
        ]
        for goals in ("training", "unseen", "all")
    )
    assert sorted(training + unseen) == every == [cell for cell in range(104) if cell != 62]
    assert (len(training), len(unseen)) == (83, 20)
    rows, columns = four_rooms.CELLS[unseen].T
    rooms = collections.Counter(zip(rows > 6, columns > 6, strict=True))
    assert len(rooms) == 4 and min(rooms.values()) >= 4


def test_subpolicies_that_see_walls_see_which_moves_lead_nowhere():
    env = envs.make("four_rooms", goals="all", subpolicies_see="walls").unwrapped
    check(env, env.name)
    _, _, first, observations, _, _ = play(env, np.random.default_rng(0))
    seen = np.concatenate([first[:, None], observations], axis=1).reshape(-1, 108)
    cells = seen[:, :104].argmax(axis=1)
    assert set(cells) == set(range(104))
    stays = probabilities()[np.arange(104), :, np.arange(104)] == 1.0  # [104, 4]
    np.testing.assert_array_equal(seen[:, 104:], stays[cells])
    assert env.subpolicy_observation_indices == tuple(range(104, 108))
    assert env.place_indices == tuple(range(104))
    rows, columns = four_rooms.CELLS[cells].T
    np.testing.assert_array_equal(env.positions(seen, {}), np.stack([columns, -rows], axis=1))


class Streets:
    """The taxi's world, by x and y."""

    def __init__(self):
        rows = grid(STREETS)
        self.free = {(x, y) for x in range(1, 7) for y in range(1, 7) if rows[y - 1][x - 1] == "1"}
        self.moves = {1: (0, -1), 2: (0, 1), 3: (1, 0), 4: (-1, 0)}

    def step(self, cell, on_board, action, pick_up, destination):
        dx, dy = self.moves.get(action, (0, 0))
        target = cell[0] + dx, cell[1] + dy
        if action == 5 and on_board and cell == destination:
            return cell, False, True
        on_board = on_board or (action == 5 and cell == pick_up)
        return target if target in self.free else cell, on_board, False


def kuric(number):
    """Start, pick-up and destination of one of the 60 tasks, in places counted R Y B G."""
    if number < 48:
        destination, offset, start = number % 4, number // 4 % 3, number // 12
        return start, (destination + offset + 1) % 4, destination
    destination, offset = number % 4, (number - 48) // 4
    return (destination + offset + 1) % 4, None, destination


def igl(number):
    pairs = list(itertools.permutations("RGYB", 2))
    pick_up, destination = pairs[number]
    return None, "RYBG".index(pick_up), "RYBG".index(destination)


@pytest.mark.parametrize(
    ("tasks", "split", "asked", "last_step"),
    [
        ("igl", "training", [igl(n) for n in range(12)], -0.1),
        ("igl", "test", [igl(n) for n in range(12)], -0.1),
        ("kuric", "all", [kuric(n) for n in range(60)], -2.0),
    ],
)
def test_the_taxi_drives_as_in_a_model(tasks, split, asked, last_step, rng):
    env = envs.make("taxi", tasks=tasks, split=split).unwrapped
    streets, order = Streets(), [PLACES[name] for name in "RYBG"]
    assert len(streets.free) == 30
    chosen, actions, first, observations, rewards, done = play(env, rng)
    numbers, drops = np.zeros((LIVES, STEPS), int), np.zeros((LIVES, STEPS), bool)
    boarded, starts = [], set()
    for life in range(LIVES):
        start, pick_up, destination = asked[chosen[life]]
        number = int(first[life].argmax())
        cell, on_board = (number % 36 % 6 + 1, number % 36 // 6 + 1), number >= 36
        boarded.append(on_board)
        starts.add(cell)
        if start is not None:
            assert cell == order[start] and on_board == (pick_up is None)
        places = None if pick_up is None else order[pick_up], order[destination]
        passenger = [cell if on_board else places[0]]
        for step, action in enumerate(actions[life].tolist()):
            cell, on_board, drops[life, step] = streets.step(cell, on_board, action, *places)
            numbers[life, step] = 36 * on_board + (cell[1] - 1) * 6 + cell[0] - 1
            if not drops[life, : step + 1].any():
                passenger.append(cell if on_board else places[0])
            elif drops[life].sum() == 1 and drops[life, step]:
                passenger.append(places[1])
        seen = np.concatenate([first[life, None], observations[life, : len(passenger) - 1]])
        drawn = env.item_positions(chosen[life], seen[None], {})
        np.testing.assert_array_equal(drawn[0, :, 0], np.array(passenger) * (1, -1))
    np.testing.assert_array_equal(observations, np.eye(72)[numbers])
    np.testing.assert_array_equal(done, drops)
    is_late = np.arange(STEPS) + 1 == env.episode_length
    expected = np.where(drops, 2.0, np.where(is_late, last_step, -0.1))
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)
    assert drops.sum() > 10
    if tasks == "igl":
        assert starts <= streets.free - set(PLACES.values()) and len(starts) > 20
        assert any(boarded) == (split == "training") and not all(boarded)


def test_the_last_step_of_a_day_costs_more_in_the_sixty_tasks():
    env = envs.make("taxi", tasks="kuric").unwrapped
    state = env.reset_to_task(jax.random.key(0), jnp.int32(0))
    for time, reward in ((1498, -0.1), (1499, -2.0)):
        late = state.replace(pipeline_state=state.pipeline_state.replace(time=jnp.int32(time)))
        np.testing.assert_allclose(env.step(late, jnp.int32(0)).reward, reward, rtol=1e-6)


def test_training_and_test_tasks_of_the_sixty_are_those_of_the_paper():
    names = {split: envs.make("taxi", tasks="kuric", split=split).task_names for split in SPLITS}
    assert names["test"] == tuple(names["all"][index] for index in HELD_OUT)
    assert sorted(names["training"] + names["test"]) == sorted(set(names["all"]))
    assert len(names["all"]) == 60
    assert envs.make("taxi").task_names[:3] == ("R-G", "R-Y", "R-B")


SPLITS = ("training", "test", "all")
HELD_OUT = [0, 4, 8, 13, 17, 21, 26, 30, 34, 39, 43, 47]


@pytest.mark.parametrize(
    ("tasks", "split", "length", "asked"),
    [
        ("igl", "test", None, [igl(n) for n in range(12)]),
        ("igl", "training", 14, [igl(n) for n in range(12)]),
        ("kuric", "all", 16, [kuric(n) for n in range(60)]),
    ],
)
def test_the_best_taxi_is_that_of_value_iteration(tasks, split, length, asked):
    streets, order = Streets(), [PLACES[name] for name in "RYBG"]
    env = envs.make("taxi", tasks=tasks, split=split, episode_length=length)
    best = env.best_returns()
    for (start, pick_up, destination), got in zip(asked, best, strict=True):
        places = None if pick_up is None else order[pick_up], order[destination]
        states = list(itertools.product(streets.free, (False, True)))
        ends = {
            state: [streets.step(*state, action, *places) for action in range(6)]
            for state in states
        }
        values = dict.fromkeys(states, 0.0)
        for _ in range(env.episode_length):
            values = {
                state: max(
                    2.0 if dropped else -0.1 + values[cell, on_board]
                    for cell, on_board, dropped in ends[state]
                )
                for state in states
            }
        share = 0.5 if split == "training" else float(pick_up is None)
        cells = streets.free - set(order) if start is None else {order[start]}
        expected = [share * values[c, True] + (1 - share) * values[c, False] for c in cells]
        np.testing.assert_allclose(got, np.mean(expected), rtol=1e-9)
    if (tasks, split) == ("igl", "test"):
        assert 0.58 < best.mean() < 0.6
    if tasks == "kuric":
        whole = envs.make("taxi", tasks=tasks, split="test").best_returns()
        assert f"{whole.mean():.2f}, {whole.min():.1f}, {whole.max():.1f}" == "0.33, -0.1, 0.9"
        # Single seeds of their authors' logs come to 0.66 on the 26th and to 0.83 on the 21st.
        assert whole[HELD_OUT.index(26)] == pytest.approx(0.7)
        assert whole[HELD_OUT.index(21)] == pytest.approx(0.9)


def test_whoever_knows_no_optimum_says_none():
    assert envs.make("all_walk").best_returns() is None


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("four_rooms", {"goals": "none"}, "goals must be one of training, unseen, all, got 'none'"),
        (
            "four_rooms",
            {"subpolicies_see": "doors"},
            "subpolicies_see must be one of cells, walls, got 'doors'",
        ),
        ("taxi", {"tasks": "uber"}, "tasks must be one of igl, kuric, got 'uber'"),
        ("taxi", {"split": "all"}, "split must be one of training, test, got 'all'"),
    ],
)
def test_unknown_sets_of_tasks_are_refused(name, options, words):
    with pytest.raises(envs.EnvError, match=words):
        envs.make(name, **options)


def test_a_taxi_that_is_late_pays_once():
    """With a longer limit than the definition's, at whose last step it pays."""
    env = envs.make("taxi", tasks="kuric", episode_length=1503)

    def step(state, _):
        state = env.step(state, jnp.int32(0))
        return state, state.reward

    first = env.reset_to_task(jax.random.key(0), jax.tree.map(lambda x: x[0], env.all_tasks()))
    rewards = jax.jit(lambda first: jax.lax.scan(step, first, length=1503)[1])(first)
    expected = np.full(1503, -0.1)
    expected[1499] = -2.0
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)
