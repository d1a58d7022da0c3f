"""Sweeps hyperparameters of an experiment's training, many trials at once as one program.

Optuna proposes trials and records them; `--parallel` of them are trained side by side, spread over
all devices. Bad ones are dropped at rungs and their places filled anew.
"""

import dataclasses
import functools
import importlib
import json
import time
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optuna

from experiments import stages, sweep_report
from experiments.config import at_least_one
from experiments.launch import Preset, parse, run_main, start_run
from experiments.referee import Referee, Sampler, line_up_grid, make_sampler, open_study
from experiments.space import Space, field_of, read_space
from mlsh_jax import hosts, population
from mlsh_jax.compilation import Program, compile_ahead
from mlsh_jax.config import MLSHConfig
from mlsh_jax.devices import Layout
from mlsh_jax.errors import ConfigError
from mlsh_jax.learners import make_agent
from mlsh_jax.mlsh import MetaState
from mlsh_jax.population import NUMBERS
from mlsh_jax.runs import Run


@dataclasses.dataclass(frozen=True)
class Config:
    """A sweep.

    Attributes:
        env: experiment whose training is swept.
        base: preset of that experiment, from which everything is that the space does not name.
        space: name of a space, or a JSON file (see `experiments.space`).
        trials: trials in all.
        parallel: trials that are trained side by side; a multiple of the number of devices.
        seeds: trainings of each trial, whose mean return counts.
        seed: of the proposals; the trainings of a trial have the seeds from this one on.
        meta_iterations: of a trial that is not dropped; None for those of the preset.
        sampler: how trials are proposed.
        first_rung: meta-iterations after which a trial can be dropped; None to drop none.
        reduction_factor: of the trials that reach a rung one in so many goes on; the next rung is
            that many times as high.
        storage: URL of a database that several sweeps share; None for a file in the run.
        study: name of the study in that database; None for that of the run.
    """

    env: Literal["moving_bandits", "ant_twowalk", "ant_bandits", "ant_maze", "swimmer_bandits"] = (
        "moving_bandits"
    )
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
        check(launch.config, launch.layout)
    run, config = start_run(launch, launch.config.seed)
    check(config, launch.layout)  # a sweep may be continued on other devices
    experiment = experiment_config(config)
    space = read_space(config.space, experiment.training.mlsh)
    referee = _make_referee(run, config, space) if hosts.is_first() else None
    started = time.monotonic()
    costs = {"env_steps": 0, "compile_seconds": 0.0, "populations": 0}
    while True:
        answer = hosts.from_first(lambda: json.dumps(_first(referee).next_structure()))
        structure = json.loads(answer)
        if structure is None:
            break
        for name, value in _train_population(run, config, space, structure, referee).items():
            costs[name] += value
    if referee is not None:
        costs["wall_seconds"] = time.monotonic() - started
        sweep_report.write(run, config, experiment, space, referee.study, costs)
    run.close()


def check(config: Config, layout: Layout) -> None:
    """Refuses what cannot work before a run directory is made.

    Raises:
        ConfigError: naming the option.
    """
    layout.check("--parallel", config.parallel, "trials")
    space = read_space(config.space, experiment_config(config).training.mlsh)
    make_sampler(config.sampler, space, config.seed)


def experiment_config(config: Config) -> Any:
    """The configuration of the experiment that is swept.

    Raises:
        ConfigError: it has no such preset.
    """
    presets = _module(config).PRESETS
    if config.base not in presets:
        raise ConfigError(
            f"--base: {config.env} has no preset {config.base!r}: {', '.join(presets)}"
        )
    experiment = presets[config.base].config
    if config.meta_iterations is None:
        return experiment
    training = dataclasses.replace(experiment.training, meta_iterations=config.meta_iterations)
    return dataclasses.replace(experiment, training=training)


def _module(config: Config) -> Any:
    return importlib.import_module(f"experiments.{config.env}")


