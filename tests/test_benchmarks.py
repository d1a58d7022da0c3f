"""The benchmarks: who is timed when, and what is counted. No test here depends on speed."""

import json
import os
import subprocess
import sys
import time
import types
import typing

import fake_benchmark
import psutil
import pytest

from benchmarks import __main__ as main_module
from benchmarks import ant, bodies, grids, growth, launches, measure, records, running
from benchmarks.config import Config, Part
from benchmarks.running import PARTS, forecast
from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host.compilation import Program


def _contender(name, calls, clock, seconds, env_steps):
    def call(count):
        calls.append((name, count))
        clock[0] += seconds
        return count + 1

    return measure.Contender(name, Program(call, 0.0, 0, 0.0), 0, env_steps)


def test_contenders_take_turns_and_the_first_call_does_not_count(monkeypatch):
    calls, clock, reported = [], [0.0], []
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])
    contenders = [
        _contender("slow", calls, clock, 2.0, 100),
        _contender("fast", calls, clock, 0.5, 200),
    ]

    def report(row):
        reported.append((len(calls), row))

    rates = measure.take_turns(contenders, 2, report)
    assert calls == [(name, i) for i in range(3) for name in ("slow", "fast")]
    assert rates == {"slow": [50.0, 50.0], "fast": [400.0, 400.0]}
    # Each rate is told after the call that it is of, before the next one begins.
    assert reported == [
        (3, {"round": 1, "what": "slow", "steps/s": 50}),
        (4, {"round": 1, "what": "fast", "steps/s": 400}),
        (5, {"round": 2, "what": "slow", "steps/s": 50}),
        (6, {"round": 2, "what": "fast", "steps/s": 400}),
    ]


def test_ratios_are_taken_within_rounds():
    # The machine got ten times slower after the first round: no matter.
    assert measure.ratio([100.0, 12.0, 9.0], [200.0, 20.0, 20.0]) == 0.5


def test_every_combination_is_measured_once():
    config = Config(num_tasks=(4, 32), num_subpolicies=(2, 8), growth_envs=("ant_twowalk",))
    sizes = [case.arguments[1:3] for case in growth.cases(config)]
    assert sizes == [(4, 2), (32, 2), (32, 8)]


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_a_title_and_cases_with_labels_of_their_own(part):
    assert PARTS[part].TITLE
    cases = PARTS[part].cases(
        Config(batches=("long", "brax", "short"), ant_envs=(128, 256), num_bodies=(128, 256))
    )
    assert len({case.label for case in cases}) == len(cases) > 0
    assert all(case.seconds > 0 for case in cases)


def test_parts_are_the_names_that_the_command_takes():
    assert tuple(PARTS) == typing.get_args(Part)


def test_a_case_has_one_brax_with_all_others_beside_it():
    cases = ant.cases(Config(contenders=("brax-one", "training", "physics", "brax")))
    contenders = [case.arguments[3] for case in cases]
    assert contenders == [("physics", "training", "brax"), ("physics", "training", "brax-one")]
    (alone,) = ant.cases(Config(contenders=("training", "physics")))
    assert alone.arguments[3] == ("physics", "training")
    assert alone.seconds < min(case.seconds for case in cases)


def test_brax_is_refused_where_it_would_fail_after_the_others(monkeypatch):
    monkeypatch.setattr(ant, "jax", types.SimpleNamespace(__version__="0.11.2"))
    with pytest.raises(ConfigError, match=r"--contenders: .* jax 0\.11\.2; name physics training"):
        ant.cases(Config(contenders=("brax", "physics", "training")))
    assert len(ant.cases(Config(contenders=("physics", "training")))) == 1


def test_the_table_compares_with_those_that_took_part():
    rates = {"physics": [100.0, 200.0], "training": [50.0, 100.0], "brax-one": [25.0, 100.0]}
    rows = ant._rows(("physics", "training"), rates)
    assert [row["of physics"] for row in rows] == [1.0, 0.5]
    assert "of Brax PPO" not in rows[0]
    rows = ant._rows(("physics", "training", "brax-one"), rates)
    assert [row["of Brax PPO"] for row in rows] == [3.0, 1.5, 1.0]


