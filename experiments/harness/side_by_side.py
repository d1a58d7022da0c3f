"""Several seeds of an experiment as one program, each with a run directory of its own.

An accelerator is hardly busy with the environments of one training, so that ten of them in step
take little longer than one. Each run directory is as if the experiment had been started with that
seed alone: it can be reported on, transferred from and, if it was interrupted, continued.
"""

import contextlib
import dataclasses
import functools
import io
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.harness import methods, stages
from experiments.harness.closing import print_seeds
from experiments.harness.config import MakeEnv, TrainingConfig
from experiments.harness.summary import summarize_training
from mlsh_jax import population
from mlsh_jax.agent import Agent, make_agent
from mlsh_jax.environment import has_physics
from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.finite import all_finite
from mlsh_jax.host import processes
from mlsh_jax.host.checkpoint import CheckpointStore
from mlsh_jax.host.compilation import compile_ahead
from mlsh_jax.host.devices import Layout, for_each
from mlsh_jax.host.launch import NUM_SEEDS, Launch, start_run
from mlsh_jax.host.runs import Run, StoppedError
from mlsh_jax.host.signals import stop_on_signal, wait_for
from mlsh_jax.host.telemetry import Metrics, Record, Telemetry, to_plain
from mlsh_jax.host.train import FitResult, Progress, save_stage, stage_result
from mlsh_jax.mlsh import MetaState
from mlsh_jax.tasks import Tasks
from mlsh_jax.transfer import subpolicy_spec

_STAGE = "train"  # as a run by itself calls it


@dataclasses.dataclass
class _Seed:
    """One of the trainings.

    Attributes:
        run: its directory.
        store: its checkpoints.
        telemetry: its records, which nobody sees on the console.
        progress: as a run by itself keeps it.
        diverged: what was not finite, if anything; it is not trained any further.
    """

    run: Run
    store: CheckpointStore
    telemetry: Telemetry
    progress: Progress
    diverged: str | None = None


def train_and_assess(
    launch: Launch[Any], make_env: MakeEnv, closing_of: Callable[[Any], methods.Closing]
) -> None:
    """Trains and measures the seeds that a command line asks for; prints what each came to.

    Args:
        launch: what the command line asks for, and can be done for one seed.
        make_env: makes the environment to train on.
        closing_of: the closing measurement of a configuration.

    Raises:
        ConfigError: several seeds cannot have what was asked for; naming the option.
        RunError: a seed failed; the others were trained and measured before.
    """
    _check(launch)
    seeds = range(launch.config.seed, launch.config.seed + launch.num_seeds)
    alone = [
        dataclasses.replace(
            launch,
            config=dataclasses.replace(launch.config, seed=seed),
            num_seeds=1,
            command=_on_any_devices(launch.command),
        )
        for seed in seeds
    ]
    closing = [closing_of(each.config) for each in alone]
    with contextlib.ExitStack() as stack:
        runs = []
        for each in alone:
            runs.append(start_run(each, each.config.seed)[0])
            stack.callback(runs[-1].close)
        _train_and_assess(launch, make_env, closing, runs, seeds)


def _train_and_assess(
    launch: Launch[Any],
    make_env: MakeEnv,
    closing: Sequence[methods.Closing],
    runs: Sequence[Run],
    seeds: Sequence[int],
) -> None:
    training = launch.config.training
    agent = make_agent(make_env(training.episode_length), training.mlsh)
    trained = train(runs, agent, training, [stages.training_key(seed) for seed in seeds])
    done = [i for i, result in enumerate(trained) if isinstance(result, FitResult)]
    results = [result for result in trained if isinstance(result, FitResult)]
    errors: list[RunError] = [result for result in trained if isinstance(result, RunError)]
    summaries = []
    if results:
        assessed = measure(
            [runs[i] for i in done],
            closing[0],
            [closing[i].tasks for i in done],
            [result.state for result in results],
            [stages.assessment_key(seeds[i]) for i in done],
        )
        for i, result, timed in zip(done, results, assessed, strict=True):
            if isinstance(timed, RunError):
                errors.append(timed)
                continue
            summary = summarize_training(runs[i], seeds[i], result, timed, closing[i])
            summary["seeds_side_by_side"] = len(runs)  # whose seconds these are
            runs[i].write_summary(summary)
            summaries.append(summary)
    if summaries:
        print_seeds(summaries)
    if errors:
        raise RunError("; ".join(map(str, errors)))


def _on_any_devices(command: Sequence[str]) -> tuple[str, ...]:
    """What a seed goes on with by itself: the devices were chosen for all of them together."""
    words = list(command)
    if "--devices" in words:
        place = words.index("--devices")
        del words[place : place + 2]
    return tuple(words)


