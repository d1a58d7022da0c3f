"""The summaries that `results/` keeps, and how tables write their numbers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlsh_jax.statistics import interquartile_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
RUNS = RESULTS / "runs"
BUNDLED = ROOT / "experiments" / "bundled"

Summary = dict[str, Any]


def read(pattern: str) -> list[Summary]:
    """The summaries of a pattern, by seed."""
    files = RUNS.glob(f"{pattern}.json")
    return sorted((json.loads(file.read_text()) for file in files), key=lambda run: run["seed"])


def bundled(name: str) -> Summary:
    """The summary of the run whose sub-policies come with the code."""
    summary: Summary = json.loads((BUNDLED / name / "summary.json").read_text())
    return summary


def words(page: Path) -> str:
    return " ".join(page.read_text(encoding="utf-8").split())


def whole(value: float) -> str:
    return f"{round(value)}".replace("-", "−")


def place(xy: Sequence[float]) -> str:
    return f"({', '.join(f'{round(x, 1) + 0.0:.1f}' for x in xy)})".replace("-", "−")


def signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def masters(task: Summary) -> str:
    return f"{whole(task['initial_return'])} → {whole(task['adapted_return'])}"


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def interval(values: Sequence[float], show: Callable[[float], str] = signed) -> str:
    """Interquartile mean and 95 % interval."""
    estimate, low, high = map(show, interquartile_interval(values))
    return f"{estimate} [{low}, {high}]"


def area(run: Summary) -> float:
    """Mean return over the iterations of the adaptation."""
    return float(np.mean(run["adaptation_return"]))
