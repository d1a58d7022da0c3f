"""Sweeps hyperparameters of an experiment's training, many trials at once as one program.

Optuna proposes trials and records them; `--parallel` of them are trained side by side, spread over
all devices. Bad ones are dropped at rungs and their places filled anew.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, ClassVar

import tyro

from experiments import table
from experiments.harness.config import at_least_one
from experiments.sweeps import Sampler
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.launch import NUM_SEEDS, Preset, check_seed, parse, run_main

_ENV = tyro.conf.arg(
    metavar="NAME|MODULE",
    help="Experiment whose training is swept: one of "
    f"{', '.join(table.names('training'))}, or the dotted name of a module of your own with "
    "PRESETS and make_env.",
)


@dataclasses.dataclass(frozen=True)
class Config:
    """A sweep.

    Attributes:
        env: experiment whose training is swept: one that trains sub-policies, or the dotted name of
            a module of your own with `PRESETS` and `make_env`.
        base: preset of that experiment, from which everything is that the space does not name.
        space: name of a space, or a JSON file (see `experiments.sweeps.space`).
        trials: trials in all.
        parallel: trials that are trained side by side; a multiple of the number of devices, where
            these are chosen.
        seeds: trainings of each trial, whose mean return counts.
        seed: of the proposals; the trainings of a trial have the seeds from this one on.
        meta_iterations: of a trial that is not dropped; None for those of the preset.
        sampler: how trials are proposed.
        first_rung: meta-iterations after which a trial can be dropped; None to drop none.
        reduction_factor: of the trials that reach a rung one in so many goes on; the next rung is
            that many times as high.
        storage: URL of a database that several sweeps share; None for a file in the run.
        study: name of the study in that database.
    """

    TYPED: ClassVar = ("storage", "study")
    """Fields that only a command line sets, never a file, which may be someone else's."""

    env: Annotated[str, _ENV] = "moving_bandits"
    base: str = "default"
    space: str = "learning-rates"
    trials: int = 64
    parallel: int = 16
    seeds: int = 1
    seed: int = 0
    meta_iterations: int | None = None
    sampler: Sampler = "tpe"
    first_rung: int | None = 3
    reduction_factor: int = 3
    storage: str | None = None
    study: str | None = None

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first impossible field."""
        at_least_one(self, "trials", "parallel", "seeds", "meta_iterations", "first_rung")
        if self.reduction_factor < 2:
            raise ConfigError(f"reduction_factor: must be at least 2, got {self.reduction_factor}")
        check_seed(self.seed)
        if (last := self.seed + self.seeds - 1) >= NUM_SEEDS:
            raise ConfigError(f"seeds: the last seed would be {last}, and {NUM_SEEDS - 1} is it")
        if self.storage is not None and self.study is None:
            raise ConfigError("study: name the study that is in --storage")


PRESETS = {
    "default": Preset(Config(), "64 trials of the learning rates of moving_bandits, 16 at once"),
    "smoke": Preset(
        Config(base="smoke", trials=4, parallel=2, meta_iterations=2, first_rung=1),
        "4 short trials",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Sweeps, reports."""
    launch = parse("sweep", PRESETS, argv)
    from experiments.sweeps import sweeping  # with JAX, for which --help should not wait

    sweeping.sweep(launch)


if __name__ == "__main__":
    run_main(main)
