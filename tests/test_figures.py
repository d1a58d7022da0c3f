"""What a run leaves to look at, from measurements that were made up."""

import dataclasses
import types

import jax
import numpy as np
import pytest
from PIL import Image
from probes import Clock

import envs
from envs.grids import points
from envs.wrappers import EpisodeWrapper
from experiments.harness import figures
from mlsh_jax.adapt import Assessment, Episodes
from mlsh_jax.rollout import Rollout
from mlsh_jax.tasks import Tasks, select_tasks
from mlsh_jax.viz import bodies, colors

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
        imposed=np.zeros((S, R), bool),
        next_observation=after[:, -1],
        env_metrics={"x_position": after[..., 0], "y_position": after[..., 1]},
    )


def walks(rng, toward: int, task: int = 0) -> Rollout:
    """R episodes of moving_bandits that go to the point `toward`, sub-policy 1 from halfway on."""
    points_of = rng.uniform(0, points.SIZE, (R, 2, 2))
    goal = points_of[:, toward]
    xy = np.tile(points.START, (S * N + 1, R, 1))
    for t in range(S * N):
        axis = int(t >= S * N // 2)
        xy[t + 1 :, :, axis] += np.clip(goal[:, axis] - xy[t, :, axis], -20, 20)
    seen = np.concatenate([xy, np.tile(points_of.reshape(R, 4), (S * N + 1, 1, 1))], axis=-1)
    seen = (seen / points.SIZE).astype(np.float32)
    observation, after = (x.reshape(S, N, R, 6) for x in (seen[:-1], seen[1:]))
    near = np.linalg.norm(xy[1:] - points_of[:, task], axis=-1) < points.RADIUS
    return Rollout(
        observation=observation,
        action=np.zeros((S, N, R)),
        reward=near.reshape(S, N, R).astype(float),
        weight=np.ones((S, N, R)),
        terminated=np.zeros((S, N, R), bool),
        truncated=np.zeros((S, R), bool),
        failed=np.zeros((S, R), bool),
        subpolicy=np.repeat([[0], [0], [1], [1]], R, axis=1),
        imposed=np.zeros((S, R), bool),
        next_observation=after[:, -1],
        env_metrics={"success": near.reshape(S, N, R)},
    )


def episodes(rollouts: list[Rollout]) -> Episodes:
    """The recorded part is all that is looked at, and of the returns the shape."""
    recorded = jax.tree.map(lambda *x: np.stack(x), *rollouts)
    returns = np.zeros((len(rollouts), R))
    failed = np.zeros(returns.shape, bool)
    return Episodes(
        returns=returns,
        lengths=returns,
        terminated=failed,
        usage=np.tile([0.25, 0.75], (len(rollouts), 1)),
        env_sums={},
        env_finals={},
        steps_to_success=None,
        failed=failed,
        recorded=recorded,
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
    figures.draw_run(run, env, Assessment(initial=adapted, adapted=adapted, forced=forced), tasks)
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


def test_a_body_that_cannot_be_drawn_has_paths_and_no_replays(tmp_path, env, monkeypatch, capsys):
    monkeypatch.setattr(bodies, "_SHAPES", {})
    rng = np.random.default_rng(0)
    played = episodes([rollout(env, rng, task, np.zeros(S, int)) for task in MASTERS])
    run = types.SimpleNamespace(directory=tmp_path, experiment="tiny")
    tasks = select_tasks(env.all_tasks(), MASTERS)
    forced = jax.tree.map(lambda x: x[None], played)
    figures.draw_run(run, env, Assessment(initial=played, adapted=played, forced=forced), tasks)
    assert (tmp_path / figures.FIGURE).exists()
    said, there = capsys.readouterr().out.splitlines()
    assert "no replays: geom" in said and "replays" not in there


def test_of_an_environment_that_cannot_draw_itself_usage_is_shown(tmp_path, env, rng):
    clock = EpisodeWrapper(Clock(), 4)
    tasks = select_tasks(clock.all_tasks(), np.arange(3))
    run = types.SimpleNamespace(directory=tmp_path, experiment="tiny")
    adapted = episodes([rollout(env, rng, 0, np.zeros(S, int)) for _ in range(3)])
    figures.draw_run(run, clock, Assessment(initial=adapted, adapted=adapted, forced=None), tasks)
    assert [path.name for path in tmp_path.iterdir()] == [figures.USAGE]


def test_without_a_body_a_sub_policy_is_shown_on_the_task_that_it_is_best_at(tmp_path, monkeypatch):
    env = envs.make("all_walk", episode_length=S * N)

    def goes(strides: int, reward: float) -> Rollout:
        xy = np.tile(points.START, (S * N + 1, R, 1))
        xy[..., 0] += np.minimum(np.arange(S * N + 1), strides)[:, None] * points.STRIDE
        return dataclasses.replace(
            walks(np.random.default_rng(0), 0),
            observation=xy[:-1].reshape(S, N, R, 2) / points.SIZE,
            next_observation=xy[N::N] / points.SIZE,
            reward=np.full((S, N, R), reward),
        )

    best = goes(1, 2.0), goes(5, 1.0)  # on the first and the second task
    adapted = episodes(list(best))
    alone = [episodes(list(each)) for each in (best, best[::-1])]
    forced = jax.tree.map(lambda *x: np.stack(x), *alone)
    panels = []
    monkeypatch.setattr(figures, "plot_trajectories", lambda path, shown: panels.extend(shown))
    monkeypatch.setattr(figures, "_replay", lambda *args: None)
    run = types.SimpleNamespace(directory=tmp_path, experiment="tiny")
    tasks = Tasks(task=np.array([[0.0, 0.0], [400.0, 0.0]]), index=np.zeros(2, int))
    figures.draw_run(run, env, Assessment(initial=adapted, adapted=adapted, forced=forced), tasks)
    titles = [panel.title for panel in panels]
    assert titles[2:] == ["task_0: sub-policy 0 alone", "task_1: sub-policy 1 alone"]


def test_usage_is_the_mean_of_a_tasks_masters():
    usage = np.array([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
    by_task = figures.usage_by_task(("right", "up"), np.array([0, 0, 1]), usage)
    np.testing.assert_allclose(by_task["right"], [0.75, 0.25])
    np.testing.assert_allclose(by_task["up"], [0.2, 0.8])
    sampled = figures.usage_by_task((), np.full(3, -1), usage)
    assert list(sampled) == ["task_0", "task_1", "task_2"]
    np.testing.assert_allclose(sampled["task_2"], [0.2, 0.8])


def test_of_very_many_tasks_some_have_a_replay(bandits, rng, tmp_path, monkeypatch):
    drawn = []
    for name in ("write_animation", "write_replay"):
        monkeypatch.setattr(figures, name, lambda path, *args: drawn.append(path.name))
    run = types.SimpleNamespace(directory=tmp_path, experiment="tiny")
    episode = figures.played(bandits, 0, walks(rng, 0))
    figures._replay(run, bandits, {f"task {m}": episode for m in range(50)})
    assert len(drawn) == 2 * 17 and set(drawn[:4]) == {
        "task 0.gif", "task 0.html", "task 3.gif", "task 3.html"
    }  # fmt: skip


def test_the_first_master_of_each_task_is_shown():
    shown = figures.shown_masters(("right", "up"), np.array([0, 0, 1, 1]))
    assert shown == {"right": 0, "up": 2}


def test_of_sampled_tasks_the_first_few_are_shown():
    assert figures.shown_masters((), np.full(2, -1)) == {"task_0": 0, "task_1": 1}
    assert len(figures.shown_masters((), np.full(100, -1))) == 4


def record_median(env, recorded: Rollout):
    """The recording that is replayed of a master's rollout."""
    played = figures.played(env, env.all_tasks()[0], recorded)
    return figures.record(env, played, figures.median_episode(played))


def test_the_episode_of_median_return_is_replayed_until_it_ends(env, rng):
    recording = record_median(env, rollout(env, rng, 1, np.array([0, 1, 1, 0]), length=12))
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
    recording = record_median(env, played)
    np.testing.assert_allclose(recording.enemy, np.outer(0.5 * np.arange(1, S * N + 1), [1, -1]))
    np.testing.assert_allclose(recording.enemy[:, 0], recording.q[:, 0])


def test_whether_the_ceilings_are_there_is_recorded_where_they_come_and_go(env, rng):
    recorded = rollout(env, rng, 1, np.array([0, 1, 1, 0]), length=12)
    assert record_median(env, recorded).roofed is None
    name = next(iter(recorded.env_metrics))
    values = np.zeros(np.shape(recorded.env_metrics[name]), np.float32)
    values[1:] = 1.0  # [S, N, R]: from the second slice on
    recorded = recorded.replace(env_metrics={**recorded.env_metrics, "is_roofed": values})
    scene = dataclasses.replace(env.scene(env.all_tasks()[0]), ceilings_while="is_roofed")
    env = types.SimpleNamespace(
        unwrapped=env.unwrapped,
        scene=lambda task, observation: scene,
        positions=env.positions,
        all_tasks=env.all_tasks,
    )
    np.testing.assert_array_equal(record_median(env, recorded).roofed, np.arange(12) >= N)


def test_paths_stop_where_episodes_end(env, rng):
    recorded = rollout(env, rng, 0, np.array([0, 1, 0, 1]), length=12)
    played = figures.played(env, env.all_tasks()[0], recorded)
    xy, subpolicy = played.xy, played.subpolicy
    assert xy.shape == (R, S * N, 2) and subpolicy.shape == (R, S * N)
    np.testing.assert_allclose(xy[1, :12, 0], 0.5 * np.arange(1, 13))
    assert np.isnan(xy[:, 12:]).all()
    np.testing.assert_array_equal(subpolicy[2], np.repeat([0, 1, 0, 1], N))


@pytest.fixture(scope="module")
def bandits():
    return envs.make("moving_bandits", episode_length=S * N)


def test_a_point_is_followed_from_its_start_to_the_last_step(bandits, rng):
    recorded = walks(rng, 1)
    played = figures.played(bandits, 0, recorded)
    assert played.xy.shape == (R, S * N + 1, 2) and played.q is None
    np.testing.assert_array_equal(played.xy[:, 0], [points.START] * R)
    np.testing.assert_allclose(played.xy[:, -1], 400 * recorded.next_observation[-1, :, :2])
    np.testing.assert_array_equal(played.subpolicy[0], [0] * 11 + [1] * 10)
    np.testing.assert_allclose(played.returns, recorded.reward.sum(axis=(0, 1)))
    recording = figures.record(bandits, played, 1)
    np.testing.assert_array_equal(recording.q, played.xy[1])
    np.testing.assert_array_equal(recording.reward[1:], recorded.reward.reshape(-1, R)[:, 1])
    assert recording.reward[0] == 0 and recording.dt is None


def test_the_end_of_a_points_episode_is_the_end_of_its_recording(bandits, rng):
    recorded = walks(rng, 1)
    weight = recorded.weight * (np.arange(S * N) < 7).reshape(S, N, 1)
    played = figures.played(bandits, 0, recorded.replace(weight=weight))
    assert np.isnan(played.xy[:, 8:]).all()
    assert len(figures.record(bandits, played, 0).q) == 8


def test_every_episode_of_moving_bandits_is_drawn_with_its_own_points(
    bandits, rng, tmp_path, monkeypatch
):
    drawn, animated = {}, {}
    monkeypatch.setattr(
        figures,
        "plot_trajectories",
        lambda path, panels, columns: drawn.update(all=panels, n=columns),
    )
    monkeypatch.setattr(
        figures, "write_animation", lambda path, *args: animated.update({path.name: args})
    )
    adapted = episodes([walks(rng, task, task) for task in (0, 1)])
    alone = [episodes([walks(rng, k, task) for task in (0, 1)]) for k in range(K)]
    forced = jax.tree.map(lambda *x: np.stack(x), *alone)
    run = types.SimpleNamespace(directory=tmp_path, experiment="tiny")
    tasks = select_tasks(bandits.all_tasks(), np.array([0, 1]))
    figures.draw_run(
        run, bandits, Assessment(initial=adapted, adapted=adapted, forced=forced), tasks
    )

    assert len(drawn["all"]) == 4 * R and drawn["n"] == R
    titles = [panel.title.split("\n")[0] for panel in drawn["all"][::R]]
    assert titles == [
        "point_0: adapted master", "point_1: adapted master",
        "point_0: sub-policy 0 alone", "point_1: sub-policy 1 alone",
    ]  # fmt: skip
    for row, target in enumerate((0, 1, 0, 1)):
        for panel in drawn["all"][row * R : (row + 1) * R]:
            assert panel.xy.shape == (1, S * N + 1, 2)
            x, y, text = panel.scene.marks[target]
            assert (x, y) == panel.scene.goal and text == str(target)
            assert np.linalg.norm(panel.xy[0, -1] - (x, y)) < points.RADIUS
    assert set(animated) == {"point_0.gif", "point_1.gif"}
    for sys, recording, scene in animated.values():
        assert sys is None
        assert np.linalg.norm(recording.q[-1] - scene.goal) < points.RADIUS


def test_a_run_of_moving_bandits_leaves_pictures(bandits_run):
    assert (bandits_run / figures.FIGURE).stat().st_size > 10_000
    found = {path.name for path in (bandits_run / figures.REPLAYS).iterdir()}
    assert found == {f"point_{m}.{kind}" for m in range(2) for kind in ("gif", "html")}
    assert (bandits_run / figures.USAGE).stat().st_size > 1_000
