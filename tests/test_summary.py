"""The closing numbers, from episodes that were made up."""

import dataclasses
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import envs
from experiments.harness import closing, stages
from experiments.harness.closing import finish, print_seeds, warn_of
from experiments.harness.methods import Closing
from experiments.harness.summary import (
    best_possible,
    learning_curve,
    returns_by_task,
    summarize_assessment,
    summarize_costs,
    summarize_training,
)
from mlsh_jax.adapt import Assessment, Episodes
from mlsh_jax.baselines.method import Method
from mlsh_jax.errors import RunError
from mlsh_jax.host.devices import make_layout
from mlsh_jax.host.runs import create_run
from mlsh_jax.host.train import FitResult
from mlsh_jax.tasks import Tasks

E, K = 4, 2
TASK_INDEX = np.array([0, 1, 1])


def _episodes(rng, *shape: int) -> Episodes:
    def finals(name: str) -> np.ndarray:
        return rng.random((*shape, E)) < 0.5 if name == "success" else rng.normal(size=(*shape, E))

    names = ("x_position", "y_position", "success")
    sums = {"success": rng.integers(0, 2, (*shape, E)) * 7.0}
    steps = np.where(sums["success"] > 0, rng.integers(1, 9, (*shape, E)), np.inf)
    return Episodes(
        returns=rng.normal(size=(*shape, E)),
        lengths=rng.integers(1, 9, (*shape, E)),
        terminated=rng.random((*shape, E)) < 0.5,
        usage=rng.dirichlet(np.ones(K), shape),
        env_sums=sums,
        env_finals={name: finals(name).astype(float) for name in names},
        steps_to_success=steps,
        failed=rng.random((*shape, E)) < 0.3,
        recorded=None,
    )


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    """Nothing."""


@pytest.fixture
def assessment(rng):
    return Assessment(
        initial=_episodes(rng, 3), adapted=_episodes(rng, 3), forced=_episodes(rng, K, 3)
    )


def _mean(values, failed) -> float:
    """Mean over those of the episodes of a master that did not fail, one after another."""
    kept = [v for v, f in zip(values, failed, strict=True) if not f]
    return sum(kept) / len(kept)


def test_episodes_whose_physics_failed_are_counted_and_not_averaged_in(assessment):
    summary = summarize_assessment(assessment, ("a", "b"), TASK_INDEX)
    adapted = assessment.adapted
    assert summary["physics_failures"] == adapted.failed.mean() > 0
    means = [_mean(r, f) for r, f in zip(adapted.returns, adapted.failed, strict=True)]
    assert summary["adapted_return"] == pytest.approx(np.mean(means))
    assert summary["per_task"]["a"]["adapted_return"] == pytest.approx(means[0])
    assert summary["per_task"]["b"]["adapted_return"] == pytest.approx(np.mean(means[1:]))
    assert summary["per_task"]["b"]["worst_master"] == pytest.approx(min(means[1:]))
    assert summary["per_task"]["b"]["best_master"] == pytest.approx(max(means[1:]))
    of_tasks = returns_by_task(adapted, ("a", "b"), TASK_INDEX)
    assert of_tasks == pytest.approx({"a": means[0], "b": np.mean(means[1:])})
    np.testing.assert_allclose(summary["subpolicy_usage"][1], adapted.usage[1:].mean(axis=0))
    for name, of_task, of_subpolicies in (
        ("lengths", "episode_length", "subpolicy_episode_lengths"),
        ("terminated", "terminated_rate", "subpolicy_terminated_rates"),
    ):
        means = [_mean(v, f) for v, f in zip(getattr(adapted, name), adapted.failed, strict=True)]
        assert summary["per_task"]["b"][of_task] == pytest.approx(np.mean(means[1:]))
        forced = assessment.forced
        alone = _mean(getattr(forced, name)[1, 0], forced.failed[1, 0])
        assert summary[of_subpolicies][1][0] == pytest.approx(alone)
    alone = _mean(forced.returns[1, 0], forced.failed[1, 0])
    assert summary["subpolicy_task_returns"][1][0] == pytest.approx(alone)
    axes = ("x_position", "y_position")
    ends = [_mean(adapted.env_finals[name][0], adapted.failed[0]) for name in axes]
    assert summary["per_task"]["a"]["final_position"] == pytest.approx(ends)
    ends = [_mean(forced.env_finals[name][1, 0], forced.failed[1, 0]) for name in axes]
    assert summary["subpolicy_final_positions"][1][0] == pytest.approx(ends)