def _check(launch: Launch[Any]) -> None:
    """Refuses, before any run directory is made, what several seeds cannot have."""
    if launch.track is not None:
        raise ConfigError("--track: is for one run at a time; leave out --num-seeds")
    if processes.are_several():
        raise ConfigError("--num-seeds: is for one process; start a run in all of them for each")
    if launch.config.seed + launch.num_seeds > NUM_SEEDS:
        raise ConfigError(f"--num-seeds: goes beyond the last seed, {NUM_SEEDS - 1}")


def train(
    runs: Sequence[Run], agent: Agent, config: TrainingConfig, keys: Sequence[jax.Array]
) -> list[FitResult[MetaState] | RunError]:
    """Meta-trains φ of every seed in step; stage "train" of each run.

    Args:
        runs: their directories.
        agent: on the episodes to learn from.
        config: how long, and how.
        keys: of the trainings.

    Returns:
        What each came to; an error where numbers were not finite, and the others went on.

    Raises:
        StoppedError: a signal asked for it; all were saved.
    """
    layout = runs[0].layout.largest_even(len(runs))
    stacked = jnp.stack(list(keys))[:, None]  # [P, 1]: trials of one seed each
    init = functools.partial(population.init, agent)
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout.by_task),
        jax.eval_shape(init, stacked),
    )
    one_by_one = jax.default_backend() == "cpu"

    def advance(states: MetaState, active: jax.Array) -> tuple[MetaState, Any, jax.Array]:
        states, metrics = population.meta_iteration(
            agent, states, {}, active, one_by_one=one_by_one
        )
        return states, metrics, all_finite(states, batch_dims=2)

    print(f"{_STAGE}: compiling {len(runs)} seeds side by side", flush=True)
    active = jax.device_put(np.ones(len(runs), bool), layout.by_task)
    program = compile_ahead(
        layout.per_device(advance),
        abstract,
        active,
        out_shardings=layout.by_task,
        donate=True,
        has_physics=has_physics(agent.env),
    )
    states = jax.jit(init, out_shardings=layout.by_task)(layout.replicate(stacked))
    with _opened(runs, config, program.compile_seconds) as seeds:
        console = Telemetry(
            None,
            _STAGE,
            num_iterations=config.meta_iterations,
            start_iteration=0,
            describe=_describe,
        )
        console.note(f"{len(runs)} seeds side by side: {program}")
        started = time.monotonic()
        with console, stop_on_signal() as stop:
            for iteration in range(1, config.meta_iterations + 1):
                states, metrics, finite = program(states, active)
                wait_for(finite)
                seconds = time.monotonic() - started
                host, are_finite = jax.device_get((metrics, finite))
                for i, seed in enumerate(seeds):
                    if seed.diverged is None:
                        mine = to_plain({name: value[i, 0] for name, value in host.items()})
                        _record(seed, agent, iteration, seconds, mine, bool(are_finite[i, 0]))
                going = [seed for seed in seeds if seed.diverged is None]
                if not going:
                    break
                active = jax.device_put(
                    np.array([seed.diverged is None for seed in seeds]), layout.by_task
                )
                steps = iteration * len(going) * agent.config.env_steps_per_meta_iteration
                together = _together([seed.progress.last_metrics for seed in going])
                console.log(Record(iteration, steps, seconds, together))
                last = iteration == config.meta_iterations
                stop_signal = stop.signal
                if last or stop_signal or iteration % config.checkpoint_every == 0:
                    for i, seed in enumerate(seeds):
                        if seed.diverged is None:
                            _save(seed, agent, _of_seed(states, i, seed.run.layout))
                if stop_signal:
                    raise _stopped(going, iteration, stop_signal)
        return [
            _result(seed, agent, _of_seed(states, i, seed.run.layout))
            for i, seed in enumerate(seeds)
        ]


