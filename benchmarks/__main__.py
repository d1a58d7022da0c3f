"""`python -m benchmarks`: measures what is named, or everything, and prints a table for each."""

import dataclasses
import datetime
import itertools
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

import envs
from benchmarks import ant, growth, launches, measure, moving_bandits, sweep
from experiments.__main__ import find_experiments
from experiments.harness.config import at_least_one
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.devices import num_cores
from mlsh_jax.host.launch import run_main
from mlsh_jax.host.runs import write_json
from mlsh_jax.host.telemetry import print_table

Part = Literal["ant", "moving_bandits", "sweep", "growth", "launches"]
Rows = list[dict[str, Any]]
Case = tuple[str, Callable[..., Rows], tuple[Any, ...]]

_TITLES: dict[Part, str] = {
    "ant": "ant_twowalk: meta-training, the physics alone and Brax PPO",
    "moving_bandits": "moving_bandits on one core",
    "sweep": "moving_bandits: trials as one program and one after another",
    "growth": "speed and memory with G tasks and K sub-policies",
    "launches": "from the command to the first step",
}

_LAUNCHED = tuple(name for name in envs.names() if name in find_experiments())
"""Experiments of the environments that have one of their own."""


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure.

    Attributes:
        parts: "ant", training beside the physics alone and Brax's PPO; "moving_bandits", one core
            beside the authors' code; "sweep", many trials as one program beside one after another;
            "growth" with the numbers of tasks and sub-policies;
            "launches", from the command to the first step. All of them without any.
        rounds: how often each thing is timed, in turns with what it is compared with.
        ant_envs: "ant": numbers of parallel ants, multiples of 128.
        ant_batches: "ant": "long", batches of 200 steps of every ant as in ant_twowalk; "brax", of
            80 as in Brax's own example; or "short", of 5.
        parallel: "sweep": numbers of trials at once.
        growth_envs: "growth": environments to train on.
        num_tasks: "growth": numbers of tasks, with 2 sub-policies.
        num_subpolicies: "growth": numbers of sub-policies, with the second number of tasks.
        seeds: "moving_bandits": seeds to train.
        experiments: "launches": experiments to launch.
        presets: "launches": presets of each.
        output: JSON file to write.
    """

    parts: tyro.conf.Positional[tuple[Part, ...]] = ()
    rounds: int = 3
    ant_envs: tuple[int, ...] = (1024,)
    ant_batches: tuple[ant.BatchName, ...] = ("long", "brax", "short")
    parallel: tuple[int, ...] = (4, 16)
    growth_envs: tuple[growth.EnvName, ...] = ("ant_twowalk", "moving_bandits")
    num_tasks: tuple[int, ...] = (4, 32, 128, 512)
    num_subpolicies: tuple[int, ...] = (2, 4, 8, 16)
    seeds: int = 3
    experiments: tuple[str, ...] = _LAUNCHED
    presets: tuple[str, ...] = ("default", "paper")
    output: Path = Path("runs/benchmarks.json")

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first impossible field."""
        at_least_one(self, "rounds", "seeds")
        for experiment in self.experiments:
            if experiment not in _LAUNCHED:
                known = ", ".join(_LAUNCHED)
                raise ConfigError(f"experiments: there is no {experiment!r}: {known}")
        for number in self.ant_envs:
            if number < 128 or number % 128:
                raise ConfigError(f"ant_envs: must be multiples of 128, got {number}")
        for name in ("parallel", "num_tasks", "num_subpolicies"):
            if min(getattr(self, name), default=1) < 1:
                raise ConfigError(f"{name}: must be at least 1, got {getattr(self, name)}")


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints and writes."""
    config = tyro.cli(Config, args=argv, prog="python -m benchmarks")
    config.output.parent.mkdir(parents=True, exist_ok=True)
    # In a process of its own, since an accelerator may be had by one process only.
    devices = measure.in_new_process(measure.devices)
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {num_cores()} cores, {devices}",
        "config": dataclasses.asdict(config) | {"output": str(config.output)},
    }
    for part in config.parts or tuple(_TITLES):
        rows: Rows = []
        for label, function, arguments in _cases(part, config):
            print(f"{part}: {label}", flush=True)
            rows += measure.in_new_process(function, *arguments)
            results[part] = rows
            write_json(config.output, results)
        shown = [{name: x for name, x in row.items() if not isinstance(x, list)} for row in rows]
        print_table(_TITLES[part], shown)
    print(f"written to {config.output}")


def _cases(part: Part, config: Config) -> Iterator[Case]:
    """What is measured in processes of their own: a label, a function and its arguments."""
    if part == "ant":
        for number, batch, on_one in itertools.product(
            config.ant_envs, config.ant_batches, (False, True)
        ):
            label = f"{number} environments, {batch} batches, Brax on {'one' if on_one else 'all'}"
            yield label, ant.measure, (number, batch, config.rounds, on_one)
    elif part == "moving_bandits":
        yield f"{config.seeds} seeds", moving_bandits.measure, (config.seeds,)
    elif part == "sweep":
        yield "trials", sweep.measure, (config.parallel, config.rounds)
    elif part == "growth":
        for env in config.growth_envs:
            sizes = [(g, 2) for g in config.num_tasks]
            middle = config.num_tasks[min(1, len(config.num_tasks) - 1)]
            sizes += [(middle, k) for k in config.num_subpolicies if (middle, k) not in sizes]
            for g, k in sizes:
                yield f"{env}, G {g}, K {k}", growth.measure, (env, g, k, config.rounds)
    else:
        for experiment, preset in itertools.product(config.experiments, config.presets):
            yield f"{experiment} --preset {preset}", launches.measure, (experiment, preset)


if __name__ == "__main__":
    run_main(main)