@pytest.mark.slow
def test_grids_are_timed_in_turns_with_the_package(monkeypatch):
    monkeypatch.setattr(grids, "pin_to_one_core", lambda: None)
    monkeypatch.setattr(grids, "NUM_ENVS", 4)
    monkeypatch.setattr(grids, "NUM_STEPS", 8)
    monkeypatch.setattr(grids, "ORIGINAL_STEPS", 300)  # an episode ends within 250
    reported = []
    (row,) = grids.measure(reported.append, "minigrid_door_key_5x5", 2)
    assert [each["what"] for each in reported] == 2 * [row["env"], "MiniGrid-DoorKey-5x5-v0"]
    for name, steps in (("steps/s", reported[::2]), ("package steps/s", reported[1::2])):
        assert row[name] == pytest.approx(sum(each["steps/s"] for each in steps) / 2, abs=1)


def test_grids_name_the_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(grids.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^grids: the package minigrid is missing: pip install"):
        grids.cases(Config())


@pytest.mark.parametrize("option", ["ant_envs", "num_bodies"])
@pytest.mark.parametrize("number", [0, 64, 1022])
def test_bodies_are_shared_out_evenly(option, number):
    with pytest.raises(ConfigError, match=f"{option}: must be multiples of 128, got {number}"):
        Config(**{option: (number,)})


@pytest.mark.slow
def test_bodies_are_timed_in_turns(monkeypatch):
    monkeypatch.setattr(bodies, "split_cpu", lambda: None)
    reported = []
    rows = bodies.measure(reported.append, 128, 1)
    assert [each["what"] for each in reported] == list(bodies.BODIES)
    assert [row["env"] for row in rows] == list(bodies.BODIES)
    rates = [each["steps/s"] for each in reported]
    assert [row["steps/s"] for row in rows] == rates
    assert rows[0]["of ant_twowalk"] == 1.0
    assert rows[1]["of ant_twowalk"] == pytest.approx(rates[1] / rates[0], abs=0.01)


FAKE = types.ModuleType("fake")
FAKE.TITLE = "a fake"  # type: ignore[attr-defined]


def _halves(report, number, fails=False):
    """Stands for a benchmark: reports twice, unless it fails in between."""
    report({"round": 1, "what": "half", "steps/s": number})
    if fails:
        raise RunError("cut")
    report({"round": 2, "what": "half", "steps/s": 2 * number})
    return [{"number": number, "rounds": [number, 2 * number]}]


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    """Runs fake cases as the growth benchmark, in this process; returns what the file holds."""
    output = tmp_path / "new" / "benchmarks.json"
    monkeypatch.setattr(running.measure, "in_new_process", _in_this_process)
    monkeypatch.setitem(PARTS, "growth", FAKE)

    def run(*cases):
        FAKE.cases = lambda config: list(cases)  # type: ignore[attr-defined]
        try:
            main_module.main(["growth", "--output", str(output)])
        finally:
            run.held = json.loads(output.read_text())
        return run.held

    return run


def _in_this_process(function, *arguments, report=None):
    return function(*arguments) if report is None else function(report, *arguments)


def _case(number, fails=False, label=None):
    return measure.Case(label or f"case {number}", _halves, (number, fails), 300.0)


def test_rows_are_printed_and_kept_as_they_are_measured(benchmark, capsys):
    held = benchmark(_case(1000))
    entry = held["growth"]["case 1000"]
    assert entry["rows"] == [{"number": 1000, "rounds": [1000, 2000]}]
    assert [row["steps/s"] for row in entry["measured"]] == [1000, 2000]
    assert "core" in entry["machine"]
    assert "  round 2  half  steps/s 2,000" in capsys.readouterr().out


def test_a_cut_keeps_what_was_measured_before_it(benchmark, capsys):
    with pytest.raises(RunError, match="cut"):
        benchmark(_case(1), _case(2, fails=True), _case(3))
    held = benchmark.held["growth"]
    assert held["case 1"]["rows"] and held["case 1"]["seconds"] is not None
    assert [row["steps/s"] for row in held["case 2"]["measured"]] == [2]
    assert held["case 2"]["rows"] == [] and held["case 2"]["seconds"] is None
    assert "case 3" not in held
    assert "round 1  half  steps/s 2" in capsys.readouterr().out


def test_another_start_keeps_what_it_does_not_measure(benchmark):
    before = benchmark(_case(1), _case(2))["growth"]
    after = benchmark(_case(5, label="case 2"))["growth"]
    assert after["case 1"] == before["case 1"]
    assert after["case 2"]["rows"] == [{"number": 5, "rounds": [5, 10]}]
    assert len(after["case 2"]["measured"]) == 2
    with pytest.raises(RunError):
        benchmark(_case(2, fails=True))
    # How long a case takes is known from when it was last done.
    assert benchmark.held["growth"]["case 2"]["seconds"] == after["case 2"]["seconds"]


def test_the_time_is_said_before_anything_is_measured(benchmark, tmp_path, capsys):
    benchmark(_case(1))
    line = capsys.readouterr().out.splitlines()[0]
    assert line == "1 case: about 5 min on 2 cores"
    held = records.Records(tmp_path / "known.json")
    cases = [_case(1), _case(2)]
    held.begin("growth", cases[0], "")
    held.finish("growth", cases[0], [], 60.0)
    again = records.Records(tmp_path / "known.json")
    assert forecast({"growth": cases[:1]}, again) == "1 case: about 60 s as long as last time"
    assert forecast({"growth": cases}, again).startswith("2 cases: about 6 min on 2 cores, or")


@pytest.mark.parametrize("text", ['{"date": "2026-11-25", "growth": []}', "[", "[]", '{"ant": 1}'])
def test_a_file_of_something_else_is_left_alone(text, tmp_path):
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"^--output: .*other.json: .*name another file"):
        records.Records(file)
    assert file.read_text() == text