@pytest.mark.parametrize("terminated", [[1, 1, 1], [0, 1, 1], [0, 0, 0]])
def test_how_many_episodes_terminate_is_printed_where_some_do(
    terminated, assessment, tmp_path, monkeypatch
):
    tables = []
    monkeypatch.setattr(closing, "print_table", lambda title, rows: tables.append(rows))
    adapted = dataclasses.replace(
        assessment.adapted,
        terminated=np.repeat(np.array(terminated, bool)[:, None], E, axis=1),
        failed=np.zeros((3, E), bool),
    )
    run = create_run(tmp_path, "toy", "default", 0, ToyConfig())
    summary = summarize_costs(run, 0, [], []) | summarize_assessment(
        dataclasses.replace(assessment, adapted=adapted), ("a", "b"), TASK_INDEX
    )
    finish(run, summary)
    run.close()
    rates = [row.get("terminated") for row in tables[0]]
    assert rates == ([f"{rate:.0%}" for rate in terminated[:2]] if any(terminated) else [None] * 2)


def test_success_at_any_step_and_at_the_last_are_told_apart(assessment):
    summary = summarize_assessment(assessment, ("a", "b"), TASK_INDEX)
    for episodes, key, sums in (
        (assessment.initial, "initial_success_rate", True),
        (assessment.adapted, "success_rate", True),
        (assessment.adapted, "final_success_rate", False),
    ):
        values = (episodes.env_sums if sums else episodes.env_finals)["success"] > 0
        means = [_mean(v, f) for v, f in zip(values, episodes.failed, strict=True)]
        assert summary[key] == pytest.approx(np.mean(means))
        assert summary["per_task"]["a"][key] == pytest.approx(means[0])
    forced = assessment.forced
    alone = _mean(forced.env_sums["success"][1, 0] > 0, forced.failed[1, 0])
    assert summary["subpolicy_success_rates"][1][0] == pytest.approx(alone)


def test_steps_to_success_are_those_of_successful_episodes_whose_physics_held(assessment):
    steps = np.array([[3.0, np.inf, 5.0, 9.0], [np.inf] * E, [np.inf] * E])
    failed = np.array([[False, False, False, True], [False] * E, [False] * E])
    adapted = dataclasses.replace(assessment.adapted, steps_to_success=steps, failed=failed)
    summary = summarize_assessment(
        dataclasses.replace(assessment, adapted=adapted), ("a", "b"), TASK_INDEX
    )
    assert summary["per_task"]["a"]["steps_to_success"] == 4.0
    assert np.isnan(summary["per_task"]["b"]["steps_to_success"])


@pytest.mark.parametrize("names", [("a", "b"), ()])
def test_the_curve_of_the_adaptation_is_kept_in_all_and_per_task(names, assessment, tmp_path):
    curve = {"return": np.array([2.0, 4.0, 6.0]), "episodes": np.array([5.0, 5.0, 2.5])}
    if names:
        curve["task_return"] = np.array([[1.0, 3.0], [3.0, 5.0], [5.0, 7.0]])
    run = create_run(tmp_path, "toy", "default", 0, ToyConfig())
    trained = FitResult(None, 6, 1.0, 1.0, 6.0, {}, tmp_path, tmp_path)
    of_training = [
        {"stage": "train", "iteration": i, "env_steps": 3 * i, "metrics": {"return": 7.0 + i}}
        for i in (1, 2)
    ]
    (run.directory / "metrics.jsonl").write_text("\n".join(map(json.dumps, of_training)))
    tasks = Tasks(None, TASK_INDEX if names else np.zeros(3, int))
    timed = stages.Timed((assessment, curve), 1.0, 1.0)
    agent = SimpleNamespace(
        env=SimpleNamespace(task_names=names), config=SimpleNamespace(steps_per_iteration=50)
    )
    closing = Closing(agent, tasks, layout=None, num_envs=E, iterations=3)
    summary = summarize_training(run, 0, trained, timed, closing)
    assert summary["training_return"] == [8.0, 9.0]
    shorter = dataclasses.replace(trained, env_steps=9)  # the last record is lost
    assert "training_return" not in summarize_training(run, 0, shorter, timed, closing)
    run.close()
    assert summary["adaptation_return"] == [2.0, 4.0, 6.0]
    assert summary["adaptation_env_steps"] == [50, 100, 150]
    assert summary["adaptation_episodes"] == [5.0, 10.0, 12.5]
    kept = {name: task["adaptation_return"] for name, task in summary["per_task"].items()}
    each = {"a": [1.0, 3.0, 5.0], "b": [3.0, 5.0, 7.0]}
    assert kept == (each if names else {"sampled": [2.0, 4.0, 6.0]})