def measure(
    runs: Sequence[Run],
    closing: methods.Closing,
    tasks: Sequence[Tasks],
    states: Sequence[MetaState],
    keys: Sequence[jax.Array],
) -> list[stages.Timed | RunError]:
    """The closing measurement of every seed as one program.

    Args:
        runs: their directories.
        closing: how φ is measured; its own tasks do not count.
        tasks: of each seed.
        states: after the training.
        keys: of the measurements.

    Returns:
        What each came to; an error where what has adapted is not finite.

    Raises:
        RunError: there is not enough memory.
    """
    # Of seeds that were spread evenly over chosen devices some may have failed since.
    layout = dataclasses.replace(runs[0].layout, is_chosen=False).largest_even(len(runs))

    def one(inputs: tuple[Any, Tasks, jax.Array]) -> tuple[Any, jax.Array]:
        subpolicies, tasks, key = inputs
        alone = dataclasses.replace(closing, tasks=tasks, layout=None)
        key_adapt, key_play = jax.random.split(key)
        adapted = alone.adapt(subpolicies, key_adapt)
        return alone.play(adapted, key_play), all_finite(adapted)

    inputs = ([state.subpolicies for state in states], tasks, keys)
    stacked = jax.device_put(
        tuple(jax.tree.map(lambda *x: jnp.stack(x), *part) for part in inputs), layout.by_task
    )
    print("closing measurement: compiling", flush=True)
    program = compile_ahead(
        layout.per_device(for_each(one)),
        stacked,
        out_shardings=layout.by_task,
        has_physics=has_physics(closing.agent.env),
        way_out="what was trained is saved: measure each run by itself, with --resume RUN",
    )
    print(f"closing measurement: {program}", flush=True)
    started = time.monotonic()
    values, finite = jax.device_get(program(stacked))
    seconds = time.monotonic() - started
    leaves, tree = jax.tree.flatten(values)
    return [
        stages.Timed(jax.tree.unflatten(tree, each), seconds, program.compile_seconds)
        if is_finite
        else RunError(stages.not_finite(run))
        for run, is_finite, each in zip(runs, finite, zip(*leaves, strict=True), strict=True)
    ]


@contextlib.contextmanager
def _opened(
    runs: Sequence[Run], config: TrainingConfig, compile_seconds: float
) -> Iterator[list[_Seed]]:
    """The files of every training."""
    with contextlib.ExitStack() as stack:
        seeds = []
        for run in runs:
            directory = run.directory / _STAGE / "checkpoints"
            store = CheckpointStore(directory, keep_last=config.keep_checkpoints)
            telemetry = Telemetry(
                run.directory,
                _STAGE,
                num_iterations=config.meta_iterations,
                start_iteration=0,
                describe=stages.describe,
                console=Console(file=io.StringIO()),
            )
            seeds.append(
                _Seed(
                    run,
                    stack.enter_context(store),
                    stack.enter_context(telemetry),
                    Progress(compile_seconds=compile_seconds),
                )
            )
        yield seeds


def _record(
    seed: _Seed, agent: Agent, iteration: int, seconds: float, metrics: Metrics, finite: bool
) -> None:
    """Keeps what one iteration of one training came to."""
    seed.progress.iteration = iteration
    seed.progress.wall_seconds = seconds
    seed.progress.last_metrics = metrics
    env_steps = iteration * agent.config.env_steps_per_meta_iteration
    seed.telemetry.log(Record(iteration, env_steps, seconds, metrics))
    wrong = next((name for name, x in metrics.items() if not np.all(np.isfinite(x))), None)
    if wrong is not None or not finite:
        seed.diverged = f"{_STAGE} iteration {iteration}: {wrong or 'the state'} is not finite"
        print(f"{seed.run.directory}: {seed.diverged}; the others go on", flush=True)


def _save(seed: _Seed, agent: Agent, state: MetaState) -> None:
    """A checkpoint as a run by itself has it."""
    seed.telemetry.flush()
    score = seed.progress.last_metrics["return"]
    spec = subpolicy_spec(agent)
    save_stage(seed.store, seed.progress, state, state.subpolicies, spec, score)


def _of_seed(states: MetaState, index: int, layout: Layout) -> MetaState:
    """The state of one training, where a run by itself has it."""
    return layout.replicate(jax.tree.map(lambda x: x[index, 0], states))


def _result(seed: _Seed, agent: Agent, state: MetaState) -> FitResult[MetaState] | RunError:
    if seed.diverged is not None:
        directory = seed.run.directory
        return RunError(f"{directory}: {seed.diverged}; try a lower learning rate or another seed")
    env_steps = agent.config.env_steps_per_meta_iteration
    return stage_result(seed.store, seed.progress, state, env_steps)


def _stopped(seeds: Sequence[_Seed], iteration: int, signal: int) -> StoppedError:
    first = seeds[0].run
    return first.stopped(
        f"{_STAGE} of {len(seeds)} seeds after iteration {iteration}; each goes on by itself, the "
        "first of them",
        signal,
    )


def _together(metrics: Sequence[Metrics]) -> Metrics:
    """What the console needs of all trainings."""
    together = {"return": [each["return"] for each in metrics]}
    if "divergence" in metrics[0]:
        together["apart"] = [min(each["divergence"]) for each in metrics]
    return together


def _describe(metrics: Metrics) -> dict[str, str]:
    """The middle one of the seeds, the least and the most."""
    return {
        name: f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
        for name, values in metrics.items()
    }
