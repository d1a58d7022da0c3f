"""Runs read back from their directories, and grouped by what differs in their configuration."""

import contextlib
import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host.serialization import leaves, read_json, reading
from mlsh_jax.host.sinks import read_records

_SEED = "seed"
_OF_THE_WORLD = ("backend", "env_options", "reward")  # and no matter of how it is learned
_MOST_DIFFERENCES = 3  # in the label of a group whose preset says the same


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What a run left behind.

    Attributes:
        directory: the run directory.
        experiment: name of the experiment.
        preset: name of the preset.
        seed: of everything random.
        settings: its configuration, `{"training.mlsh.num_subpolicies": 2, …}`, without the seed.
        summary: the closing numbers; None where the run has not finished.
        records: the lines of `metrics.jsonl` of every stage.
    """

    directory: Path
    experiment: str
    preset: str
    seed: int
    settings: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    records: Mapping[str, Sequence[Mapping[str, Any]]]

    def closing(self, name: str) -> float | None:
        """A finite number of the summary, None where it has none of that name.

        Raises:
            RunError: what has that name is no number.
        """
        value = (self.summary or {}).get(name)
        number = _finite(value)
        if number is None and value is not None and not isinstance(value, float):
            raise RunError(f"{self.directory / 'summary.json'}: {name} is no number")
        return number

    def is_of_the_world_of(self, other: "Recorded") -> bool:
        """Whether returns of both runs are of the same thing.

        The environment that was named, or else the experiment, is the same, and so is what both say
        of its rewards, options and physics.
        """
        if self.settings.get("env", self.experiment) != other.settings.get("env", other.experiment):
            return False
        for name in _OF_THE_WORLD:
            mine, others = self.settings.get(name), other.settings.get(name)
            if None not in (mine, others) and mine != others:
                return False
        return True

    @functools.cached_property
    def task_returns(self) -> dict[str, float]:
        """The closing return on every task that has one, by its name.

        Raises:
            RunError: the summary holds something else under these names.
        """
        summary = self.summary or {}
        with reading(self.directory / "summary.json"):
            of_tasks = summary.get("per_task", {})
            returns = {name: task["adapted_return"] for name, task in of_tasks.items()}
            returns |= summary.get("task_returns", {})  # of a baseline by itself
            has_one = {name: value for name, value in returns.items() if value is not None}
            return {name: float(value) for name, value in has_one.items() if np.isfinite(value)}

    @property
    def lowest_task_return(self) -> float | None:
        """The closing return on the task where it is lowest; None where no task has one."""
        return min(self.task_returns.values(), default=None)

    @functools.cached_property
    def divergence(self) -> list[float]:
        """Nats of each sub-policy from the one most like it, infinite where that is not known.

        Empty where none were trained.
        """
        with reading(self.directory / "summary.json"):
            apart = (self.summary or {}).get("subpolicy_divergence", ())
            return [math.inf if (nats := _finite(value)) is None else nats for value in apart]

    @functools.cached_property
    def warnings(self) -> list[str]:
        """What the run said at its end of sub-policies that it has trained."""
        # With JAX, for which --help does not wait.
        from mlsh_jax.usage import separation_warnings, service_warnings

        if not self.divergence:
            return []
        with reading(self.directory / "summary.json"):
            usage = (self.summary or {}).get("subpolicy_usage", ())
            return [
                *separation_warnings(self.divergence, usage),
                *service_warnings(self.task_returns, self.best_returns),
            ]

    @functools.cached_property
    def best_returns(self) -> dict[str, float]:
        """What is possible on every task of which it is known."""
        with reading(self.directory / "summary.json"):
            return {
                name: float(value)
                for name, value in (self.summary or {}).get("best_returns", {}).items()
            }

    def adaptation(self, by: str) -> tuple[np.ndarray, np.ndarray]:
        """What one task has had, and the return, in each iteration of adaptation, `[I]` each.

        Nothing where the run has not recorded them.

        Args:
            by: "env_steps" or "episodes".
        """
        summary = self.summary or {}
        with reading(self.directory / "summary.json"):
            steps, returns = (
                np.asarray(summary.get(f"adaptation_{name}", ()), np.float64)
                for name in (by, "return")
            )
        if steps.shape != returns.shape:
            return steps[:0], steps[:0]
        is_there = np.isfinite(steps) & np.isfinite(returns)
        return steps[is_there], returns[is_there]

    def curve(self, stage: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Env steps and values of a metric in a stage, `[I]` each, where it is a finite number.

        Args:
            stage: of the run.
            metric: its tag; entries of a vector as in TensorBoard, `divergence/0`.
        """
        points = [
            (_finite(record["env_steps"]), _finite(_tagged(record["metrics"], metric)))
            for record in self.records.get(stage, ())
        ]
        points = [point for point in points if None not in point]
        steps, values = zip(*points, strict=True) if points else ((), ())
        return np.asarray(steps, np.float64), np.asarray(values, np.float64)