def test_bodies_that_move_along_a_line_have_no_place_in_the_plane(assessment):
    def on_a_line(episodes: Episodes) -> Episodes:
        finals = {n: x for n, x in episodes.env_finals.items() if n != "y_position"}
        return dataclasses.replace(episodes, env_finals=finals)

    assessment = Assessment(
        initial=on_a_line(assessment.initial),
        adapted=on_a_line(assessment.adapted),
        forced=on_a_line(assessment.forced),
    )
    summary = summarize_assessment(assessment, ("a", "b"), TASK_INDEX)
    assert "final_position" not in summary["per_task"]["a"]


def test_a_task_in_which_the_physics_always_failed_has_no_return_and_that_is_said(
    assessment, tmp_path, capsys
):
    failed = np.array([[False] * E, [True] * E, [True] * E])
    adapted = dataclasses.replace(assessment.adapted, failed=failed)
    summary = summarize_assessment(
        dataclasses.replace(assessment, adapted=adapted), ("a", "b"), TASK_INDEX
    )
    run = create_run(tmp_path, "toy", "default", 0, ToyConfig())
    finish(run, summarize_costs(run, 0, [], []) | summary)
    run.close()
    written = json.loads((run.directory / "summary.json").read_text(), parse_constant=pytest.fail)
    assert written["per_task"]["b"]["adapted_return"] is None
    assert written["per_task"]["a"]["adapted_return"] == summary["per_task"]["a"]["adapted_return"]
    printed = capsys.readouterr().out.splitlines()
    lines = [line for line in printed if line.startswith("warning: ")]
    assert lines == ["warning: b has no return, as the physics failed in all of its episodes"]


def test_whatever_else_has_no_return_is_said(capsys):
    nan = float("nan")
    summary = {
        "per_task": {"a": {"initial_return": nan, "adapted_return": 1.0}},
        "subpolicy_task_returns": [[1.0, 2.0], [1.0, nan]],
        "baselines": ["single_policy", "other"],
        "single_policy": {"adapted_return": nan},
        "other": {"adapted_return": 0.0},
        "task_returns": {"b": nan, "c": 0.0},
    }
    warn_of(summary, "seed 3: ")
    whose = ["a before adaptation", "sub-policy 1 alone", "single_policy", "b"]
    reason = "has no return, as the physics failed in all of its episodes"
    expected = [f"warning: seed 3: {name} {reason}" for name in whose]
    assert capsys.readouterr().out.splitlines() == expected


def test_sub_policies_that_have_not_separated_are_told_at_the_end_of_a_run(capsys):
    of_others = {"subpolicy_usage": [[1.0, 0.0]]}
    warn_of(of_others)
    assert capsys.readouterr().out == ""
    warn_of(of_others | {"subpolicy_divergence": [0.1, 0.1]}, "seed 3: ")
    alike, unused = capsys.readouterr().out.splitlines()
    assert alike.startswith("warning: seed 3: sub-policies 0 and 1 act alike")
    assert unused.startswith("warning: seed 3: sub-policy 1 is never used")
    warn_of(
        {
            "subpolicy_divergence": [3.0, 3.0],
            "subpolicy_usage": [[1.0, 0.0], [0.0, 1.0]],
            "per_task": {
                name: {"initial_return": 0.0, "adapted_return": value}
                for name, value in (("left", 10.0), ("right", 2.0))
            },
            "best_returns": {"left": 10.5, "right": 10.5},
        }
    )
    (lost,) = capsys.readouterr().out.splitlines()
    assert "possible on 1 of 2 tasks, least on right (2 of 10.5)" in lost


def test_masters_that_are_not_finite_are_not_measured(tmp_path):
    run = create_run(tmp_path, "toy", "default", 0, ToyConfig())
    method = Method(
        name="toy",
        init=lambda key: jnp.zeros(2),
        iteration=lambda state: (state, {}),
        adapt=lambda state, key: {"logits": jnp.log(state), "count": jnp.arange(2)},
        play=lambda adapted, key: jnp.argmax(adapted["logits"]),
        env_steps=1,
        num_tasks=1,
    )
    env = envs.make("moving_bandits")
    one = make_layout(1)
    prepared = stages.prepare(run, method, env, iterations=1, seed=0, layout=one)
    assert stages.measure(run, prepared, jnp.array([1.0, 2.0]), "episodes").value == 1
    with pytest.raises(RunError, match=r"what has adapted is not finite; what was trained is sa"):
        stages.measure(run, prepared, jnp.array([1.0, -1.0]), "episodes")
    run.close()


