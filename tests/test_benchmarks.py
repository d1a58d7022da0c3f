"""The benchmarks: who is timed when, and what is counted. No test here depends on speed."""

import json
import subprocess
import sys

import pytest

from benchmarks import measure
from benchmarks.__main__ import Config, _cases
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.compilation import Program


def _contender(name, calls, clock, seconds, env_steps):
    def call(count):
        calls.append((name, count))
        clock[0] += seconds
        return count + 1

    return measure.Contender(name, Program(call, 0.0, 0, 0.0), 0, env_steps)


def test_contenders_take_turns_and_the_first_call_does_not_count(monkeypatch):
    calls, clock = [], [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])
    contenders = [
        _contender("slow", calls, clock, 2.0, 100),
        _contender("fast", calls, clock, 0.5, 200),
    ]
    rates = measure.take_turns(contenders, 2)
    assert calls == [(name, i) for i in range(3) for name in ("slow", "fast")]
    assert rates == {"slow": [50.0, 50.0], "fast": [400.0, 400.0]}


def test_ratios_are_taken_within_rounds():
    # The machine got ten times slower after the first round: no matter.
    assert measure.ratio([100.0, 12.0, 9.0], [200.0, 20.0, 20.0]) == 0.5


def test_every_combination_is_measured_once():
    config = Config(num_tasks=(4, 32), num_subpolicies=(2, 8), growth_envs=("ant_twowalk",))
    sizes = [arguments[1:3] for _, _, arguments in _cases("growth", config)]
    assert sizes == [(4, 2), (32, 2), (32, 8)]


@pytest.mark.parametrize("number", [0, 64, 1022])
def test_ants_are_shared_out_evenly(number):
    with pytest.raises(ConfigError, match="ant_envs: must be multiples of 128"):
        Config(ant_envs=(number,))


def test_the_command_measures_and_writes(tmp_path):
    output = tmp_path / "new" / "benchmarks.json"
    command = [sys.executable, "-m", "benchmarks", "growth", "--growth-envs", "moving_bandits"]
    command += ["--num-tasks", "2", "--num-subpolicies", "2", "--rounds", "1"]
    subprocess.run([*command, "--output", output], check=True, capture_output=True, text=True)
    (row,) = json.loads(output.read_text())["growth"]
    assert (row["G"], row["K"], row["envs"]) == (2, 2, 80)
    assert row["µs/step"] == pytest.approx(1e6 / row["steps/s"], rel=0.01)
    # At least the observations and what is learned from them, less than a gigabyte.
    assert 2 * 2000 * 6 * 4 / 1e6 < row["array MB"] + 1 < 1000