def test_another_process_reports_before_it_ends():
    reported = []
    started = []

    def report(row):
        started.append(time.time())
        reported.append(row["steps/s"])

    (row,) = measure.in_new_process(fake_benchmark.slow_halves, 7, report=report)
    assert reported == [7, 14]
    assert started[0] < row["ended"]


def test_what_fails_in_another_process_fails_here_after_its_reports():
    reported = []
    with pytest.raises(RunError, match="cut"):
        measure.in_new_process(fake_benchmark.failing_half, 7, report=reported.append)
    assert len(reported) == 1


def test_what_is_measured_ends_with_the_command_that_was_killed():
    command = [sys.executable, fake_benchmark.__file__]
    path = os.pathsep.join(["", *sys.path])
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    ) as process:
        assert process.stdout is not None
        measured = psutil.Process(int(process.stdout.readline()))
        process.kill()
    # A process that has ended stays in the list while nobody waits for it.
    psutil.wait_procs([measured], timeout=30)
    assert not measured.is_running() or measured.status() == psutil.STATUS_ZOMBIE


@pytest.mark.whole
def test_the_command_measures_and_writes(tmp_path):
    output = tmp_path / "new" / "benchmarks.json"
    command = [sys.executable, "-m", "benchmarks", "growth", "--growth-envs", "moving_bandits"]
    command += ["--num-tasks", "2", "--num-subpolicies", "2", "--rounds", "1"]
    subprocess.run([*command, "--output", output], check=True, capture_output=True, text=True)
    ((label, entry),) = json.loads(output.read_text())["growth"].items()
    (row,), (timing,) = entry["rows"], entry["measured"]
    assert label == "moving_bandits, G 2, K 2, rounds: 1"
    assert timing == {"round": 1, "what": "meta-training", "steps/s": row["steps/s"]}
    assert (row["G"], row["K"], row["envs"]) == (2, 2, 80)
    assert row["µs/step"] == pytest.approx(1e6 / row["steps/s"], rel=0.01)
    # At least the observations and what is learned from them, less than a gigabyte.
    assert 2 * 2000 * 6 * 4 / 1e6 < row["array MB"] + 1 < 1000


@pytest.mark.parametrize("wait_seconds", [12.5, 0.0])
def test_launches_are_measured_whether_programs_were_compiled_ahead_or_not(wait_seconds):
    program = Program(lambda: None, 12.5, 2_000_000_000, 8e9, wait_seconds)
    found = launches.COMPILED.search(f"train: {program}")
    assert found is not None and found.groups() == ("12.5", "2.00")
