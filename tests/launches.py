"""What tests share that run whole experiments."""

import socket
from pathlib import Path

import jax
import pytest

from mlsh_jax.errors import MlshError

TINY = [
    "--preset", "smoke", "--num-tasks", "2", "--num-envs", "4", "--steps-per-iteration", "200",
    "--warmup-iterations", "2", "--joint-iterations", "1", "--subpolicy.num-minibatches", "1",
]  # fmt: skip
"""Options of moving_bandits for a run of seconds that learns nothing."""


QUICK_FLAGS = "--xla_backend_optimization_level=0"
"""What XLA is told where programs are compiled for longer than they run."""

# Halves the time to compile. XLA ends a process that gives it a flag it does not know.
if jax.__version__.startswith("0.9."):
    QUICK_FLAGS += " --xla_cpu_use_fusion_emitters=false"


def free_address() -> str:
    """An address on this machine at which a coordinator can be."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def run_directories(root: Path) -> list[Path]:
    """The runs below a run root, oldest first."""
    return sorted(path for path in root.glob("*/*") if path.is_dir())


def assert_refused(call, error: type[MlshError], *words: str, root: Path | None = None) -> None:
    """The error is one line with all the words, and no run was made."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    if root is not None:
        assert not run_directories(root)
