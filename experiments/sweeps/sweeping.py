"""A sweep from its command line to its report: checks, the population, the scheduler."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optuna

from experiments import table
from experiments.harness import memory, stages
from experiments.harness.config import TrainingConfig
from experiments.sweeps import report
from experiments.sweeps.scheduler import (
    Placement,
    Scheduler,
    line_up_grid,
    make_sampler,
    open_study,
    rewind_journal,
)
from experiments.sweeps.space import Space, make_space, read_space, require_grid
from experiments.sweeps.storage import require_named, require_no_secret
from experiments.sweeps.trainer import Costs, PopulationTrainer
from mlsh_jax.agent import make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host import processes
from mlsh_jax.host.checkpoint import CheckpointStore
from mlsh_jax.host.devices import Layout
from mlsh_jax.host.imports import ForeignCodeError
from mlsh_jax.host.launch import Launch, start_run
from mlsh_jax.host.paths import real_path
from mlsh_jax.host.runs import Run
from mlsh_jax.host.serialization import write_json
from mlsh_jax.host.train import noticing_losses

if TYPE_CHECKING:
    from experiments.sweep import Config


def sweep(launch: Launch[Config]) -> None:
    """Sweeps, reports.

    Raises:
        ConfigError: what was asked for cannot work; naming the option.
    """
    if launch.track is not None:
        raise ConfigError("--track: a sweep is recorded by Optuna alone; see --storage")
    if launch.resume is None:
        check(launch.config, launch.layout, read_space(launch.config.space))
        if launch.config.storage is not None:
            shared = ("env", "base", "seeds", "meta_iterations")
            purpose = {name: getattr(launch.config, name) for name in shared}
            purpose["space"] = read_space(launch.config.space)

            def claim() -> str:
                return _open_study(launch.config, launch.run_root, purpose).study_name

            processes.from_first(claim)
    if launch.config.storage is not None:
        require_no_secret(launch.config.storage)
        named = ("--storage", launch.config.storage, "--study", str(launch.config.study))
        launch = dataclasses.replace(launch, command=(*launch.command, *named))
    accept = functools.partial(require_named, launch.config)
    run, config = start_run(launch, launch.config.seed, accept)
    space = check(config, run.layout, _kept_space(run, config))
    experiment = experiment_config(config)
    env = _module(config).make_env(experiment)(experiment.training.episode_length)
    with CheckpointStore(run.directory / "population" / "checkpoints", keep_last=1) as store:
        latest = store.latest()
        saved = {} if latest is None else store.metadata(latest)
        scheduler = None
        if processes.is_first():
            if config.storage is None and (latest is None or "journal" in saved):
                rewind_journal(run.directory, saved.get("journal", 0))
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
    experiment = experiment_config(config)
    space = make_space(space_data, experiment.training.mlsh)
    make_sampler(config.sampler, space, config.seed)
    if config.sampler == "grid":
        require_grid(space, config.trials)
    env = _module(config).make_env(experiment)(experiment.training.episode_length)
    memory.require_population(make_agent(env, space.smallest()), config.parallel, config.seeds)
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
    training = experiment.training
    training = dataclasses.replace(
        training,
        meta_iterations=config.meta_iterations,
        mlsh=training.mlsh.ending_after(config.meta_iterations),
    )
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
    except ForeignCodeError:
        raise
    except (ImportError, ValueError):
        return False


def _open_study(
    config: Config, directory: Path, purpose: dict[str, Any] | None = None
) -> optuna.Study:
    """The study of a sweep, which may be shared with others of the same purpose."""
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if config.first_rung is not None:
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=config.first_rung, reduction_factor=config.reduction_factor
        )
    return open_study(config.study or "sweep", directory, config.storage, pruner, purpose)


def _make_scheduler(run: Run, config: Config, space: Space, placed: Placement | None) -> Scheduler:
    directory = real_path(run.directory)
    study = _open_study(config, directory)
    num_trials = config.trials
    if config.sampler == "grid":
        num_trials = line_up_grid(study, space, num_trials)
    training = experiment_config(config).training
    make_env = _module(config).make_env(experiment_config(config))
    envs = [make_env(length) for length in (training.episode_length, None)]

    def check_fit(mlsh_config: MLSHConfig) -> None:
        dataclasses.replace(training, mlsh=mlsh_config)  # checks one by the other
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
