"""A small sweep from its start to its end, its interruption, and several processes."""

import json
import os
import signal
import subprocess
import sys

import pytest
from launches import run_directories

from experiments import moving_bandits, sweep
from mlsh_jax.errors import ConfigError


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Runs a sweep of three trials, two at a time and with two seeds each."""
    root = tmp_path_factory.mktemp("sweeps")
    file = root / "space.json"
    file.write_text(json.dumps({"master.learning_rate": {"values": [0.01, 0.02, 1e38]}}))
    sweep.main([
        "--base", "smoke", "--space", str(file), "--sampler", "grid", "--trials", "3",
        "--parallel", "2", "--seeds", "2", "--meta-iterations", "1", "--run-root", str(root),
        "--devices", "2",
    ])  # fmt: skip
    return run_directories(root)[0]


def test_trials_are_recorded_and_a_diverged_one_is_only_a_failed_one(swept):
    trials = json.loads((swept / "trials.json").read_text())
    rates = {trial["values"]["master.learning_rate"]: trial for trial in trials}
    assert [rates[rate]["state"] for rate in (0.01, 0.02)] == ["complete"] * 2
    assert len(rates[0.01]["returns"]) == 1
    summary = json.loads((swept / "summary.json").read_text())
    assert summary["trials"] == 3
    assert (summary["complete"], summary["failed"]) == (2, 1)
    # Two places, then one: a place that nobody has costs nothing.
    assert summary["env_steps"] == 3 * 2 * 280_000
    assert rates[1e38]["failure"] == "diverged in meta-iteration 1"
    assert summary["best"]["return"] == max(t["return"] for t in trials if t["return"] is not None)
    for name in ("parallel_coordinate.png", "importance.png"):
        assert (swept / name).stat().st_size > 5000


def test_the_best_configuration_can_be_launched(swept):
    best = json.loads((swept / "summary.json").read_text())["best"]
    launch = sweep.parse(
        "moving_bandits", moving_bandits.PRESETS, ["--config", str(swept / "best.json")]
    )
    assert launch.config.training.mlsh.master.learning_rate == best["master.learning_rate"]
    assert launch.config.training.meta_iterations == 1


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
        (["--space", "nowhere"], "--space: no file 'nowhere'"),
        (["--storage", "sqlite:///x.db"], "--study: name the study"),
        (["--reduction-factor", "1"], "--reduction-factor: must be at least 2"),
        (["--sampler", "grid"], "--space: a grid needs a list of values"),
    ],
)
def test_impossible_sweeps_are_refused_before_a_run_directory_is_made(arguments, message, tmp_path):
    with pytest.raises(ConfigError) as error:
        sweep.main([*arguments, "--run-root", str(tmp_path)])
    assert str(error.value).startswith(message)
    assert not list(tmp_path.iterdir())
