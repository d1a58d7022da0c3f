"""What every registered environment must do; a new one is covered by being registered.

Environments with a choice of physics are covered with their default backend, and with the others
by `-m slow`, which has the default of those as well whose physics is that of `QUICK_BODIES` or has
tests of its own that are quicker, and those that only have other tasks in the world of another one.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import registry
from envs.base import TaskEnv
from envs.scene import Scene

QUICK_BODIES = ("ant_maze", "ant_twowalk")

LENGTH = 3
STEPS = 5
BATCH = 4
KIN = ("minigrid_door_key_5x5", "minigrid_empty", "minigrid_four_rooms")
"""Other tasks in the world of an environment that is covered quickly (`minigrid_mixed`)."""


def options_of(name):
    """The options of an environment's class, with their defaults."""
    return inspect.signature(registry._find(name)).parameters


@pytest.fixture(
    scope="module",
    params=[
        *(
            pytest.param((name, {}), marks=pytest.mark.slow)
            if ("backend" in options_of(name) and name not in QUICK_BODIES) or name in KIN
            else (name, {})
            for name in envs.names()
        ),
        *(
            pytest.param((name, {"backend": "generalized"}), marks=pytest.mark.slow)
            for name in envs.names()
            if "backend" in options_of(name)
        ),
        ("four_rooms", {"goals": "unseen", "subpolicies_see": "walls"}),
        ("taxi", {"split": "test"}),
        ("taxi", {"tasks": "kuric", "split": "test"}),
        ("moving_bandits", {"num_points": 4}),
    ],
    ids=lambda param: "-".join([param[0], *map(str, param[1].values())]),
)
def chosen(request):
    """The name of an environment, and options of its class."""
    return request.param


@pytest.fixture(scope="module")
def env(chosen):
    name, options = chosen
    return envs.make(name, episode_length=LENGTH, **options)


@pytest.fixture(scope="module")
def tasks(env):
    """BATCH tasks: the finite set repeated, or draws."""
    rows = env.all_tasks()
    if rows is None:
        return jax.vmap(env.sample_task)(jax.random.split(jax.random.key(7), BATCH))
    return jax.tree.map(lambda x: x[jnp.arange(BATCH) % len(x)], rows)


@pytest.fixture(scope="module")
def rollout(env):
    """Compiled: keys and tasks to the states after reset and after each of STEPS steps."""

    def one(key, task):
        key_reset, key_actions = jax.random.split(key)
        first = env.reset_to_task(key_reset, task)

        def step(state, key):
            state = env.step(state, _random_action(env, key))
            return state, state

        return first, jax.lax.scan(step, first, jax.random.split(key_actions, STEPS))[1]

    return jax.jit(jax.vmap(one))


@pytest.fixture(scope="module")
def states(rollout, tasks):
    return rollout(jax.random.split(jax.random.key(0), BATCH), tasks)


def _random_action(env, key):
    if env.num_actions is None:
        return jax.random.uniform(key, (env.action_size,), minval=-2.0, maxval=2.0)
    return jax.random.randint(key, (), 0, env.num_actions)


def _shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def _plain(tree):
    """The leaves as NumPy arrays, keys included."""
    leaves = jax.tree.leaves(tree)
    is_key = [jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in leaves]
    return [
        np.asarray(jax.random.key_data(x) if key else x)
        for x, key in zip(leaves, is_key, strict=True)
    ]


def test_raw_and_wrapped_states_keep_structure_and_dtypes(env, tasks):
    task = jax.tree.map(lambda x: x[0], tasks)
    action = jax.eval_shape(lambda k: _random_action(env, k), jax.random.key(0))
    for candidate in (env, env.unwrapped):
        first = jax.eval_shape(candidate.reset_to_task, jax.random.key(0), task)
        after = jax.eval_shape(candidate.step, first, action)
        assert jax.tree.structure(first) == jax.tree.structure(after)
        assert _shapes(first) == _shapes(after)
        assert (first.reward.dtype, first.done.dtype) == (jnp.float32, jnp.float32)
        assert first.obs.shape == (candidate.observation_size,)


