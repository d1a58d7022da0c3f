"""What a run leaves to look at, from measurements that were made up."""

import types

import jax
import numpy as np
import pytest
from PIL import Image

import envs
from experiments.harness import figures
from mlsh_jax.adapt import Assessment, Episodes
from mlsh_jax.rollout import Rollout
from mlsh_jax.tasks import select_tasks
from mlsh_jax.viz import colors

S, N, R, K = 4, 5, 3, 2
MASTERS = np.array([0, 0, 1])  # by their tasks: two go right, one goes up


@pytest.fixture(scope="module")
def env():
    return envs.make("ant_twowalk", episode_length=S * N)


def rollout(env, rng, direction: int, subpolicy: np.ndarray, length: int = S * N) -> Rollout:
    """R ants that go straight on, the r-th with reward r in each step, for `length` steps."""
    q = np.tile(np.asarray(env.unwrapped.sys.init_q), (S * N + 1, R, 1))
    q[..., direction] += 0.5 * np.arange(S * N + 1)[:, None]
    seen = np.concatenate([q, rng.normal(size=(S * N + 1, R, 14))], axis=-1).astype(np.float32)
    observation, after = (x.reshape(S, N, R, -1) for x in (seen[:-1], seen[1:]))
    weight = (np.arange(S * N) < length).reshape(S, N, 1) * np.ones((1, 1, R))
    return Rollout(
        observation=observation,
        action=np.zeros((S, N, R, 8)),
        reward=np.tile(np.arange(R, dtype=float), (S, N, 1)),
        weight=weight,
        terminated=np.zeros((S, N, R), bool),
        truncated=np.zeros((S, R), bool),
        failed=np.zeros((S, R), bool),
        subpolicy=np.broadcast_to(subpolicy[:, None], (S, R)),
        next_observation=after[:, -1],
        env_metrics={"x_position": after[..., 0], "y_position": after[..., 1]},
    )


def episodes(rollouts: list[Rollout]) -> Episodes:
    """The recorded part is all that is looked at, and of the returns the shape."""
    recorded = jax.tree.map(lambda *x: np.stack(x), *rollouts)
    returns = np.zeros((len(rollouts), R))
    failed = np.zeros(returns.shape, bool)
    return Episodes(
        returns=returns, usage=None, env_sums={}, env_finals={}, failed=failed, recorded=recorded
    )


@pytest.fixture(scope="module")
def run(env, tmp_path_factory):
    """The directory of a run that was looked at."""
    rng = np.random.default_rng(0)
    choices = np.array([0, 1, 1, 0])
    adapted = episodes([rollout(env, rng, task, choices) for task in MASTERS])
    alone = [episodes([rollout(env, rng, k, np.full(S, k)) for _ in MASTERS]) for k in range(K)]
    forced = jax.tree.map(lambda *x: np.stack(x), *alone)
    run = types.SimpleNamespace(directory=tmp_path_factory.mktemp("run"), experiment="tiny")
    tasks = select_tasks(env.all_tasks(), MASTERS)
    figures.look(run, env, Assessment(initial=adapted, adapted=adapted, forced=forced), tasks)
    return run


def test_every_task_has_a_replay_and_an_animation(run):
    found = {path.name for path in (run.directory / figures.REPLAYS).iterdir()}
    assert found == {"right.html", "right.gif", "up.html", "up.gif"}
    page = (run.directory / figures.REPLAYS / "up.html").read_text(encoding="utf-8")
    assert "<title>tiny: up</title>" in page
    assert Image.open(run.directory / figures.REPLAYS / "up.gif").n_frames == S * N


def test_the_figure_shows_the_masters_and_each_sub_policy_alone(run):
    figure = np.asarray(Image.open(run.directory / figures.FIGURE).convert("RGB")).astype(int)
    height, width, _ = figure.shape
    assert 3 < width / height < 4.5  # two tasks and two sub-policies side by side
    for k in range(K):
        panel = figure[:, (2 + k) * width // 4 : (3 + k) * width // 4][: 3 * height // 4]
        for other in range(K):
            color = colors.subpolicy_color(other)
            rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
            reached = np.abs(panel - (0.8 * rgb + 0.2 * 244)).max(axis=-1) < 30
            assert reached.any() == (other == k)


def test_an_environment_that_cannot_draw_itself_leaves_nothing(tmp_path):
    env = envs.make("moving_bandits")
    tasks = select_tasks(env.all_tasks(), np.array([0, 1]))
    run = types.SimpleNamespace(directory=tmp_path, experiment="tiny")
    figures.look(run, env, None, tasks)
    assert not list(tmp_path.iterdir())


def test_the_first_master_of_each_task_is_shown():
    shown = figures.shown_masters(("right", "up"), np.array([0, 0, 1, 1]))
    assert shown == {"right": 0, "up": 2}


def test_of_sampled_tasks_the_first_few_are_shown():
    assert figures.shown_masters((), np.full(2, -1)) == {"task_0": 0, "task_1": 1}
    assert len(figures.shown_masters((), np.full(100, -1))) == 4


def test_the_episode_of_median_return_is_replayed_until_it_ends(env, rng):
    played = rollout(env, rng, 1, np.array([0, 1, 1, 0]), length=12)
    recording = figures.median_episode(env.unwrapped, played)
    assert len(recording.q) == 12
    np.testing.assert_array_equal(recording.reward, 1)  # of rewards 0, 1 and 2
    np.testing.assert_array_equal(recording.subpolicy, [0] * 5 + [1] * 7)
    np.testing.assert_allclose(recording.q[:, 1], 0.5 * np.arange(1, 13))
    assert recording.q.shape[1] == env.unwrapped.sys.q_size()
    assert recording.enemy is None
    assert recording.dt == pytest.approx(0.05)


def test_the_enemy_is_recorded_where_there_is_one(env, rng):
    played = rollout(env, rng, 0, np.zeros(S, int))
    x = played.env_metrics["x_position"]
    played = played.replace(env_metrics={**played.env_metrics, "enemy_x": x, "enemy_y": -x})
    recording = figures.median_episode(env.unwrapped, played)
    np.testing.assert_allclose(recording.enemy, np.outer(0.5 * np.arange(1, S * N + 1), [1, -1]))
    np.testing.assert_allclose(recording.enemy[:, 0], recording.q[:, 0])


def test_paths_stop_where_episodes_end(env, rng):
    xy, subpolicy = figures.paths(rollout(env, rng, 0, np.array([0, 1, 0, 1]), length=12))
    assert xy.shape == (R, S * N, 2) and subpolicy.shape == (R, S * N)
    np.testing.assert_allclose(xy[1, :12, 0], 0.5 * np.arange(1, 13))
    assert np.isnan(xy[:, 12:]).all()
    np.testing.assert_array_equal(subpolicy[2], np.repeat([0, 1, 0, 1], N))
