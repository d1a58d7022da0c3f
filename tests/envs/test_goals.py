"""A point among hidden goals: how it moves, what pays, and that the best action is the best."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from envs.grids.goals import EDGE, STRIDE, Corridor, Star
from experiments.harness.many_seeds import returns_of_best_actions


def play(env, actions, task, key=0):
    """Positions, rewards and observations after each of the actions."""
    state = env.reset_to_task(jax.random.key(key), jnp.int32(task))
    start = np.asarray(state.pipeline_state.position)
    seen = []
    for action in actions:
        state = env.step(state, jnp.asarray(action, jnp.float32))
        seen.append((state.pipeline_state.position, state.reward, state.obs))
    return start, *(np.asarray(each) for each in zip(*seen, strict=True))


def test_a_point_in_the_corridor_moves_and_is_paid_at_its_end():
    start, positions, rewards, observations = play(Corridor((1.0, 3.0)), [[1.0]] * 20, task=1)
    expected = np.minimum(start + STRIDE * np.arange(1, 21)[:, None], EDGE)
    np.testing.assert_allclose(positions, expected, rtol=1e-5)
    np.testing.assert_array_equal(rewards, 3.0 * (expected[:, 0] >= 2.5))
    expected_observations = np.append(expected / EDGE, np.ones((20, 1)), axis=1)
    np.testing.assert_allclose(observations, expected_observations, rtol=1e-5)
    assert not play(Corridor(), [[1.0]] * 20, task=0)[2].any()


def test_an_action_counts_as_no_longer_than_one():
    start, positions, *_ = play(Star(3), [[0.75, 1.0], [0.3, 0.4], [1.5, -9.0]], task=0)
    np.testing.assert_allclose(positions[0] - start, [0.18, 0.24], rtol=1e-4)
    np.testing.assert_allclose(positions[1] - positions[0], [0.09, 0.12], rtol=1e-4)
    # As in other environments each entry is in [-1, 1] first.
    diagonal = STRIDE / np.sqrt(2)
    np.testing.assert_allclose(positions[2] - positions[1], [diagonal, -diagonal], rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 8), st.integers(0, 7), st.integers(0, 100))
def test_only_the_goal_of_the_task_pays_and_within_its_radius(num_goals, task, seed):
    env, task = Star(num_goals), task % num_goals
    angle = 2 * np.pi * task / num_goals
    actions = [[np.cos(angle), np.sin(angle)]] * 12
    _, positions, rewards, _ = play(env, actions, task, seed)
    gaps = np.linalg.norm(positions - env.goals[task], axis=1)
    clear = np.abs(gaps - env.radius) > 1e-4
    np.testing.assert_array_equal(rewards[clear], (gaps <= env.radius)[clear])


def test_the_relay_pays_at_the_door_once_the_key_was_touched():
    env = envs.make("goal_relay").unwrapped
    there = [[1.0]] * 4
    assert not play(env, there, task=1)[2].any()
    back_and_there = [[-1.0]] * 4 + [[1.0]] * 8
    _, _, rewards, observations = play(env, back_and_there, task=1)
    assert not rewards[:7].any() and rewards[-1] == 1
    assert observations[:, 2].tolist() == sorted(observations[:, 2].tolist())
    assert env.subpolicy_observation_indices == (0, 1)


def test_the_best_return_in_the_corridor_is_that_of_walking_straight():
    # From x the right end pays from step ceil((2.5 - x) / 0.3) on, of 30.
    starts = np.linspace(-1, 1, 20_001)
    expected = np.mean(31 - np.ceil((2.5 - starts) / STRIDE - 1e-6))
    np.testing.assert_allclose(
        returns_of_best_actions(envs.make("goal_corridor", pays=(1.0, 10.0))),
        [expected, 10 * expected],
        rtol=0.01,
    )


def starts(env, task):
    """The first positions of the episodes behind `returns_of_best_actions`, `[2000, d]`."""
    keys = jax.random.split(jax.random.key(0), 2000)
    reset = jax.vmap(lambda key: env.unwrapped.reset_to_task(key, jnp.int32(task)))
    return np.asarray(reset(keys).pipeline_state.position, np.float64)


def strides(distance):
    """Moves that a distance takes, `[...]`."""
    return np.ceil(np.maximum(distance, 0.0) / STRIDE - 1e-5)


@pytest.mark.parametrize(
    "options", [{"num_goals": 2}, {"num_goals": 6}, {"num_goals": 8, "radius": 1.2}]
)
def test_the_best_return_around_a_point_mass_is_that_of_straight_ways(options):
    env = envs.make("goal_star", **options)
    for task, best in enumerate(returns_of_best_actions(env)):
        gaps = np.linalg.norm(starts(env, task) - env.unwrapped.goals[task], axis=1)
        arrival = np.maximum(strides(gaps - env.unwrapped.radius), 1)
        np.testing.assert_allclose(best, np.mean(31 - arrival), rtol=1e-3)


def test_the_best_return_of_the_relay_is_that_of_the_shortest_way_to_key_and_door():
    # Both can be touched from 0.5 away, which leaves 1.0 between them: 4 moves.
    env = envs.make("goal_relay")
    for door, best in zip((-1, 1), returns_of_best_actions(env), strict=True):
        to_key = np.abs(starts(env, (door + 1) // 2)[:, 0] + door) - 0.5
        np.testing.assert_allclose(best, np.mean(61 - strides(to_key) - 4), rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("goal_corridor", {}),
        ("goal_star", {"num_goals": 3}),
        ("goal_star", {"num_goals": 2, "tasks_each": (1, 2)}),
        ("goal_star", {"effort": 0.1}),
        ("goal_near", {}),
        ("goal_race", {}),
        ("goal_ridges", {}),
        ("goal_relay", {}),
        ("moving_bandits", {"num_points": 3}),
        ("corner_rooms", {}),
        ("hidden_codes", {}),
        ("wheel_speeds", {}),
        ("hidden_patterns", {}),
    ],
)
def test_no_detour_is_better_than_the_best_action(name, options):
    env = envs.make(name, **options)
    best = returns_of_best_actions(env)

    @jax.jit
    def with_detours(share):
        def one(key, task):
            key_reset, key_steps = jax.random.split(key)

            def step(state, key):
                key_whether, key_action = jax.random.split(key)
                action = env.unwrapped.best_action(state.obs, task)
                if env.num_actions is None:
                    other = jax.random.uniform(key_action, action.shape, minval=-1.0)
                else:
                    other = jax.random.randint(key_action, (), 0, env.num_actions)
                detour = jax.random.bernoulli(key_whether, share)
                state = env.step(state, jnp.where(detour, other, action))
                return state, state.reward

            keys = jax.random.split(key_steps, env.episode_length)
            return jax.lax.scan(step, env.reset_to_task(key_reset, task), keys)[1].sum()

        keys = jax.random.split(jax.random.key(0), 1000)
        tasks = env.all_tasks()
        return jax.vmap(lambda t: jax.vmap(lambda k: one(k, t))(keys).mean())(tasks)

    assert (with_detours(0.2) < best).all()
    least = {"goal_relay": 0.0, "goal_race": -0.3, "goal_near": -0.3}.get(name, 0.5)
    assert (best > least * env.episode_length).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("goal_corridor", {"pays": (1.0,)}, "pays must be 2 positive numbers"),
        ("goal_corridor", {"pays": (1.0, 0.0)}, "pays must be 2 positive numbers"),
        ("goal_corridor", {"tasks_each": (1, 0.5)}, "tasks_each must be 2 positive integers"),
        ("goal_star", {"tasks_each": (1, 2)}, "tasks_each must be 4 positive integers"),
        ("goal_star", {"tasks_each": (1, 2, 0, 1)}, "tasks_each must be 4 positive integers"),
        ("goal_star", {"effort": -0.1}, "effort must be between 0 and 1, got -0.1"),
        ("goal_near", {"num_goals": 1}, "num_goals must be an integer from 2 to 10000"),
        ("goal_race", {"num_goals": 1}, "num_goals must be an integer from 2 to 10000"),
        ("goal_ridges", {"num_goals": 1}, "num_goals must be an integer from 2 to 10000"),
        ("handover_chain", {"links": 1}, "links must be an integer of at least 2, got 1"),
        ("goal_star", {"num_goals": 1}, "num_goals must be an integer from 2 to 10000"),
        ("moving_bandits", {"num_points": 1}, "num_points must be an integer from 2 to 10000"),
    ],
)
def test_impossible_worlds_are_refused(name, options, message):
    with pytest.raises(envs.EnvError, match=message):
        envs.make(name, **options)


@pytest.mark.parametrize("num_points", [2, 4])
def test_moving_bandits_with_more_points(num_points):
    env = envs.make("moving_bandits", num_points=num_points)
    assert env.observation_size == 2 + 2 * num_points
    np.testing.assert_allclose(returns_of_best_actions(env), 43.76, rtol=0.01)


def test_effort_costs_the_square_of_what_an_action_counts_as():
    actions = [[0.3, 0.4], [0.0, 0.0], [1.5, -9.0], [0.6, 0.0]]
    _, positions, rewards, _ = play(Star(4, effort=0.2), actions, task=0)
    is_there = np.linalg.norm(positions - [2.0, 0.0], axis=1) <= 0.5
    np.testing.assert_allclose(rewards, is_there - 0.2 * np.array([0.25, 0, 1, 0.36]), rtol=1e-5)


def test_the_best_way_where_moves_cost_is_of_equal_ones_and_ends_where_it_pays():
    env = envs.make("goal_star", effort=0.1)
    gaps = np.linalg.norm(starts(env, 0) - env.unwrapped.goals[0], axis=1) - 0.5
    moves = strides(gaps)
    expected = 31 - moves - 0.1 * (gaps / STRIDE) ** 2 / moves
    np.testing.assert_allclose(returns_of_best_actions(env)[0], expected.mean(), rtol=2e-3)


def test_a_step_costs_the_distance_from_the_goal_of_the_task():
    env = envs.make("goal_near").unwrapped
    _, positions, rewards, _ = play(env, [[0.0, 1.0], [-1.0, 0.0]], task=3)
    np.testing.assert_allclose(rewards, -np.linalg.norm(positions - [0, -2.0], axis=1), rtol=1e-5)


def test_switches_turn_and_their_pattern_pays():
    env = envs.make("hidden_patterns").unwrapped
    patterns = np.array([[int(bit) for bit in name] for name in env.task_names])
    state = env.reset_to_task(jax.random.key(1), jnp.int32(2))
    is_on = np.asarray(state.obs[:6] > 0)
    for action in [0, 6, 3, 3, 5, *np.flatnonzero(is_on != patterns[2]), 6, 1]:
        state = env.step(state, jnp.int32(action))
        is_on = is_on ^ (np.arange(6) == action)
        np.testing.assert_array_equal(state.obs, [*np.where(is_on, 1, -1), 1])
        assert float(state.reward) == (is_on == patterns[2]).all()
    apart = (patterns[:, None] != patterns[None]).sum(axis=-1)[np.triu_indices(4, 1)]
    assert (apart.min(), apart.max()) == (3, 5)
    # Whoever has h switches to turn is paid from step h on, and from the first one on if none.
    h = np.array([bin(n).count("1") for n in range(64)])
    best = returns_of_best_actions(envs.make("hidden_patterns"))
    np.testing.assert_allclose(best, np.mean(31 - np.maximum(h, 1)), rtol=5e-3)


def test_a_race_costs_every_step_and_ends_at_the_goal_of_the_task():
    env = envs.make("goal_race")  # with its time limit, which freezes what has ended
    step = jax.jit(env.step)
    for task, is_there in ((0, True), (1, False)):
        state = env.reset_to_task(jax.random.key(3), jnp.int32(task))
        start = np.asarray(state.pipeline_state.position)
        rewards, successes = [], []
        for _ in range(30):
            state = step(state, env.unwrapped.best_action(state.obs, jnp.int32(0)))
            rewards.append(float(state.reward))
            successes.append(float(state.metrics["success"]))
        # Straight to the first goal, which begins half a unit before its middle.
        moves = strides(np.linalg.norm(start - env.unwrapped.goals[0]) - 0.5) if is_there else 30
        assert rewards == [-1.0] * int(moves) + [0.0] * (30 - int(moves))
        assert successes[: int(moves) - 1] == [0.0] * (int(moves) - 1)
        assert successes[-1] == is_there
        assert bool(state.info["terminated"]) == is_there
        assert bool(state.info["truncated"]) != is_there


@pytest.mark.parametrize(
    ("position", "action", "has_ground"),
    [
        ((0.7, 0.0), (1.0, 0.0), True),  # from the disc to a ridge
        ((1.5, 0.4), (0.0, 0.3), True),  # 0.49 off the middle of a ridge
        ((1.5, 0.4), (0.0, 0.4), False),  # 0.52
        ((0.4, 0.4), (1.0, 1.0), False),  # between two ridges, (0.61, 0.61)
        ((0.4, 0.4), (0.5, 0.5), True),  # on the disc alone, (0.55, 0.55)
        ((-1.5, 0.4), (0.0, 0.4), False),
        ((2.9, 0.0), (1.0, 0.0), True),  # the ridge goes on beyond the goal
    ],
)
def test_who_leaves_a_ridge_falls(position, action, has_ground):
    env = envs.make("goal_ridges").unwrapped
    state = env.reset_to_task(jax.random.key(0), jnp.int32(0))
    world = state.pipeline_state.replace(position=jnp.asarray(position))
    state = env.step(state.replace(pipeline_state=world), jnp.asarray(action))
    assert float(state.done) == (not has_ground)


def test_several_tasks_of_a_star_pay_at_the_same_goal():
    env = envs.make("goal_star", num_goals=3, tasks_each=(3, 1, 2)).unwrapped
    angles = 2 * np.pi / 3 * np.array([0, 0, 0, 1, 2, 2])
    expected = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(env.goals, expected, atol=1e-6)
    assert env.task_names == tuple(f"goal_{n}" for n in range(6))
    assert [mark for *_, mark in env.scene(jnp.int32(0)).marks] == ["0", "3", "4"]


def test_several_tasks_of_the_corridor_pay_at_the_same_end():
    env = envs.make("goal_corridor", pays=(1.0, 2.0), tasks_each=(1, 3)).unwrapped
    assert env.goals[:, 0].tolist() == [-EDGE, EDGE, EDGE, EDGE]
    assert env.pays.tolist() == [1.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("links", "actions", "rewards"),
    [
        (2, [0, 0], [0.6, 0.0]),
        (2, [1, 0], [0.0, 1.0]),
        (2, [1, 1], [0.0, 1.0]),
        (3, [0, 1, 1], [0.6, 0.0, 0.0]),
        (3, [1, 0, 1], [0.0, 0.0, 0.0]),
        (3, [1, 1, 0], [0.0, 0.0, 1.0]),
    ],
)
def test_the_last_link_of_a_chain_pays_for_the_ones_before(links, actions, rewards):
    env = envs.make("handover_chain", links=links)
    state = env.reset_to_task(jax.random.key(0), jnp.int32(0))
    paid = []
    for link, action in enumerate(actions):
        np.testing.assert_array_equal(state.obs, np.eye(links)[link])
        state = env.step(state, jnp.int32(action))
        paid.append(float(state.reward))
    np.testing.assert_allclose(paid, rewards)
    assert bool(state.info["truncated"]) and not bool(state.info["terminated"])
