"""Sweeps hyperparameters of an experiment's training, many trials at once as one program.

Optuna proposes trials and records them; `--parallel` of them are trained side by side, spread over
all devices. Bad ones are dropped at rungs and their places filled anew.
"""

import dataclasses
import difflib
import importlib
import importlib.util
import json
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optuna
import tyro

from experiments import table
from experiments.harness import stages
from experiments.harness.config import TrainingConfig, at_least_one
from experiments.sweeps import report
from experiments.sweeps.scheduler import (
    Placement,
    Sampler,
    Scheduler,
    line_up_grid,
    make_sampler,
    open_storage,
    open_study,
)
from experiments.sweeps.space import Space, make_space, read_space
from experiments.sweeps.trainer import Costs, PopulationTrainer
from mlsh_jax.agent import make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host import processes
from mlsh_jax.host.checkpoint import CheckpointStore
from mlsh_jax.host.devices import Layout
from mlsh_jax.host.launch import Preset, parse, run_main, start_run
from mlsh_jax.host.runs import Run, write_json
from mlsh_jax.host.train import noticing_losses

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
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed: must be from 0 to {2**32 - 1}, got {self.seed}")
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
    if launch.resume is None:
        check(launch.config, launch.layout, read_space(launch.config.space))
        if launch.config.storage is not None and processes.is_first():
            open_storage(launch.config.storage)
    run, config = start_run(launch, launch.config.seed)
    space = check(config, run.layout, _kept_space(run, config))
    experiment = experiment_config(config)
    env = _module(config).make_env(experiment)(experiment.training.episode_length)
    with CheckpointStore(run.directory / "population" / "checkpoints", keep_last=1) as store:
        latest = store.latest()
        saved = {} if latest is None else store.metadata(latest)
        scheduler = None
        if processes.is_first():
            scheduler = _make_scheduler(run, config, space, saved.get("placement"))
        costs = Costs(**saved.get("costs", {}))
        layout = run.layout.largest_even(config.parallel)
        trainer = PopulationTrainer(run, layout, store, space, scheduler, env, _keys(config), costs)
        with noticing_losses(run, store):
            trainer.train()
    if scheduler is not None:
        report.write(run, config, experiment, space, scheduler.study, dataclasses.asdict(costs))
    run.close()


def check(config: Config, layout: Layout, space_data: Any) -> Space:
    """Refuses what cannot work before a run directory is made; returns the space.

    Raises:
        ConfigError: naming the option.
    """
    layout.check("--parallel", config.parallel, "trials")
    space = make_space(space_data, experiment_config(config).training.mlsh)
    make_sampler(config.sampler, space, config.seed)
    return space


def _kept_space(run: Run, config: Config) -> Any:
    """The space as it was when the sweep began, whatever became of the file since."""
    file = run.directory / "space.json"

    def text() -> str:
        if not file.exists():
            write_json(file, read_space(config.space))
        return file.read_text(encoding="utf-8")

    return json.loads(processes.from_first(text))


def _keys(config: Config) -> jax.Array:
    """Where the randomness of every trial and seed `[P, S]` comes from: alike in all trials."""
    seeds = range(config.seed, config.seed + config.seeds)
    keys = jnp.stack([stages.training_key(seed) for seed in seeds])
    return jnp.broadcast_to(keys, (config.parallel, config.seeds))


def experiment_config(config: Config) -> Any:
    """The configuration of the experiment that is swept.

    Raises:
        ConfigError: it has no such preset, or the preset trains nothing.
    """
    presets = _module(config).PRESETS
    if config.base not in presets:
        raise ConfigError(
            f"--base: {config.env} has no preset {config.base!r}: {', '.join(presets)}"
        )
    experiment = presets[config.base].config
    if not isinstance(getattr(experiment, "training", None), TrainingConfig):
        raise ConfigError(f"--env: {config.env}: its configuration has no training: TrainingConfig")
    if config.meta_iterations is None:
        return experiment
    training = dataclasses.replace(experiment.training, meta_iterations=config.meta_iterations)
    return dataclasses.replace(experiment, training=training)


def _module(config: Config) -> Any:
    """The module of the experiment that is swept.

    Raises:
        ConfigError: there is none, or it cannot be swept.
    """
    name, known = config.env, table.names("training")
    module_name = table.module_name(name)
    if name not in known and (name in table.TABLE or not _is_found(name)):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(
            f"--env: {name} is no experiment that trains sub-policies{hint}: {', '.join(known)}, "
            "or the dotted name of a module of your own"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"--env: {name}: cannot be imported ({error})") from error
    for needed in ("PRESETS", "make_env"):
        if not hasattr(module, needed):
            raise ConfigError(f"--env: {name}: has no {needed}; see experiments/moving_bandits.py")
    return module


def _is_found(module_name: str) -> bool:
    """Whether there is a module of that name; packages around it are imported."""
    try:
        return importlib.util.find_spec(module_name) is not None
    except (ImportError, ValueError):
        return False


def _make_scheduler(run: Run, config: Config, space: Space, placed: Placement | None) -> Scheduler:
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if config.first_rung is not None:
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=config.first_rung, reduction_factor=config.reduction_factor
        )
    directory = run.directory.resolve()
    study = open_study(config.study or "sweep", directory, config.storage, pruner)
    num_trials = config.trials
    if config.sampler == "grid":
        num_trials = line_up_grid(study, space, num_trials)
    training = experiment_config(config).training
    make_env = _module(config).make_env(experiment_config(config))
    envs = [make_env(length) for length in (training.episode_length, None)]

    def check_fit(mlsh_config: MLSHConfig) -> None:
        for env in envs:
            make_agent(env, mlsh_config)

    def sampler_of(number: int) -> optuna.samplers.BaseSampler:
        # Neighboring seeds and numbers are to have nothing in common.
        (seed,) = np.random.SeedSequence([config.seed, number]).generate_state(1)
        return make_sampler(config.sampler, space, int(seed))

    return Scheduler(
        study,
        sampler_of,
        None if config.storage is None else directory.name,
        space,
        check_fit,
        num_trials,
        config.parallel,
        training.meta_iterations,
        placed,
    )


if __name__ == "__main__":
    run_main(main)
