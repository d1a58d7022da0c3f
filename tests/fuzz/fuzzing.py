"""What the fuzz tests share: a seed, a worker that runs command lines, and what is always asked."""

import dataclasses
import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from launches import QUICK_FLAGS

SEED = int(os.environ.get("MLSH_FUZZ_SEED", "0"))
"""Another one makes other cases."""

ROOT = Path(__file__).parents[2]

QUICK = {"XLA_FLAGS": QUICK_FLAGS}
"""What processes are told that compile for longer than they run."""

_WORKER = Path(__file__).with_name("worker.py")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command line came to.

    Attributes:
        command: the command line as it is typed.
        exit_code: of the process; negative for a signal that ended it.
        stdout: what it printed.
        stderr: what it printed beside.
    """

    command: str
    exit_code: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """The last line on stderr, empty if there is none."""
        return (self.stderr.splitlines() or [""])[-1]

    def assert_readable(self) -> None:
        """It succeeded, or failed with one line for a person."""
        assert "Traceback" not in self.stdout + self.stderr, self
        assert self.exit_code in (0, 1, 2), self
        if self.exit_code:
            assert self.last_line.startswith("error: "), self
            # It may repeat what was typed, which may be long.
            assert len(self.last_line) < len(self.command) + 2000, self
            assert self.last_line.isprintable(), self

    def __str__(self) -> str:
        """All of it, for the message of a test."""
        text = f"MLSH_FUZZ_SEED={SEED} {self.command}\nexit code {self.exit_code}\n"
        return f"{text}{self.stdout[-3000:]}\n{self.stderr[-6000:]}"


def generator(kind: str, number: int) -> random.Random:
    """The random numbers of a case, which need no other case before it."""
    return random.Random(f"{SEED} {kind} {number}")


class Worker:
    """Runs command lines in a process that stays; see `worker.py`."""

    def __init__(self) -> None:
        """Starts no process yet."""
        self._process: subprocess.Popen[str] | None = None

    def run(
        self, module: str, arguments: Sequence[str], directory: Path, is_trained: bool = True
    ) -> Outcome:
        """What a command line comes to.

        Args:
            module: what `python -m` is given.
            arguments: what follows it.
            directory: where it is typed; what it prints is kept beside it.
            is_trained: whether it goes on when everything was checked.
        """
        kept = [directory.with_name(f"{directory.name}.{name}") for name in ("stdout", "stderr")]
        case = {"module": module, "arguments": list(arguments), "directory": str(directory)}
        case |= {"stdout": str(kept[0]), "stderr": str(kept[1]), "is_trained": is_trained}
        command = f"cd {directory}; python -m {module} {shlex.join(arguments)}"
        exit_code = self._answer(json.dumps(case))
        stdout, stderr = (path.read_text(errors="replace") for path in kept)
        return Outcome(command, exit_code, stdout, stderr)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _answer(self, case: str) -> int:
        if self._process is None:
            path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
            self._process = subprocess.Popen(
                [sys.executable, str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | QUICK | {"PYTHONPATH": path},
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(case + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer:
            return int(answer)
        exit_code = self._process.wait()
        self._process = None
        return exit_code


def files_below(directory: Path) -> dict[str, tuple[int, int]]:
    """Every file and directory with its size and when it was written."""
    return {
        str(path.relative_to(directory)): (status.st_size, status.st_mtime_ns)
        for path in sorted(directory.rglob("*"))
        if not path.is_dir()
        for status in [path.lstat()]
    }


def arrays_of(item: Path) -> dict[str, np.ndarray]:
    """Every leaf of an item of a checkpoint, by its name."""
    leaves = ocp.StandardCheckpointHandler().metadata(item.resolve()).tree
    arguments = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in leaves}
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(item.resolve(), restore_args=arguments)


def records_of(run: Path) -> list[dict[str, Any]]:
    """What a run has recorded, without the clock."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k != "wall_seconds"} for line in lines]


def summary_of(run: Path) -> dict[str, Any]:
    """What a run came to, without the clock, and without its label."""
    summary = json.loads((run / "summary.json").read_text())
    left_out = {"wall_seconds", "compile_seconds", "env_steps_per_second", "preset"}
    return {name: value for name, value in summary.items() if name not in left_out}
