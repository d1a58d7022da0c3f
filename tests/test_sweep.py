"""A small sweep from its start to its end, its interruption, and several processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
from launches import free_address, run_directories

from experiments import moving_bandits, sweep
from experiments.sweeps import scheduler, sweeping, trainer
from experiments.sweeps.space import read_space
from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host.compilation import compile_ahead
from mlsh_jax.host.devices import make_layout

TINY_BATCHES = {
    "num_tasks": {"values": [2]},
    "num_envs": {"values": [4]},
    "steps_per_iteration": {"values": [200]},
    "warmup_iterations": {"values": [1]},
    "joint_iterations": {"values": [1]},
    "subpolicy.num_minibatches": {"values": [1]},
}
SMALL = TINY_BATCHES | {"master.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}}
ENV_STEPS = 2 * 200 * (1 + 1)
"""Of a meta-iteration of those."""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Runs a sweep of three trials, two at a time and with two seeds each."""
    root = tmp_path_factory.mktemp("sweeps")
    file = root / "space.json"
    rates = {"master.learning_rate": {"values": [0.01, 0.02, 1e38]}}
    file.write_text(json.dumps(TINY_BATCHES | rates))
    sweep.main([
        "--base", "smoke", "--space", str(file), "--sampler", "grid", "--trials", "3",
        "--parallel", "2", "--seeds", "2", "--meta-iterations", "1", "--run-root", str(root),
        "--devices", "2",
    ])  # fmt: skip
    return run_directories(root)[0]


@pytest.mark.whole
def test_trials_are_recorded_and_a_diverged_one_is_only_a_failed_one(swept):
    trials = json.loads((swept / "trials.json").read_text())
    rates = {trial["values"]["master.learning_rate"]: trial for trial in trials}
    assert [rates[rate]["state"] for rate in (0.01, 0.02)] == ["complete"] * 2
    (of_seeds,) = rates[0.01]["seed_returns"]
    assert len(set(of_seeds)) == 2
    np.testing.assert_allclose(rates[0.01]["returns"], [np.mean(of_seeds)], rtol=1e-6)
    assert None in rates[1e38]["seed_returns"][0]
    summary = json.loads((swept / "summary.json").read_text())
    assert summary["trials"] == 3
    assert (summary["complete"], summary["failed"]) == (2, 1)
    # Two places, then one: a place that nobody has costs nothing.
    assert summary["env_steps"] == 3 * 2 * ENV_STEPS
    assert rates[1e38]["failure"] == "diverged in meta-iteration 1"
    assert summary["best"]["return"] == max(t["return"] for t in trials if t["return"] is not None)
    for name in ("parallel_coordinate.png", "importance.png"):
        assert (swept / name).stat().st_size > 5000


@pytest.mark.whole
def test_the_best_configuration_can_be_launched(swept):
    best = json.loads((swept / "summary.json").read_text())["best"]
    launch = sweep.parse(
        "moving_bandits", moving_bandits.PRESETS, ["--config", str(swept / "best.json")]
    )
    assert launch.config.training.mlsh.master.learning_rate == best["master.learning_rate"]
    assert launch.config.training.meta_iterations == 1


@pytest.mark.whole
def test_a_finished_sweep_is_only_reported_again(swept, capsys):
    before = json.loads((swept / "summary.json").read_text())
    (swept.parents[1] / "space.json").unlink()  # the run has its own copy
    sweep.main(["--resume", str(swept)])
    assert "population of" not in capsys.readouterr().out
    assert json.loads((swept / "summary.json").read_text()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parallel", "3", "--devices", "2"], "--parallel: 3 trials cannot be spread evenly"),
        (["--base", "big"], "--base: moving_bandits has no preset 'big'"),
        (["--env", "ant_twowalks"], "--env: ant_twowalks is no experiment that trains sub-polici"),
        (
            ["--env", "ant_obstacle"],
            "--env: ant_obstacle is no experiment that trains sub-policies",
        ),
        (["--env", "nowhere.at_all"], "--env: nowhere.at_all is no experiment"),
        (["--env", ".relative"], "--env: .relative is no experiment"),
        (["--env", "experiments.table"], "--env: experiments.table: has no PRESETS"),
        (["--env", "experiments.ant_obstacle"], "--env: experiments.ant_obstacle: has no make_env"),
        (["--space", "nowhere"], "--space: no file 'nowhere'"),
        (["--storage", "sqlite:///x.db"], "--study: name the study"),
        (["--reduction-factor", "1"], "--reduction-factor: must be at least 2"),
        (["--seed", "-1"], "--seed: must be from 0"),
        (["--seed", str(2**32 - 2), "--seeds", "3"], "--seeds: the last seed would be 4294967296"),
        (["--storage", "nonsense://x", "--study", "x"], "--storage: nonsense://x: cannot be"),
        (["--parallel", "1000000000"], "--parallel: 1000000000 trials side by side need"),
        (["--seeds", "2000000000"], "--seeds: 16 trials side by side need"),
        (["--sampler", "grid"], "--space: a grid needs a list of values"),
    ],
)
def test_impossible_sweeps_are_refused_before_a_run_directory_is_made(arguments, message, tmp_path):
    with pytest.raises(ConfigError) as error:
        sweep.main([*arguments, "--run-root", str(tmp_path)])
    assert str(error.value).startswith(message)
    assert not list(tmp_path.iterdir())


