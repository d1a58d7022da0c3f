"""The numbers behind the tables that compare configurations over seeds, and their files.

Nothing here imports JAX, so that `--help` is quick.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from experiments.harness.config import AS_PUBLISHED
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.serialization import from_json, read_json, write_json
from mlsh_jax.rl.config import LearnerConfig, require

T = TypeVar("T")

BASE = MLSHConfig(
    **AS_PUBLISHED,
    master=LearnerConfig(learning_rate=1e-2, clip_epsilon=0.8, normalize_observations=False),
    subpolicy=LearnerConfig(epochs=2, num_minibatches=8),
)
"""What the tables vary: moving_bandits without the ingredients that results/separation.md is about,
which these tables are older than."""

FOUND = 38.0
"""A sub-policy of its own task earns 43.81 at best; below this it was not found."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What one seed came to.

    Attributes:
        seed: of everything random.
        adapted_return: of fresh masters after adaptation.
        own_task_returns: of the best sub-policy for each task when forced, `[M]`.
        training_returns: at the end of every meta-iteration; empty in files that are older.
        seconds: of a meta-iteration, on average; without compilation.
        measured: when and on what; empty where that is not known.
    """

    seed: int
    adapted_return: float
    own_task_returns: list[float]
    training_returns: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    measured: str = ""

    @property
    def collapsed(self) -> bool:
        """Whether some task has no sub-policy of its own."""
        return min(self.own_task_returns) < FOUND


@dataclasses.dataclass(frozen=True)
class SeedResult:
    """What one seed came to.

    Attributes:
        seed: of everything random.
        adapted_returns: of P fresh masters of each task after adaptation, `[M][P]`.
        forced_returns: of each sub-policy alone on each task, `[K][M]`.
        best_returns: that are possible on each task, `[M]`.
        idle_returns: of whoever does nothing for a task, `[M]`; empty where that is 0 on all.
        divergence: of each sub-policy from the one that is most like it, at the end of training,
            in nats, `[K]`; empty with one alone.
        date: on which it was measured, as 2026-11-30; empty where that is not known.
        commit: of the code that did; empty where that is not known or was not in a commit.
    """

    seed: int
    adapted_returns: list[list[float]]
    forced_returns: list[list[float]]
    best_returns: list[float]
    divergence: list[float]
    date: str = ""
    commit: str = ""
    idle_returns: list[float] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first field that does not go with the others."""
        num_tasks = len(self.best_returns)
        require(num_tasks > 0, "best_returns", "there are none")
        require(len(self.idle_returns) in (0, num_tasks), "idle_returns", f"not {num_tasks}")
        idle = self.idle_returns or [0.0] * num_tasks
        is_better = all(best > least for best, least in zip(self.best_returns, idle, strict=True))
        require(is_better, "best_returns", "not all are above those of idling")
        masters = {len(of_task) for of_task in self.adapted_returns}
        is_full = len(self.adapted_returns) == num_tasks and len(masters) == 1 and min(masters) > 0
        require(is_full, "adapted_returns", f"not as many masters on each of {num_tasks} tasks")
        tasks = {len(alone) for alone in self.forced_returns}
        require(tasks == {num_tasks}, "forced_returns", f"not of {num_tasks} tasks each")
        one_each = len(self.forced_returns) if len(self.forced_returns) > 1 else 0
        require(len(self.divergence) == one_each, "divergence", f"not {one_each} numbers")


def read_results(path: Path) -> dict[str, list[Result]]:
    """The numbers that are already there, by the name of a configuration.

    Raises:
        ConfigError: the file holds something else.
    """
    return {
        name: [from_file(path, Result, each, f"{name}[{i}]") for i, each in enumerate(results)]
        for name, results in read_table(path, list).items()
    }


def require_length(
    path: Path, table: Mapping[str, Sequence[Result]], name: str, length: int, default: int
) -> None:
    """Refuses to put seeds beside others that were trained for longer or less long.

    Args:
        path: of the numbers.
        table: what is there.
        name: of the configuration.
        length: meta-iterations that it is to be trained for.
        default: those of results that do not say.

    Raises:
        ConfigError: naming the option.
    """
    there = {len(result.training_returns) or default for result in table.get(name, ())}
    if there - {length}:
        raise ConfigError(
            f"--meta-iterations: {path} has seeds of {name} with "
            f"{', '.join(map(str, sorted(there)))} and not {length}; choose another --results"
        )


def read_table(path: Path, kind: type) -> dict[str, Any]:
    """The object in a file of numbers, whose values are of one kind; empty without a file.

    Raises:
        ConfigError: the file holds something else.
    """
    table = read_json(path) if path.exists() else {}
    if not all(isinstance(x, kind) for x in table.values()):
        raise ConfigError(f"--results: {path}: holds other numbers; choose another directory")
    return table


def from_file(path: Path, cls: type[T], data: Any, place: str) -> T:
    """What stands at a place of a file of numbers.

    Raises:
        ConfigError: naming the first field that is unknown, missing or impossible.
    """
    try:
        return from_json(cls, data, place)
    except ConfigError as error:
        raise ConfigError(f"--results: {path}: {error}; choose another directory") from None


def write_results(path: Path, table: dict[str, list[Result]]) -> None:
    """Writes the numbers behind a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, Any] = {
        name: [dataclasses.asdict(result) for result in results] for name, results in table.items()
    }
    write_json(path, numbers)
