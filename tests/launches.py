"""What tests share that run whole experiments."""

from pathlib import Path

TINY = [
    "--preset", "smoke", "--num-tasks", "2", "--num-envs", "4", "--steps-per-iteration", "200",
    "--warmup-iterations", "2", "--joint-iterations", "1", "--subpolicy.num-minibatches", "1",
]  # fmt: skip
"""Options of moving_bandits for a run of seconds that learns nothing."""


def run_directories(root: Path) -> list[Path]:
    """The runs below a run root, oldest first."""
    return sorted(path for path in root.glob("*/*") if path.is_dir())