def test_wrapper_tells_the_same_as_the_environment(env, chosen):
    raw = env.unwrapped
    assert isinstance(raw, TaskEnv)
    assert raw is not env
    for field in (
        "name",
        "num_actions",
        "task_names",
        "observation_size",
        "action_size",
        "subpolicy_observation_indices",
        "place_indices",
        "backend",
    ):
        assert getattr(env, field) == getattr(raw, field)
    assert env.episode_length == LENGTH
    name, options = chosen
    assert envs.make(name, **options).episode_length == raw.episode_length


def test_names_and_indices_fit(env):
    rows = env.all_tasks()
    assert len(env.task_names) == (0 if rows is None else len(jax.tree.leaves(rows)[0]))
    for indices in (env.subpolicy_observation_indices, env.place_indices):
        assert indices == tuple(sorted(set(indices)))
        assert set(indices) <= set(range(env.observation_size))
    assert env.num_actions is None or env.action_size == 1


def test_sampled_tasks_are_rows_of_all_tasks(env):
    rows = env.all_tasks()
    count = 20 * max(len(env.task_names), 2)
    drawn = jax.vmap(env.sample_task)(jax.random.split(jax.random.key(1), count))
    assert _shapes(jax.tree.map(lambda x: x[0], drawn)) == _shapes(
        jax.tree.map(lambda x: x[0], drawn if rows is None else rows)
    )
    if rows is not None:
        found = {
            tuple(np.concatenate([np.ravel(x[i]) for x in _plain(drawn)])) for i in range(count)
        }
        known = {
            tuple(np.concatenate([np.ravel(x[i]) for x in _plain(rows)]))
            for i in range(len(env.task_names))
        }
        assert found == known


def test_task_is_kept_and_numbers_are_finite(states, tasks):
    first, after = states
    for kept, task in zip(_plain(first.info["task"]), _plain(tasks), strict=True):
        np.testing.assert_array_equal(kept, task)
    for kept, task in zip(_plain(after.info["task"]), _plain(tasks), strict=True):
        np.testing.assert_array_equal(kept, np.repeat(task[:, None], STEPS, axis=1))
    assert np.isfinite(after.obs).all()
    assert np.isfinite(after.reward).all()


def test_time_limit_truncates_and_then_nothing_moves(states):
    _, after = states
    np.testing.assert_array_equal(after.done[0], [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(after.info["truncated"][0], [False, False, True, True, True])
    assert not after.info["terminated"].any()
    assert (after.reward[:, LENGTH:] == 0).all()
    frozen = (after.pipeline_state, after.obs, after.done, after.metrics, after.info)
    for leaf in _plain(frozen):
        for late in range(LENGTH, STEPS):
            np.testing.assert_array_equal(leaf[:, late], leaf[:, LENGTH - 1])


def test_another_task_and_key_need_no_compilation(rollout, states, tasks):
    compiled = rollout._cache_size()
    other = jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), tasks)
    rollout(jax.random.split(jax.random.key(5), BATCH), other)
    assert rollout._cache_size() == compiled


def test_metrics_are_float32_scalars_and_tell_where_the_bodies_are(env, states):
    first, after = states
    for metrics in (first.metrics, after.metrics):
        assert all(value.dtype == jnp.float32 for value in metrics.values())
        assert all(np.isfinite(value).all() for value in metrics.values())
    if env.backend != "none":
        positions = np.stack([after.metrics["x_position"], after.metrics["y_position"]], axis=-1)
        np.testing.assert_array_equal(positions, after.pipeline_state.q[..., :2])
        assert not after.metrics["physics_nan"].any()


