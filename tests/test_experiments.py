"""Experiments from the command line: complete runs, resuming, and baselines."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from launches import TINY, assert_refused, run_directories

import envs
from experiments import baseline, moving_bandits, transfer
from experiments.harness import course, pipeline
from experiments.harness.config import AdaptationConfig, Crossing, TrainingConfig
from mlsh_jax import mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import CheckpointError, ConfigError
from mlsh_jax.host.checkpoint import TRAINER, CheckpointStore, resolve
from mlsh_jax.host.devices import make_layout
from mlsh_jax.host.serialization import from_json

ROOT = Path(__file__).parent.parent


def test_a_run_writes_the_promised_summary(bandits_run):
    summary = json.loads((bandits_run / "summary.json").read_text())
    assert summary["experiment"] == "moving_bandits"
    assert (summary["preset"], summary["seed"]) == ("smoke", 7)
    assert summary["env_steps"] == 5 * 2 * 200 * 3  # meta-iterations, tasks, D, W + U
    assert 0 < summary["compile_seconds"] < summary["wall_seconds"]
    assert summary["env_steps_per_second"] > 0
    assert list(summary["per_task"]) == ["point_0", "point_1"]
    per_task = summary["per_task"].values()
    for name in ("initial_return", "adapted_return"):
        assert summary[name] == pytest.approx(np.mean([task[name] for task in per_task]))
        assert 0 <= summary[name] <= 50
    curves = [task["adaptation_return"] for task in per_task]
    assert np.shape(curves) == (2, 2)  # tasks, W
    np.testing.assert_allclose(summary["adaptation_return"], np.mean(curves, axis=0), rtol=1e-5)
    assert np.min(curves) >= 0 and 0 < np.max(curves) <= 50
    assert np.shape(summary["subpolicy_task_returns"]) == (2, 2)
    usage = np.array(summary["subpolicy_usage"])
    np.testing.assert_allclose(usage.sum(axis=1), 1, rtol=1e-5)


def test_a_run_keeps_config_provenance_metrics_and_checkpoints(bandits_run):
    config = json.loads((bandits_run / "config.json").read_text())
    assert config["training"]["mlsh"]["num_envs"] == 4
    provenance = json.loads((bandits_run / "provenance.json").read_text())
    assert provenance["sessions"][0]["packages"]["jax"] == jax.__version__
    records = [json.loads(line) for line in (bandits_run / "metrics.jsonl").open()]
    assert [record["iteration"] for record in records] == [1, 2, 3, 4, 5]
    assert np.shape(records[0]["metrics"]["task_return"]) == (2,)
    assert (bandits_run / "train" / "checkpoints" / "5").is_dir()


@pytest.mark.whole
def test_transfer_puts_fresh_masters_on_the_sub_policies_of_a_run(bandits_run, tmp_path):
    env = "envs.grids.points:MovingBandits"  # as anyone would name an environment of their own
    source = tmp_path / "source"
    shutil.copytree(bandits_run, source)
    arguments = ["--preset", "smoke", "--checkpoint", str(source)]
    root = tmp_path / "runs"
    transfer.main([*arguments, "--env", env, "--run-root", str(root)])
    (directory,) = run_directories(root)
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["experiment"] == "transfer"
    assert summary["env_steps"] == 2 * 2 * 8 * 50  # iterations, masters, E, T
    assert 0 <= summary["success_rate"] <= 1
    # The run goes on without the other one, and its φ can be transferred again.
    shutil.rmtree(source)
    shutil.rmtree(directory / "adapt" / "checkpoints" / "2")
    (directory / "summary.json").unlink()
    transfer.main(["--resume", str(directory)])
    assert summary_without_clock(directory)["adapted_return"] == summary["adapted_return"]
    kept = resolve(directory)
    assert kept.relative_to(directory).parts[:2] == ("subpolicies", "checkpoints")
    shutil.rmtree(directory / "subpolicies")
    with pytest.raises(CheckpointError, match=r"source.*: no such directory"):
        transfer.main(["--resume", str(directory)])


def final_state(directory: Path, env) -> dict[str, np.ndarray]:
    """Every array of the last checkpoint, by name."""
    config = from_json(
        TrainingConfig, json.loads((directory / "config.json").read_text())["training"]
    )
    agent = make_agent(env, config.mlsh)
    abstract = jax.eval_shape(lambda: mlsh.init(agent, jax.random.key(0)))
    with CheckpointStore(directory / "train" / "checkpoints", read_only=True) as store:
        assert store.latest() == config.meta_iterations
        state = store.restore({TRAINER: abstract}).items[TRAINER]
    state = dataclasses.replace(state, key=jax.random.key_data(state.key))
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def records(directory: Path) -> list[dict]:
    """What `metrics.jsonl` holds, without the clock."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").open()]
    return [{k: v for k, v in line.items() if k != "wall_seconds"} for line in lines]


