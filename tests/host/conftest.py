"""Fixtures of the host tests: a toy experiment as a subprocess."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TOY = Path(__file__).with_name("toy_experiment.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def start_toy(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts the toy experiment in `tmp_path`; what still runs at the end is killed."""
    processes = []

    def start(*arguments: str, path: Path = ROOT) -> subprocess.Popen:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{path}",
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        process = subprocess.Popen(
            [sys.executable, str(TOY), *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # The tests may have been started under nohup.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Waits for a condition, at most a minute."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.02)

    return wait