def _finite(value: Any) -> float | None:
    """A finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with contextlib.suppress(OverflowError):  # an integer that no float holds
        return float(value) if math.isfinite(value) else None
    return None


def _tagged(metrics: Mapping[str, Any], tag: str) -> Any:
    """What `mlsh_jax.host.sinks.scalars` gives a tag; None where there is none of it."""
    if tag in metrics:
        return metrics[tag]
    head, _, index = tag.rpartition("/")
    whole = _tagged(metrics, head) if head and index.isdecimal() else None
    return whole[int(index)] if isinstance(whole, list) and int(index) < len(whole) else None


def find_runs(paths: Sequence[Path]) -> list[Recorded]:
    """Reads run directories, and those below directories that are none.

    Args:
        paths: run directories, or what holds them, such as `runs/ant_maze`.

    Raises:
        ConfigError: a path is not there or holds no runs.
        RunError: a file of a run cannot be read.
    """
    directories: dict[Path, Path] = {}  # in order, each once
    for path in paths:
        if not path.is_dir():
            raise ConfigError(f"{path}: no such directory")
        found = sorted(file.parent for file in path.glob("**/provenance.json"))
        found = [directory for directory in found if (directory / "config.json").is_file()]
        if not found:
            raise ConfigError(
                f"{path}: holds no runs (directories with a provenance.json, which experiments "
                "write and mlsh_jax.train does not)"
            )
        for directory in found:
            directories.setdefault(directory.resolve(), directory)
    return [_read(directory) for directory in directories.values()]


def newest_of_each(runs: Sequence[Recorded]) -> tuple[list[Recorded], list[Recorded]]:
    """Of runs with the same configuration and seed the one that started last, and the others.

    A finished one comes before any that is not.
    """
    kept: dict[str, Recorded] = {}
    for run in sorted(runs, key=lambda run: (run.summary is not None, run.directory.name)):
        key = [run.experiment, run.seed, dict(run.settings)]
        kept[json.dumps(key, sort_keys=True)] = run
    chosen = {id(run) for run in kept.values()}
    return (
        [run for run in runs if id(run) in chosen],
        [run for run in runs if id(run) not in chosen],
    )


def group_runs(runs: Sequence[Recorded]) -> dict[str, list[Recorded]]:
    """Runs that differ in nothing but their seed, by a label that says what differs from others.

    The label is made of the fields whose values are not the same in all runs; where these are many
    and experiment and preset tell the groups apart as well, it is made of those two.
    """
    names = sorted({name for run in runs for name in run.settings})
    differing = [name for name in names if len({_text(run, name) for run in runs}) > 1]
    experiments = {run.experiment for run in runs}

    def settings_of(run: Recorded) -> tuple[str, ...]:
        return (run.experiment, *(_text(run, name) for name in differing))

    groups: dict[tuple[str, ...], list[Recorded]] = {}
    for run in runs:
        groups.setdefault(settings_of(run), []).append(run)
    presets = {(group[0].experiment, group[0].preset) for group in groups.values()}
    same_preset = all(len({run.preset for run in group}) == 1 for group in groups.values())
    by_preset = same_preset and len(presets) == len(groups)
    by_preset = by_preset and (not differing or len(differing) > _MOST_DIFFERENCES)
    short = _shortened(differing)

    def label(run: Recorded) -> str:
        if by_preset:
            return f"{run.experiment} {run.preset}"
        parts = [f"{short[name]} {_text(run, name)}" for name in differing]
        return ", ".join([run.experiment] * (len(experiments) > 1 or not parts) + parts)

    return {label(group[0]): group for group in groups.values()}


def _read(directory: Path) -> Recorded:
    """A run directory."""
    provenance = read_json(directory / "provenance.json")
    settings = leaves(read_json(directory / "config.json"))
    summary, metrics = directory / "summary.json", directory / "metrics.jsonl"
    records: dict[str, list[Any]] = {}
    with reading(metrics):
        for record in read_records(metrics):
            records.setdefault(record["stage"], []).append(record)
    with reading(directory / "provenance.json"):
        return Recorded(
            directory=directory,
            experiment=str(provenance["experiment"]),
            preset=str(provenance["preset"]),
            seed=int(provenance.get(_SEED, settings.get(_SEED, 0))),
            settings={name: value for name, value in settings.items() if name != _SEED},
            summary=read_json(summary) if summary.exists() else None,
            records=records,
        )


def _text(run: Recorded, name: str) -> str:
    return json.dumps(run.settings[name], ensure_ascii=False) if name in run.settings else "–"


def _shortened(names: Sequence[str]) -> dict[str, str]:
    """Dotted names without what their last parts already tell apart."""
    short = {}
    for name in names:
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            short[name] = ".".join(parts[-count:])
            if sum(f".{other}".endswith(f".{short[name]}") for other in names) == 1:
                break
    return short
