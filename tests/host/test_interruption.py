"""Kills, signals and resumes of real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlsh_jax.host.signals import signal_handlers, stop_on_signal

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).with_name("toy_experiment.py")


def _run_directory(tmp_path):
    return next((tmp_path / "runs" / "toy").iterdir())


def _records(directory):
    path = directory / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def _comparable(directory):
    records = [json.loads(line) for line in _records(directory)]
    for record in records:
        del record["wall_seconds"]
    return records


def _digests(output):
    return [line for line in output.splitlines() if "digest" in line]


@pytest.mark.whole
def test_a_run_killed_twice_and_resumed_equals_one_never_stopped(start_toy, tmp_path, wait_until):
    arguments = ("--preset", "slow", "--iterations", "23")
    output, errors = start_toy(*arguments, "--run-root", "reference").communicate()
    reference = next((tmp_path / "reference" / "toy").iterdir())
    assert errors == ""

    process = start_toy(*arguments)
    wait_until(lambda: list((tmp_path / "runs").glob("toy/*/first/checkpoints/5")))
    directory = _run_directory(tmp_path)
    wait_until(lambda: len(_records(directory)) >= 8)
    process.kill()
    process.communicate()

    process = start_toy("--resume", str(directory))
    wait_until(lambda: len(_records(directory)) >= 23 + 7)
    process.kill()
    process.communicate()

    resumed_output, errors = start_toy("--resume", str(directory)).communicate()
    assert errors == ""
    assert _digests(resumed_output) == _digests(output) != []
    assert "first: compiled" not in resumed_output
    assert _comparable(directory) == _comparable(reference)
    assert _comparable(directory)[-1]["env_steps"] == 23 * 2**31
    assert json.loads((directory / "summary.json").read_text()) == {"env_steps": 23 * 2**31}
    assert len(json.loads((directory / "provenance.json").read_text())["sessions"]) == 3


def test_ctrl_c_saves_and_says_how_to_go_on(start_toy, tmp_path, wait_until):
    for number, exit_code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        root = f"runs{exit_code}"
        process = start_toy("--preset", "slow", "--run-root", root)
        runs = tmp_path / root
        wait_until(lambda runs=runs: any(_records(d) for d in runs.glob("toy/*")))
        directory = next(runs.glob("toy/*"))
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == exit_code
        iteration = len(_records(directory))
        assert (directory / "first" / "checkpoints" / str(iteration)).is_dir()
        last_line = errors.splitlines()[-1]
        assert last_line.startswith("stopped: ")
        assert last_line.endswith(f"{TOY} --resume {root}/toy/{directory.name}")
        assert "Traceback" not in errors


def test_a_reader_that_has_gone_ends_a_run_with_everything_saved(start_toy, tmp_path):
    process = start_toy("--preset", "slow")
    assert any("first 1/" in line for line in iter(process.stdout.readline, ""))
    process.stdout.close()  # as `| head` does
    assert process.wait(timeout=60) == 128 + signal.SIGHUP
    directory = _run_directory(tmp_path)
    assert (directory / "first" / "checkpoints" / str(len(_records(directory)))).is_dir()
    errors = process.stderr.read()
    assert errors.splitlines()[-1].endswith(f"--resume runs/toy/{directory.name}")
    assert "Traceback" not in errors and "Exception ignored" not in errors


def test_a_hang_up_is_ignored_where_it_was_before():
    for before, after in ((signal.SIG_IGN, 0), (signal.SIG_DFL, signal.SIGHUP)):
        with signal_handlers({signal.SIGHUP: before}), stop_on_signal() as request:
            signal.raise_signal(signal.SIGHUP)
            assert request.signal == after


def test_help_that_nobody_reads_says_nothing():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "experiments.moving_bandits", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_ctrl_c_while_libraries_are_imported_ends_without_a_traceback(tmp_path):
    slow = "import time; print('imported', flush=True); time.sleep(60)"
    (tmp_path / "tyro.py").write_text(slow)
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.moving_bandits", "--help"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        # The tests may have been started in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout.readline() == "imported\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (-signal.SIGINT, "")


def test_a_second_ctrl_c_aborts_at_once(start_toy, tmp_path):
    process = start_toy("--preset", "endless")
    assert any("compiled" in line for line in iter(process.stdout.readline, ""))
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert "once more to abort" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=5)
    assert process.returncode == 130


def test_two_processes_cannot_write_the_same_run(start_toy, tmp_path, wait_until):
    start_toy("--preset", "endless")
    wait_until(lambda: list((tmp_path / "runs").glob("toy/*/config.json")))
    second = start_toy("--resume", str(_run_directory(tmp_path)))
    _, errors = second.communicate(timeout=20)
    assert second.returncode == 1
    assert errors.startswith("error: ") and "another process" in errors
    assert errors.count("\n") == 1
