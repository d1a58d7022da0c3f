"""What tests share that run whole experiments."""

import socket
from pathlib import Path

TINY = [
    "--preset", "smoke", "--num-tasks", "2", "--num-envs", "4", "--steps-per-iteration", "200",
    "--warmup-iterations", "2", "--joint-iterations", "1", "--subpolicy.num-minibatches", "1",
]  # fmt: skip
"""Options of moving_bandits for a run of seconds that learns nothing."""


def free_address() -> str:
    """An address on this machine at which a coordinator can be."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def run_directories(root: Path) -> list[Path]:
    """The runs below a run root, oldest first."""
    return sorted(path for path in root.glob("*/*") if path.is_dir())