def summary_without_clock(directory: Path) -> dict:
    summary = json.loads((directory / "summary.json").read_text())
    timings = {"wall_seconds", "compile_seconds", "env_steps_per_second"}
    return {name: summary[name] for name in summary.keys() - timings}


def assert_survives_a_kill(name: str, arguments: list[str], kill_at: int, env, tmp_path: Path):
    """A run killed after iteration `kill_at` and resumed equals one that never stopped."""

    def command(root: str) -> list[str]:
        launch = [sys.executable, "-m", f"experiments.{name}", *arguments]
        return [*launch, "--checkpoint-every", "1", "--run-root", str(tmp_path / root)]

    subprocess.run(command("whole"), check=True, cwd=ROOT, timeout=600)
    (whole,) = run_directories(tmp_path / "whole")

    process = subprocess.Popen(command("cut"), cwd=ROOT)
    deadline = time.monotonic() + 600
    while not list((tmp_path / "cut").glob(f"*/*/train/checkpoints/{kill_at}")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (cut,) = run_directories(tmp_path / "cut")
    assert not (cut / "summary.json").exists()
    resume = [sys.executable, "-m", f"experiments.{name}", "--resume", str(cut)]
    subprocess.run(resume, check=True, cwd=ROOT, timeout=600)
    assert_the_same(whole, cut, env)


def assert_the_same(run: Path, other: Path, env) -> None:
    """Two runs ended in the same state, bit for bit, and say the same of themselves."""
    expected, found = final_state(run, env), final_state(other, env)
    assert expected.keys() == found.keys()
    for leaf, value in expected.items():
        np.testing.assert_array_equal(found[leaf], value, err_msg=leaf)
    assert records(other) == records(run)
    assert summary_without_clock(other) == summary_without_clock(run)


@pytest.mark.whole
def test_a_run_that_goes_on_from_a_checkpoint_is_bitwise_the_same(bandits_run, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(bandits_run, cut)
    for later in ("4", "5"):
        shutil.rmtree(cut / "train" / "checkpoints" / later)
    (cut / "summary.json").unlink()
    moving_bandits.main(["--resume", str(cut)])
    assert_the_same(bandits_run, cut, envs.make("moving_bandits"))


@pytest.mark.slow
def test_a_run_killed_in_the_middle_and_resumed_is_bitwise_the_same(tmp_path):
    arguments = [*TINY, "--meta-iterations", "20"]
    env = envs.make("moving_bandits")
    assert_survives_a_kill("moving_bandits", arguments, 7, env, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "length"), [("ant_twowalk", 200), ("humanoid_walk_crawl", 500)])
def test_a_body_killed_in_the_middle_and_resumed_is_bitwise_the_same(name, length, tmp_path):
    arguments = ["--preset", "smoke", "--meta-iterations", "3", "--checkpoint-every", "1"]
    env = envs.make(name, episode_length=length)
    assert_survives_a_kill(name, arguments, 1, env, tmp_path)


BASELINE = [
    "--env", "moving_bandits", "--iterations", "3", "--num-tasks", "2", "--num-envs", "4",
    "--learner.epochs", "1", "--learner.num-minibatches", "1", "--episodes", "2",
    "--checkpoint-every", "1",
]  # fmt: skip


@pytest.mark.whole
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("single_policy", []),
        ("policy_per_task", ["--env", "taxi", "--env-options", "tasks=igl"]),
        ("untrained_subpolicies", ["--macro-length", "10"]),
    ],
)
def test_a_baseline_goes_on_where_it_was_and_ends_the_same(name, options, tmp_path):
    baseline.main([*BASELINE, "--baseline", name, *options, "--run-root", str(tmp_path)])
    (directory,) = run_directories(tmp_path)
    summary = summary_without_clock(directory)
    if "taxi" in options:
        names = envs.make("taxi").task_names
        assert tuple(summary["task_returns"]) == tuple(summary["best_returns"]) == names
        assert summary["env_options"] == ["tasks=igl"]
    else:
        assert summary["task_returns"].keys() == {"point_0", "point_1"}
        assert summary["best_return"] == pytest.approx(43.81, abs=0.01)
    assert summary["env_steps"] == 3 * len(summary["task_returns"]) * 4 * 50
    kept = records(directory)
    assert summary["adaptation_return"] == [line["metrics"]["return"] for line in kept]
    assert len(kept) == 3
    shutil.rmtree(directory / name / "checkpoints" / "3")
    (directory / "summary.json").unlink()
    baseline.main(["--resume", str(directory)])
    assert summary_without_clock(directory) == summary
    assert records(directory) == kept