def _make_referee(run: Run, config: Config, space: Space) -> Referee:
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if config.first_rung is not None:
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=config.first_rung, reduction_factor=config.reduction_factor
        )
    directory = run.directory.resolve()
    study = open_study(config.study or directory.name, directory, config.storage, pruner)
    # What a continued sweep proposes is not to be what it has proposed already.
    seed = config.seed + len(study.get_trials(deepcopy=False))
    study.sampler = make_sampler(config.sampler, space, seed)
    num_trials = config.trials
    if config.sampler == "grid":
        num_trials = line_up_grid(study, space, num_trials)
    training = experiment_config(config).training
    make_env = _module(config).make_env(experiment_config(config))
    envs = [make_env(length) for length in (training.episode_length, None)]

    def check_fit(mlsh_config: MLSHConfig) -> None:
        for env in envs:
            make_agent(env, mlsh_config)

    return Referee(
        study,
        str(directory),
        space,
        check_fit,
        num_trials,
        config.parallel,
        training.meta_iterations,
    )


def _first(referee: Referee | None) -> Referee:
    assert referee is not None  # process 0 has it
    return referee


def _train_population(
    run: Run, config: Config, space: Space, structure: dict[str, Any], referee: Referee | None
) -> dict[str, Any]:
    """Trains trials of one structure until there are none left; returns what it cost."""
    mlsh_config = space.config(structure)
    varying = sorted(set(space.ranges) & set(NUMBERS))
    numbers = {
        name: np.full(config.parallel, float(field_of(mlsh_config, name))) for name in varying
    }
    placed = _place(run, numbers, np.zeros(config.parallel, bool))
    program, states = _compile(run, config, mlsh_config, placed)
    title = f"population of {config.parallel}"
    title += "".join(f", {name} {value}" for name, value in structure.items())
    print(f"{title}: {program}", flush=True)
    steps = config.parallel * config.seeds * mlsh_config.env_steps_per_meta_iteration
    env_steps, started = 0, time.monotonic()
    while True:
        new, is_busy = json.loads(hosts.from_first(lambda: _next_trials(referee, structure)))
        if not is_busy:
            costs = {"env_steps": env_steps, "compile_seconds": program.compile_seconds}
            return costs | {"populations": 1}
        restarted = np.zeros(config.parallel, bool)
        for place, chosen in new.items():
            restarted[int(place)] = True
            for name in varying:
                numbers[name][int(place)] = chosen[name]
        states, returns = program(states, *_place(run, numbers, restarted))
        env_steps += steps
        if referee is not None:
            referee.judge(np.asarray(returns).mean(axis=1).tolist())
            rate = env_steps / (time.monotonic() - started)
            print(f"{sweep_report.progress(referee.study)}  steps/s {rate:,.0f}", flush=True)


def _next_trials(referee: Referee | None, structure: dict[str, Any]) -> str:
    """As JSON: the trials that start, place to parameters, and whether any place is at work."""
    return json.dumps((_first(referee).fill(structure), _first(referee).is_busy))


def _place(run: Run, numbers: dict[str, np.ndarray], restarted: np.ndarray) -> Any:
    """Both on every device."""
    numbers = {name: values.astype(np.float32) for name, values in numbers.items()}
    return jax.device_put((numbers, restarted), run.layout.replicated)


def _compile(
    run: Run, config: Config, mlsh_config: MLSHConfig, placed: Any
) -> tuple[Program, MetaState]:
    """A compiled meta-iteration of the population, and its blank states.

    Its other arguments are numbers and which trials begin, as `placed`; it returns the states and
    the returns `[P, S]`, which are not finite where anything of a trial is not.
    """
    experiment = experiment_config(config)
    env = _module(config).make_env(experiment)(experiment.training.episode_length)
    agent = make_agent(env, mlsh_config)
    seeds = range(config.seed, config.seed + config.seeds)
    keys = jnp.stack([stages.training_key(seed) for seed in seeds])
    keys = jnp.broadcast_to(keys, (config.parallel, config.seeds))
    layout = run.layout

    def advance(states, numbers, restarted):
        states = population.restart(agent, states, keys, restarted)
        states, numbers = layout.spread((states, numbers))
        states, metrics = population.meta_iteration(agent, states, numbers)
        # A diverged policy may well have a finite return.
        finite = population.is_finite((states, metrics))
        return states, jnp.where(finite, metrics["return"], jnp.nan)

    blank = jax.jit(functools.partial(population.init, agent), out_shardings=layout.by_task)(keys)
    shardings = layout.by_task, layout.replicated
    return compile_ahead(advance, blank, *placed, out_shardings=shardings, donate=True), blank


if __name__ == "__main__":
    run_main(main)
