"""Does it run with every version that `pyproject.toml` admits? `python -m tests.versions`.

Makes a virtual environment with the lowest version of every direct dependency and one with the
newest, and runs a few tests in each. Needs uv (`pip install uv`), and 2 GB for an environment.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

import tyro

ROOT = Path(__file__).parent.parent
TESTS = (
    "tests/host/test_checkpoint.py",
    "tests/host/test_processes.py::test_two_processes_write_one_run_that_one_can_continue",
    "tests/test_experiments.py::test_a_run_keeps_config_provenance_metrics_and_checkpoints",
    "tests/test_experiments.py::test_a_run_that_goes_on_from_a_checkpoint_is_bitwise_the_same",
    "tests/envs/test_contract.py",
    "tests/test_scheduler.py",
)
"""What uses the dependencies in most of the ways that the library does."""

Resolution = Literal["lowest-direct", "highest"]
"""Which versions, as uv calls it."""


def main(
    python: str = f"{sys.version_info.major}.{sys.version_info.minor}",
    resolutions: tuple[Resolution, ...] = ("lowest-direct", "highest"),
) -> None:
    """Installs and tests; fails if a test does.

    Args:
        python: version of Python, of those on this machine.
        resolutions: "lowest-direct", the lowest versions of direct dependencies, or "highest".
    """
    failed = [resolution for resolution in resolutions if not passes(python, resolution)]
    sys.exit(f"failed with: {', '.join(failed)}" if failed else 0)


def passes(python: str, resolution: Resolution) -> bool:
    """Whether the tests pass with these versions, which are printed."""
    with tempfile.TemporaryDirectory(prefix="mlsh-versions-") as directory:
        interpreter = Path(directory) / "bin" / "python"
        _uv("venv", "--quiet", "--no-python-downloads", "--python", python, directory)
        install = ("--python", str(interpreter), "--resolution", resolution, "-e", ".[dev]")
        _uv("pip", "install", "--quiet", *install)
        print(f"{resolution}, Python {python}:", flush=True)
        _uv("pip", "list", "--python", str(interpreter))
        command = [str(interpreter), "-m", "pytest", "-n", "0", "-m", "not slow", *TESTS]
        # A path that was set for another environment would bring its packages along.
        environment = {name: x for name, x in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0


def _uv(*arguments: str) -> None:
    """Calls uv, which is a package of this Python."""
    if (code := subprocess.run([sys.executable, "-m", "uv", *arguments], cwd=ROOT).returncode) != 0:
        sys.exit(code)


if __name__ == "__main__":
    tyro.cli(main, prog="python -m tests.versions")