OWN_EXPERIMENT = """
from experiments import moving_bandits

PRESETS = {"default": moving_bandits.PRESETS["smoke"]}
make_env = moving_bandits.make_env
"""


def test_an_experiment_of_ones_own_can_be_swept(tmp_path, monkeypatch):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "own_bandits.py").write_text(OWN_EXPERIMENT)
    (tmp_path / "lab" / "no_training.py").write_text(
        OWN_EXPERIMENT.replace('moving_bandits.PRESETS["smoke"]', "sweep.PRESETS['smoke']").replace(
            "import", "import sweep,", 1
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = sweep.Config(env="lab.own_bandits")
    space = sweeping.check(config, make_layout(1), read_space(config.space))
    assert space.base == moving_bandits.PRESETS["smoke"].config.training.mlsh
    with pytest.raises(ConfigError, match=r"^--env: lab\.no_training: .* no training"):
        sweeping.experiment_config(sweep.Config(env="lab.no_training"))


@pytest.fixture(scope="module")
def start_sweep(tmp_path_factory):
    """Starts sweeps of four small trials, two at a time, in processes of their own."""
    root = tmp_path_factory.mktemp("processes")
    (root / "space.json").write_text(json.dumps(SMALL))
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "XDG_CACHE_HOME": str(root / "cache"),
    }
    processes = []

    def start(name: str, *arguments: str) -> tuple[subprocess.Popen, Path]:
        command = [sys.executable, "-m", "experiments.sweep"]
        if "--resume" not in arguments:
            command += [
                "--base", "smoke", "--space", str(root / "space.json"), "--sampler", "random",
                "--trials", "4", "--parallel", "2", "--meta-iterations", "15", "--first-rung", "5",
                "--reduction-factor", "2", "--run-root", str(root / name),
            ]  # fmt: skip
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen([*command, *arguments], env=environment, **pipes)
        processes.append(process)
        return process, root / name

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed(start_sweep):
    """Where a sweep in one process has its run."""
    process, root = start_sweep("undisturbed", "--devices", "2")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return root


def trials_of(root: Path) -> list[dict]:
    (directory,) = run_directories(root)
    return json.loads((directory / "trials.json").read_text())


def interrupt(process: subprocess.Popen, number: int, root: Path, saved: str) -> str:
    """Sends a signal as soon as a checkpoint of such a number is there; returns stderr."""
    deadline = time.monotonic() + 120
    while not list(root.glob(f"sweep/*/population/checkpoints/{saved}")):
        assert process.poll() is None, "it was too fast"
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_as_if_nothing_had_happened(start_sweep, undisturbed):
    process, root = start_sweep("interrupted", "--devices", "2")
    interrupt(process, signal.SIGKILL, root, "[3-9]")
    (directory,) = run_directories(root)
    assert not (directory / "summary.json").exists()

    again = "--resume", str(directory), "--devices", "2"
    process, _ = start_sweep("interrupted", *again)
    errors = interrupt(process, signal.SIGTERM, root, "1[0-9]")
    assert process.returncode == 143, errors
    assert "stopped: saved all trials; continue with: " in errors
    assert errors.rstrip().endswith(f"--devices 2 --resume {directory}")

    process, _ = start_sweep("interrupted", *again)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    trials = trials_of(root)
    assert trials == trials_of(undisturbed)
    # No trial was begun twice.
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["env_steps"] == sum(len(trial["returns"]) for trial in trials) * ENV_STEPS
    assert summary["populations"] == 3


@pytest.mark.slow
def test_two_processes_sweep_as_one_does(start_sweep, undisturbed):
    group = ["--coordinator", free_address(), "--num-processes", "2", "--process-id"]
    processes, (root, _) = zip(*(start_sweep("two", *group, i) for i in "01"), strict=True)
    outputs, errors = zip(*(p.communicate(timeout=300) for p in processes), strict=True)
    assert [process.returncode for process in processes] == [0, 0], errors
    assert "best trials of 4" in outputs[0]
    assert "sweep" not in outputs[1]
    for one, two in zip(trials_of(undisturbed), trials_of(root), strict=True):
        assert (one["values"], one["state"]) == (two["values"], two["state"])
        np.testing.assert_allclose(two["returns"], one["returns"], rtol=1e-3)


@pytest.mark.whole
def test_a_trial_is_trained_as_its_configuration_is_alone(undisturbed, tmp_path):
    (directory,) = run_directories(undisturbed)
    arguments = ["--config", str(directory / "best.json"), "--run-root", str(tmp_path)]
    moving_bandits.main(arguments)
    (run,) = run_directories(tmp_path)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    returns = [json.loads(line)["metrics"]["return"] for line in lines]
    best = max(
        (trial for trial in trials_of(undisturbed) if trial["state"] == "complete"),
        key=lambda trial: trial["return"],
    )
    np.testing.assert_allclose(best["returns"], returns, rtol=1e-3)


def small_sweep(tmp_path: Path, space: dict) -> list[str]:
    (tmp_path / "space.json").write_text(json.dumps(space))
    return [
        "--base", "smoke", "--space", str(tmp_path / "space.json"), "--sampler", "random",
        "--trials", "5", "--parallel", "2", "--meta-iterations", "1",
        "--run-root", str(tmp_path / "runs"),
    ]  # fmt: skip


@pytest.mark.whole
def test_networks_that_do_not_fit_fail_their_trials_only(tmp_path, monkeypatch):
    def compile_small(function, states, *arguments, **options):
        if states.subpolicies.params["policy"]["params"]["mlp"]["Dense_0"]["bias"].shape[-1] > 8:
            raise RunError("needs 100 GB")
        return compile_ahead(function, states, *arguments, **options)

    monkeypatch.setattr(trainer, "compile_ahead", compile_small)
    sizes = {"subpolicy.hidden_sizes": {"values": [[64, 64], [8]]}}
    sweep.main(small_sweep(tmp_path, SMALL | sizes))
    trials = trials_of(tmp_path / "runs")
    assert len(trials) == 5
    by_size = {"[64, 64]": set(), "[8]": set()}
    for trial in trials:
        outcome = trial["state"], trial["failure"]
        by_size[trial["values"]["subpolicy.hidden_sizes"]].add(outcome)
    assert by_size == {"[64, 64]": {("fail", "needs 100 GB")}, "[8]": {("complete", None)}}


@pytest.mark.whole
def test_steps_that_end_elsewhere_than_training_fail_their_trials_before_it(tmp_path):
    space = SMALL | {"subpolicy.decay_until": {"values": [0, 3]}}
    sweep.main(small_sweep(tmp_path, space))
    trials = trials_of(tmp_path / "runs")
    outcomes = {(t["values"]["subpolicy.decay_until"], t["state"]) for t in trials}
    assert outcomes == {(0, "complete"), (3, "fail")}
    failures = [trial["failure"] for trial in trials if trial["state"] == "fail"]
    assert all(failure.startswith("subpolicy.decay_until: ") for failure in failures)
    (directory,) = run_directories(tmp_path / "runs")
    assert (directory / "best.json").exists()


def test_a_sweep_of_another_length_has_steps_that_fall_in_its_end():
    for meta_iterations, updates in ((None, 17 * 8), (20, 20 * 8)):
        config = sweep.Config(env="ant_twowalk", meta_iterations=meta_iterations)
        training = sweeping.experiment_config(config).training
        assert training.mlsh.subpolicy.decay_until == updates
    config = sweep.Config(env="moving_bandits", meta_iterations=20)
    assert sweeping.experiment_config(config).training.mlsh.subpolicy.decay_until == 0


def test_a_population_that_does_not_fit_ends_the_sweep_and_loses_no_trial(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise RunError("needs 100 GB")

    monkeypatch.setattr(trainer, "compile_ahead", refuse)
    space = {"master.learning_rate": SMALL["master.learning_rate"]}
    with pytest.raises(RunError, match=r"^2 trials at once: needs 100 GB; or lower --parallel"):
        sweep.main(small_sweep(tmp_path, space))
    (directory,) = run_directories(tmp_path / "runs")
    study = scheduler.open_study("sweep", directory, None, optuna.pruners.NopPruner())
    assert {trial.state.name for trial in study.trials} == {"RUNNING"}
