"""Runs that are ended at random moments go on as if they had not been."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fuzzing import QUICK, ROOT, arrays_of, generator, records_of, summary_of
from launches import TINY, run_directories

CASES = 30
TOYS = 26
"""Of the cases, those of the toy experiment; the others are of moving_bandits."""

TOY = str(ROOT / "tests" / "host" / "toy_experiment.py")
COMMANDS = {
    "toy": ([TOY], ["--iterations", "12", "--work", "60"]),
    "moving_bandits": (["-m", "experiments.moving_bandits"], [*TINY, "--checkpoint-every", "2"]),
}
"""What is started, and its options."""

SIGNALS = [signal.SIGKILL] * 5 + [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
PATIENCE_SECONDS = 600

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, str]]:
    """A run that nobody has ended, and what it has printed, by the name of its experiment."""
    done: dict[str, tuple[Path, str]] = {}

    def run(name: str) -> tuple[Path, str]:
        if name not in done:
            root = tmp_path_factory.mktemp("whole")
            process = start(name, root, root / "log")
            assert process.wait(PATIENCE_SECONDS) == 0, (root / "log").read_text()
            done[name] = newest_run(root), (root / "log").read_text()
        return done[name]

    return run


@pytest.mark.parametrize("number", range(CASES))
def test_a_run_that_is_ended_at_any_moment_ends_the_same(number, whole, tmp_path):
    rng = generator("kill", number)
    name = "toy" if number < TOYS else "moving_bandits"
    expected, printed = whole(name)
    log = tmp_path / "log"
    for _ in range(rng.choice([1, 1, 2, 3])):
        end_somewhere(rng, name, tmp_path, log)
    process = start(name, tmp_path, log)
    try:
        assert process.wait(PATIENCE_SECONDS) == 0, log.read_text()
    finally:
        process.kill()
    run = newest_run(tmp_path)
    assert records_of(run) == records_of(expected), log.read_text()
    assert summary_of(run) == summary_of(expected), log.read_text()
    assert digests(log.read_text()) == digests(printed), log.read_text()
    for checkpoints in expected.glob("*/checkpoints"):
        last = checkpoints.relative_to(expected) / str(max(saved(checkpoints))) / "trainer"
        found = arrays_of(run / last)
        for leaf, value in arrays_of(expected / last).items():
            np.testing.assert_array_equal(found[leaf], value, err_msg=leaf)


def end_somewhere(rng: random.Random, name: str, root: Path, log: Path) -> None:
    """Starts a run, or lets it go on, and ends it at some moment; nothing saved is lost."""
    moment, number = rng.choice(MOMENTS), rng.choice(SIGNALS)
    wanted, delay = rng.random(), rng.choice([0.0, 0.002, 0.05, 0.5]) * rng.random()
    with log.open("a") as opened:
        print(f"-- {moment.__name__} {wanted:.3f} + {delay:.4f} s, {number.name}", file=opened)
    before, beginning = newest_saved(root), log.stat().st_size
    process = start(name, root, log)
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while process.poll() is None and not moment(wanted, root, log.read_text()[beginning:]):
            assert time.monotonic() < deadline, f"hangs: {log.read_text()}"
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(number)
        exit_code = process.wait(PATIENCE_SECONDS)
    finally:
        process.kill()
    printed = log.read_text()[beginning:]
    # Before the program has the word, Ctrl-C ends Python as Python does, within an import as well.
    if number != signal.SIGINT or "run directory: " in printed:
        assert exit_code in (0, 128 + number, -number), (exit_code, log.read_text())
        assert "Traceback" not in printed, log.read_text()
    after = newest_saved(root)
    assert all(after.get(stage, 0) >= latest for stage, latest in before.items()), (before, after)


def on_the_way(wanted: float, root: Path, printed: str) -> bool:
    """While Python starts, and imports."""
    return time.time() - root.stat().st_ctime > 3 * wanted


def at_a_record(wanted: float, root: Path, printed: str) -> bool:
    """When so many iterations are recorded."""
    lines = (len(path.read_bytes().splitlines()) for path in root.glob("*/*/metrics.jsonl"))
    return sum(lines) >= 24 * wanted


def at_a_save(wanted: float, root: Path, printed: str) -> bool:
    """While a checkpoint of so many is written."""
    places = [*root.glob("*/*/*/checkpoints/*")]
    is_open = any("tmp" in place.name for place in places)
    return is_open and len(places) > 5 * wanted


def at_a_line(wanted: float, root: Path, printed: str) -> bool:
    """When so many lines are printed, up to the last ones, of the closing measurement."""
    return len(printed.splitlines()) > 12 * wanted


def at_the_closing_measurement(wanted: float, root: Path, printed: str) -> bool:
    """After the training."""
    return "second digest" in printed or "closing measurement" in printed


MOMENTS = [on_the_way, at_a_record, at_a_save, at_a_line, at_the_closing_measurement]


def start(name: str, root: Path, log: Path) -> subprocess.Popen[bytes]:
    """Starts an experiment that prints into a file, or continues its run where there is one."""
    program, options = COMMANDS[name]
    made = [run for run in run_directories(root) if (run / "config.json").exists()]
    continued = ["--resume", str(made[-1])] if made else [*options, "--run-root", str(root)]
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *program, *continued],
            cwd=ROOT,
            env=os.environ | QUICK | {"PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
            # The tests may have been started under nohup.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )


def newest_run(root: Path) -> Path:
    """The run that was made last; one before it was ended before it had a configuration."""
    return run_directories(root)[-1]


def newest_saved(root: Path) -> dict[str, int]:
    """The newest checkpoint of every stage."""
    directories = root.glob("*/*/*/checkpoints")
    return {str(directory): max(saved(directory), default=0) for directory in directories}


def saved(directory: Path) -> list[int]:
    """The iterations that have a checkpoint."""
    return [int(path.name) for path in directory.iterdir() if path.name.isdecimal()]


def digests(printed: str) -> set[str]:
    """Of the states that stages have ended with."""
    return set(re.findall(r"\w+ digest \w+", printed))