def test_scene_shows_where_episodes_start_and_who_else_is_there(env, tasks, states):
    first, after = states
    for index in range(BATCH):
        task = jax.tree.map(lambda x, i=index: x[i], tasks)
        observation = np.asarray(first.obs[index])
        scene = env.scene(task, observation)
        raw = env.unwrapped.scene(task, observation)
        assert (scene is None) == (raw is None) == (env.scene(task) is None)
        if scene is None:
            continue
        assert isinstance(scene, Scene)
        np.testing.assert_array_equal(scene.walls, raw.walls)
        assert scene.walls.shape == (len(scene.walls), 4)
        assert (scene.start, scene.goal, scene.marks) == (raw.start, raw.goal, raw.marks)
        x_min, x_max, y_min, y_max = scene.bounds
        goal = [] if scene.goal is None else [scene.goal]
        for x, y in (scene.start, *goal, *(mark[:2] for mark in scene.marks)):
            assert x_min <= x <= x_max
            assert y_min <= y <= y_max
        assert (scene.agent_radius is None) == hasattr(env.unwrapped, "sys")
        has_path = {"enemy_x", "enemy_y"} <= set(after.metrics)
        assert has_path == (scene.enemy_radius is not None)
        seen = jnp.concatenate([first.obs[:, None], after.obs], axis=1)
        recorded = jax.tree.map(np.asarray, (seen, after.metrics))
        items = env.item_positions(task, *recorded)
        assert items.shape == (BATCH, 1 + STEPS, len(scene.items), 2)
        np.testing.assert_array_equal(items, env.unwrapped.item_positions(task, *recorded))
        heading = env.headings(recorded[0])
        assert heading is None or heading.shape == (BATCH, 1 + STEPS)


def test_positions_are_where_the_agent_is(env, tasks, states):
    first, after = jax.tree.map(np.asarray, [(s.obs, s.metrics) for s in states])
    scene = env.scene(jax.tree.map(lambda x: x[0], tasks), first[0][0])
    if scene is None:
        pytest.skip("is not drawn")
    start = env.positions(*first)
    assert start.shape == (BATCH, 2)
    assert np.abs(start[0] - scene.start).max() <= 0.1 + 1e-5
    path = env.positions(*after)
    np.testing.assert_array_equal(path, env.unwrapped.positions(*after))
    if env.backend != "none":
        np.testing.assert_array_equal(path, states[1].pipeline_state.q[..., :2])


def test_place_of_a_body_is_its_x_and_y_and_on_the_humanoid_s_course_its_height(env):
    if hasattr(env.unwrapped, "sys"):
        height = ("height",) if env.name == "humanoid_course" else ()
        assert env.place_indices == (0, 1, 2)[: 2 + len(height)]
        state = jax.jit(env.reset)(jax.random.key(0))
        place = state.obs[jnp.asarray(env.place_indices)]
        np.testing.assert_array_equal(
            place, [state.metrics[name] for name in ("x_position", "y_position", *height)]
        )


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("ant_twowalk", 27),
        ("ant_bandits", 29),  # where a skill is to stop at a place
        ("ant_maze", 27),
        ("ant_obstacle", 27),
        ("ant_obstacle_big", 27),
        ("swimmer_bandits", 8),
        ("humanoid_walk_crawl", 45),
    ],
)
def test_what_sub_policies_of_a_body_see_by_default(name, seen):
    assert len(envs.make(name).subpolicy_observation_indices) == seen


@pytest.mark.parametrize(
    ("name", "reward"),
    [
        ("ant_twowalk", "pace"),
        ("ant_maze", "pace"),
        ("ant_bandits", "progress"),
        ("swimmer_bandits", "progress"),
        ("humanoid_walk_crawl", "pace"),
    ],
)
def test_what_a_body_is_paid_for_by_default(name, reward):
    assert options_of(name)["reward"].default == reward


def test_position_is_shown_to_subpolicies_on_demand(env):
    option = options_of(env.name).get("position_visible")
    if option is None:
        pytest.skip("has no option position_visible")
    size = env.observation_size
    shown, hidden = tuple(range(size)), tuple(range(2, size))
    sees_position = option.default
    assert env.subpolicy_observation_indices == (shown if sees_position else hidden)
    other = envs.make(env.name, position_visible=not sees_position)
    assert other.subpolicy_observation_indices == (hidden if sees_position else shown)