def test_a_learning_curve_is_whole_or_left_out(tmp_path):
    run = SimpleNamespace(directory=tmp_path)
    assert learning_curve(run, "adapt", 2, 5) == {}
    lines = [
        json.dumps(
            {"stage": stage, "iteration": i, "env_steps": 30 * i, "metrics": {"return": 0.5 * i}}
        )
        for stage, i in (("train", 1), ("adapt", 1), ("adapt", 2))
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert learning_curve(run, "adapt", 2, 5) == {
        "adaptation_return": [0.5, 1.0],
        "adaptation_env_steps": [6.0, 12.0],
    }
    assert learning_curve(run, "adapt", 3, 5) == {}
    counted = "\n".join(lines).replace('"return"', '"episodes": 2.0, "return"')
    (tmp_path / "metrics.jsonl").write_text(counted)
    assert learning_curve(run, "adapt", 2, 5)["adaptation_episodes"] == [2.0, 4.0]
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").mkdir()
    assert learning_curve(run, "adapt", 2, 5) == {}


def test_an_optimal_player_is_asked_about_each_task_that_was_drawn():
    tasks = Tasks({"goal": np.array([1.0, 2.0, 6.0])}, np.zeros(3, int))
    env = SimpleNamespace(
        task_names=(), best_returns=lambda: None, best_return_of=lambda task: float(task["goal"])
    )
    assert best_possible(env, tasks) == {"best_return": 3.0, "best_returns": {"sampled": 3.0}}
    env.best_return_of = lambda task: None if task["goal"] == 6.0 else 1.0
    assert best_possible(env, tasks) == {}


def test_what_an_optimal_player_earns_stands_beside_what_was_earned(assessment, tmp_path, capsys):
    env = SimpleNamespace(task_names=("a", "b"), best_returns=lambda: np.array([1.25, 4.5]))
    tasks = Tasks(None, TASK_INDEX)
    best = best_possible(env, tasks)
    assert best == {"best_return": pytest.approx(41 / 12), "best_returns": {"a": 1.25, "b": 4.5}}
    assert best_possible(SimpleNamespace(task_names=()), tasks) == {}
    run = create_run(tmp_path, "toy", "default", 0, ToyConfig())
    summary = summarize_costs(run, 0, [], [])
    summary |= summarize_assessment(assessment, env.task_names, TASK_INDEX) | best
    finish(run, summary)
    run.close()
    assert "4.5" in capsys.readouterr().out
    print_seeds([summary])
    assert "3.417" in capsys.readouterr().out


def test_what_is_printed_of_seeds_and_tasks_is_the_worst_and_in_the_order_of_time(
    assessment, tmp_path, monkeypatch
):
    tables = []
    monkeypatch.setattr(closing, "print_table", lambda title, rows: tables.append(rows))
    run = create_run(tmp_path, "toy", "default", 3, ToyConfig())
    summary = summarize_costs(run, 3, [], [])
    summary |= summarize_assessment(assessment, ("a", "b"), TASK_INDEX)
    print_seeds([summary | {"subpolicy_divergence": [2.0, 0.5]}])
    ((row,),) = tables
    returns = [task["adapted_return"] for task in summary["per_task"].values()]
    assert (row["seed"], row["worst task"], row["nats apart"]) == ("3", min(returns), 0.5)
    assert row["initial return"] == summary["initial_return"]
    assert row["adapted return"] == summary["adapted_return"]
    finish(run, summary)
    run.close()
    of_task = summary["per_task"]["b"]
    names = ("initial_success_rate", "success_rate", "final_success_rate")
    before, after, last = (f"{of_task[name]:.0%}" for name in names)
    assert (tables[1][1]["success rate"], tables[1][1]["at end"]) == (f"{before} → {after}", last)
    assert before != after


def test_a_progress_line_says_how_far_the_most_alike_are_apart():
    metrics = {"return": 1.0, "physics_failures": 0.0, "usage": [0.5, 0.25, 0.25]}
    assert stages.describe(metrics | {"divergence": [2.0, 0.25, 0.25]})["apart"] == "0.25"
    assert "apart" not in stages.describe(metrics)


def test_a_progress_line_has_room_for_a_dozen_tasks():
    metrics = {"return": 1.0, "physics_failures": 0.0, "usage": [1.0]}
    returns = [3.0, -1.25, *range(2, 12)]
    line = stages.describe(metrics | {"task_return": returns})["tasks"]
    assert line == "3.0 -1.2 " + " ".join(f"{value}.0" for value in range(2, 12))
    assert stages.describe(metrics | {"task_return": [*returns, 12.0]})["tasks"] == "-1.2 to 12.0"
    assert "tasks" not in stages.describe(metrics | {"task_return": [1.0]})
