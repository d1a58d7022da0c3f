"""Do the tests notice? `python -m tests.mutate` breaks the code on purpose, one fault at a time.

Each fault of `tests/faults/` is made in a copy of the repository, where the tests that are
nearest to it have to fail. Prints what was noticed, and fails if it was less than 95 %.
"""

import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tyro

from tests.faults import FAULTS, Fault

ROOT = Path(__file__).parent.parent
SHARE = 0.95
"""Of the faults, that have to be noticed."""


_SECONDS = 900  # that some files of tests may take


def main(only: str = "", jobs: int = 2) -> None:
    """Tries the faults.

    Args:
        only: those with this in their name; all by default.
        jobs: faults at a time.
    """
    faults = [fault for fault in FAULTS if only in fault.name]
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(jobs) as pool:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        ignored = shutil.ignore_patterns(".*", "runs", "__pycache__")
        for job in range(jobs):
            copies.put(Path(shutil.copytree(ROOT, Path(directory, str(job)), ignore=ignored)))

        def is_noticed_in_a_copy(fault: Fault) -> bool:
            copy = copies.get()
            try:
                return is_noticed(fault, copy)
            finally:
                copies.put(copy)

        copy = copies.get()
        for tests in dict.fromkeys(fault.tests for fault in faults):
            if (code := run_tests(tests, copy)) != 0:
                sys.exit(f"{' '.join(tests)}: fails without a fault as well (pytest ended: {code})")
        copies.put(copy)
        noticed = list(pool.map(is_noticed_in_a_copy, faults))
    share = sum(noticed) / max(len(noticed), 1)
    print(f"{sum(noticed)} of {len(noticed)} faults were noticed ({share:.0%})")
    sys.exit(int(share < SHARE))


def is_noticed(fault: Fault, root: Path) -> bool:
    """Whether a test fails where the code in `root` has the fault, which is mended again."""
    path = root / fault.path
    text = path.read_text(encoding="utf-8")
    started = time.monotonic()
    path.write_text(broken(fault, text), encoding="utf-8")
    try:
        code = run_tests(fault.tests, root)
    finally:
        path.write_text(text, encoding="utf-8")
    is_caught = code == 1  # some test failed; anything else is no test's merit
    verdict = "noticed" if is_caught else f"NOT NOTICED (pytest ended with {code})"
    print(f"{fault.name}: {verdict}, {time.monotonic() - started:.0f} s", flush=True)
    return is_caught


def broken(fault: Fault, text: str) -> str:
    """The text of the file with the fault.

    Raises:
        ValueError: what the fault replaces is not there exactly once.
    """
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.path} has {text.count(fault.old)} times {fault.old!r}")
    return text.replace(fault.old, fault.new)


def run_tests(files: Sequence[str], root: Path) -> int:
    """The exit code of pytest on some files, up to the first failure."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    command += ["-m", "not slow"]
    paths = [str(Path("tests") / file) for file in files]
    try:
        return subprocess.run(
            [*command, *paths],
            cwd=root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
        ).returncode
    except subprocess.TimeoutExpired:
        return -1


if __name__ == "__main__":
    tyro.cli(main)