def test_baselines_that_are_not_there_are_refused_before_a_run_is_made(tmp_path):
    root = ["--run-root", str(tmp_path)]
    for name, words in (
        ("maml", ["--baseline", "maml", "single_policy"]),
        ("nowhere:make", ["nowhere:make", "cannot be imported"]),
        ("mlsh_jax.baselines.single_policy:nothing", ["has no function nothing"]),
        ("os:system", ["os:system", "is in Python's own library"]),
        ("numpy:asarray", ["numpy:asarray", "returns a ndarray and no", "Method"]),
        ("numpy:pi", ["numpy has no function pi"]),
        (":make", ["':make'", "module:function"]),
    ):
        assert_refused(
            lambda name=name: baseline.main([*BASELINE, *root, "--baseline", name]),
            ConfigError, *words, root=tmp_path,
        )  # fmt: skip
    assert_refused(
        lambda: baseline.main([*BASELINE, *root, "--learner.rule", "trpo"]),
        ConfigError, "learner.rule", "ppo or a2c", root=tmp_path,
    )  # fmt: skip
    # What is not in the table is found where it says it is.
    config = baseline.Config(
        env="moving_bandits", baseline="mlsh_jax.baselines.single_policy:make_method"
    )
    assert baseline.make_method(config, make_layout(1))[0].name == "single_policy"


@pytest.mark.parametrize(("asked", "iterations"), [(None, 3), (7, 7)])
def test_a_baseline_may_have_more_env_steps_than_the_masters(monkeypatch, asked, iterations):
    prepared = {}

    def prepare(run, method, env, iterations, seed):
        prepared[method.name] = iterations
        if len(prepared) == 2:
            raise StopIteration  # nothing is trained here

    monkeypatch.setattr(pipeline, "prepare_on_tasks", prepare)

    def make_env(length):
        return envs.make("moving_bandits", episode_length=length)

    crossing = Crossing(AdaptationConfig(iterations=3), single_policy_iterations=asked)
    trained = MLSHConfig()
    subpolicies = mlsh.init(make_agent(make_env(None), trained), jax.random.key(0)).subpolicies
    with pytest.raises(StopIteration):
        run = SimpleNamespace(layout=make_layout(1))
        course.cross(run, make_env, subpolicies, trained, crossing, 0, [])
    assert prepared == {"adapt": 3, "single_policy": iterations}
