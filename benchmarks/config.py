"""What the benchmarks can be told: the options of `python -m benchmarks`."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from experiments import table
from experiments.harness.config import at_least_one
from mlsh_jax.errors import ConfigError

Part = Literal["ant", "bodies", "moving_bandits", "grids", "sweep", "growth", "launches"]
"""The benchmarks, each of them a module of that name with a `TITLE` and `cases`."""

BatchName = Literal["long", "brax", "short"]
ContenderName = Literal["physics", "rollouts", "masters", "training", "brax", "brax-one"]
GrowthEnv = Literal["moving_bandits", "ant_twowalk"]

_EXPERIMENTS = table.names("training", "course")


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure.

    Attributes:
        parts: "ant", training beside the physics alone and Brax's PPO; "bodies", the physics alone
            of ants and humanoids; "moving_bandits", one core beside the authors' code; "grids",
            grid worlds on one core beside the packages whose rules they have; "sweep", many trials
            as one program beside one after another; "growth" with the numbers of tasks and
            sub-policies; "launches", from the command to the first step. All of them without any.
        rounds: how often each thing is timed, in turns with what it is compared with.
        ant_envs: "ant": numbers of parallel ants, multiples of 128.
        batches: "ant": "long", batches of 200 steps of every ant as in ant_twowalk; "brax", of 80
            as in Brax's own example; or "short", of 5. One by default, since each takes minutes.
        contenders: "ant": what is timed in turns; "physics" alone, "rollouts", "masters" with
            these, whole "training", Brax's PPO on all devices ("brax"), and on the one that it
            takes if nothing else is said ("brax-one"). Each of the last two is a case of its own,
            with all others beside it.
        num_bodies: "bodies": numbers of parallel bodies, multiples of 128.
        parallel: "sweep": numbers of trials at once.
        growth_envs: "growth": environments to train on.
        num_tasks: "growth": numbers of tasks, with 2 sub-policies.
        num_subpolicies: "growth": numbers of sub-policies, with the second number of tasks.
        seeds: "moving_bandits": seeds to train.
        experiments: "launches": experiments to launch.
        presets: "launches": presets of each.
        output: JSON file that rows are kept in as they are measured; what it has of other cases
            stays.
    """

    parts: tyro.conf.Positional[tuple[Part, ...]] = ()
    rounds: int = 3
    ant_envs: tuple[int, ...] = (1024,)
    batches: tuple[BatchName, ...] = ("long",)
    contenders: tuple[ContenderName, ...] = (
        "physics",
        "rollouts",
        "masters",
        "training",
        "brax",
        "brax-one",
    )
    num_bodies: tuple[int, ...] = (1024,)
    parallel: tuple[int, ...] = (4, 16)
    growth_envs: tuple[GrowthEnv, ...] = ("ant_twowalk", "moving_bandits")
    num_tasks: tuple[int, ...] = (4, 32, 128, 512)
    num_subpolicies: tuple[int, ...] = (2, 4, 8, 16)
    seeds: int = 3
    experiments: tuple[str, ...] = _EXPERIMENTS
    presets: tuple[str, ...] = ("default", "paper")
    output: Path = Path("runs/benchmarks.json")

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first impossible field."""
        at_least_one(self, "rounds", "seeds")
        for experiment in self.experiments:
            if experiment not in _EXPERIMENTS:
                known = ", ".join(_EXPERIMENTS)
                raise ConfigError(f"experiments: there is no {experiment!r}: {known}")
        for name in ("ant_envs", "num_bodies"):
            for number in getattr(self, name):
                if number < 128 or number % 128:
                    raise ConfigError(f"{name}: must be multiples of 128, got {number}")
        for name in ("batches", "contenders", "num_tasks"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: name at least one")
        for name in ("parallel", "num_tasks", "num_subpolicies"):
            if min(getattr(self, name), default=1) < 1:
                raise ConfigError(f"{name}: must be at least 1, got {getattr(self, name)}")
