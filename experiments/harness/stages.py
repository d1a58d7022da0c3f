"""The stages that experiments are made of: a method is trained, and then it is measured.

A stage joins the pure functions of a method to the host loop, to devices and to a run directory.
An experiment that knows all its stages prepares them before it runs the first one, so that what
the later ones need is compiled while the earlier ones train.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import jax

from experiments.harness import memory
from experiments.harness.config import AdaptationConfig, EvaluationConfig, MakeEnv, TrainingConfig
from mlsh_jax import adapt
from mlsh_jax.adapt import Episodes
from mlsh_jax.agent import Agent, make_agent
from mlsh_jax.baselines.method import Method
from mlsh_jax.config import MLSHConfig
from mlsh_jax.environment import TaskEnvironment, has_physics
from mlsh_jax.errors import RunError
from mlsh_jax.finite import all_finite
from mlsh_jax.host.compilation import Background, Compilation
from mlsh_jax.host.devices import Layout
from mlsh_jax.host.runs import Run
from mlsh_jax.host.telemetry import Metrics
from mlsh_jax.host.train import FitResult, Programs, fit, make_programs
from mlsh_jax.tasks import Tasks

StateT = TypeVar("StateT")

# Streams of random numbers that belong to one seed, by what they are for.
_TRAINING, _EVALUATION_TASKS, _ASSESSMENT, _ADAPTATION, _BASELINE, _EPISODES = range(6)
_LEARNING_STREAMS = {"train": _TRAINING, "adapt": _ADAPTATION}
_CLOSING_STREAMS = {"train": _ASSESSMENT}

_MOST_SHOWN = 12
"""Returns of tasks in a progress line; of more the worst and the best are shown."""


@dataclasses.dataclass(frozen=True)
class Timed:
    """A result and what it cost.

    Attributes:
        value: the result.
        wall_seconds: without compilation.
        compile_seconds: time spent waiting for compilation.
    """

    value: Any
    wall_seconds: float
    compile_seconds: float


@dataclasses.dataclass(frozen=True)
class Prepared(Generic[StateT]):
    """A method and the programs that it takes to train and to measure it.

    Attributes:
        method: what is trained and measured.
        iterations: of training, in all.
        seed: of the run.
        layout: the devices to train on.
        programs: of training.
        closing: of the closing measurement, `(state, key) -> (what the method plays, whether
            what played is finite)`.
    """

    method: Method[StateT]
    iterations: int
    seed: int
    layout: Layout
    programs: Programs
    closing: Compilation


def prepare(
    run: Run,
    method: Method[StateT],
    env: TaskEnvironment,
    *,
    iterations: int,
    seed: int,
    layout: Layout,
) -> Prepared[StateT]:
    """Says which programs a method takes; none is compiled yet.

    Args:
        run: the run directory.
        method: what is to be trained and measured.
        env: that it acts in.
        iterations: of training, in all.
        seed: of the run.
        layout: the devices to train on.
    """
    key = _key(seed, _LEARNING_STREAMS.get(method.name, _BASELINE))
    training = make_programs(
        method.iteration, lambda: method.init(key), layout, method.spread, has_physics(env)
    )

    def closing(state: StateT, key: jax.Array) -> Any:
        key_adapt, key_play = jax.random.split(key)
        adapted = method.adapt(state, key_adapt)
        return spread(method.play(adapted, key_play)), all_finite(adapted)

    def spread(played: Any) -> Any:
        # XLA does not spread episodes by itself where nothing that a method is given has a task
        # axis. Masters, which an assessment plays, have one.
        return closing_layout.spread_if_even(played) if isinstance(played, Episodes) else played

    closing_layout = run.layout.largest_even(method.num_tasks)
    on_each = closing_layout.replicated
    state = training.abstract
    if not method.spread:  # trained on other devices perhaps
        state = jax.tree.map(lambda leaf: _placed(leaf, on_each), state)
    arguments = state, _placed(key, on_each)
    return Prepared(
        method=method,
        iterations=iterations,
        seed=seed,
        layout=layout,
        programs=training,
        closing=Compilation(
            closing, *arguments, out_shardings=on_each, has_physics=has_physics(env)
        ),
    )


def begin(run: Run, stages: Sequence[Prepared[Any]], background: Background) -> None:
    """Compiles in the background what the stages of a run need, in the order given."""
    for prepared in stages:
        name = prepared.method.name
        prepared.programs.begin(run, name, prepared.iterations, background)
        prepared.closing.begin(background)


def train(
    run: Run,
    prepared: Prepared[StateT],
    *,
    checkpoint_every: int,
    keep_checkpoints: int,
    subpolicies: Callable[[StateT], Any] | None = None,
    spec: dict[str, Any] | None = None,
) -> FitResult[StateT]:
    """Runs the iterations of a method, from its newest checkpoint where there is one.

    Args:
        run: the run directory; the stage has the name of the method.
        prepared: what is trained.
        checkpoint_every: iterations between checkpoints.
        keep_checkpoints: newest checkpoints to keep, beside the best.
        subpolicies: the part of the state that a transfer needs, where there is one.
        spec: what that part is rebuilt from.
    """
    return fit(
        run,
        prepared.method.name,
        prepared.programs,
        num_iterations=prepared.iterations,
        env_steps_per_iteration=prepared.method.env_steps,
        describe=describe,
        score=lambda metrics: metrics["return"],
        checkpoint_every=checkpoint_every,
        keep_last=keep_checkpoints,
        subpolicies=subpolicies,
        spec=spec,
    )


def measure(run: Run, prepared: Prepared[StateT], state: StateT, field: str) -> Timed:
    """Adapts and plays whole episodes, on the host afterwards.

    Args:
        run: the run directory.
        prepared: what is measured.
        state: what it has learned.
        field: the option that says how many episodes are played, for a message.

    Raises:
        RunError: what adapted is not finite, or there is not enough memory.
    """
    method = prepared.method
    layout = run.layout.largest_even(method.num_tasks)
    key = layout.replicate(_key(prepared.seed, _CLOSING_STREAMS.get(method.name, _EPISODES)))
    if not method.spread:  # trained on other devices perhaps
        state = layout.replicate(state)
    print("closing measurement: compiling", flush=True)
    way_out = (
        f"what was trained is saved: lower {field} in {run.directory / 'config.json'}, "
        f"which is read again, and {run.how_to_continue}"
    )
    program = prepared.closing.program(arguments_exist=True, way_out=way_out)
    print(f"closing measurement: {program}", flush=True)
    started = time.monotonic()
    value, finite = jax.device_get(program(state, key))
    if not finite:  # which may well play finite returns
        raise RunError(not_finite(run))
    return Timed(value, time.monotonic() - started, program.wait_seconds)


def not_finite(run: Run) -> str:
    """What to say, and to do, where masters of a closing measurement have diverged."""
    return (
        "closing measurement: what has adapted is not finite; what was trained is saved: lower "
        f"its learning_rate in {run.directory / 'config.json'}, which is read again, and "
        f"{run.how_to_continue}"
    )


def training_key(seed: int) -> jax.Array:
    """What everything random in the training of sub-policies comes from."""
    return _key(seed, _TRAINING)


def assessment_key(seed: int) -> jax.Array:
    """What everything random in the closing measurement of sub-policies comes from."""
    return _key(seed, _ASSESSMENT)


def evaluation_tasks(env: TaskEnvironment, num_tasks: int, seed: int) -> Tasks:
    """The tasks on which the masters of a run with this seed are measured."""
    return adapt.evaluation_tasks(env, _key(seed, _EVALUATION_TASKS), num_tasks)


def tasks_of_masters(env: TaskEnvironment, num_tasks: int, seed: int) -> Tasks:
    """`evaluation_tasks`, with a line where there are not as many as were asked for."""
    tasks = evaluation_tasks(env, num_tasks, seed)
    if (count := tasks.index.shape[0]) != num_tasks:
        print(f"num_tasks: {count} rather than {num_tasks}, as many for each task of {env.name}")
    return tasks


def check_training(
    make_env: MakeEnv, training: TrainingConfig, layout: Layout, num_seeds: int = 1
) -> None:
    """Checks, before a run directory is made, that sub-policies can be trained like this.

    Args:
        make_env: makes the environment.
        training: how long, and how.
        layout: the devices to train on.
        num_seeds: trainings side by side.

    Raises:
        ConfigError: episodes do not consist of whole slices, tasks, or seeds where there are
            several, cannot be spread evenly over the devices, or there is not enough memory; naming
            the field.
        EnvError: the environment or one of its options is unknown.
    """
    agent = _check_episodes(make_env, training.episode_length, training.mlsh)
    shares = 1
    if num_seeds == 1:
        layout.check("num_tasks", training.mlsh.num_tasks)
        shares = layout.largest_even(training.mlsh.num_tasks).num_devices
    else:  # each seed has a device to itself
        layout.check("--num-seeds", num_seeds, "seeds")
    memory.require_training(agent, num_seeds, shares)


def check_evaluation(make_env: MakeEnv, evaluation: EvaluationConfig, trained: MLSHConfig) -> None:
    """Checks, before a run directory is made, that sub-policies can be measured like this.

    Args:
        make_env: makes the environment.
        evaluation: how they are measured.
        trained: how they are trained.

    Raises:
        ConfigError: there is not enough memory; naming the field.
    """
    iterations = evaluation.iterations
    memory.require_masters(
        make_agent(make_env(None), trained),
        evaluation.num_tasks,
        trained.num_envs,
        trained.warmup_iterations if iterations is None else iterations,
        evaluation.num_envs,
        prefix="evaluation.",
    )


def check_adaptation(
    make_env: MakeEnv,
    config: AdaptationConfig,
    trained: MLSHConfig,
    layout: Layout,
    episodes: int,
) -> None:
    """Checks, before a run directory is made, that masters can learn like this.

    Args:
        make_env: makes the environment.
        config: of the masters.
        trained: how the sub-policies were trained.
        layout: the devices to train on.
        episodes: per master and behavior in the closing measurement.

    Raises:
        ConfigError: as in `check_training`.
        EnvError: the environment or one of its options is unknown.
    """
    learning = config.applied_to(trained, make_env(config.episode_length).episode_length)
    agent = _check_episodes(make_env, config.episode_length, learning)
    memory.require_masters(agent, config.num_tasks, config.num_envs, 1, episodes)
    num_tasks = evaluation_tasks(make_env(None), config.num_tasks, seed=0).index.shape[0]
    layout.check("num_tasks", num_tasks)


def describe(metrics: Metrics) -> dict[str, str]:
    """What the progress line shows of an iteration."""
    start = f"{metrics['return_start']:.2f} → " if "return_start" in metrics else ""
    text = {"return": f"{start}{metrics['return']:.2f}"}
    if "success_rate" in metrics:
        text["success"] = f"{metrics['success_rate']:.0%}"
    if metrics["physics_failures"] > 0:
        text["physics failures"] = f"{metrics['physics_failures']:.0f}"
    of_tasks = [f"{value:.1f}" for value in sorted(metrics.get("task_return", ()))]
    if len(of_tasks) > _MOST_SHOWN:
        text["tasks"] = f"{of_tasks[0]} to {of_tasks[-1]}"
    elif len(of_tasks) > 1:
        text["tasks"] = " ".join(f"{value:.1f}" for value in metrics["task_return"])
    if len(metrics["usage"]) > 1:
        text["usage"] = " ".join(f"{value:.2f}" for value in metrics["usage"])
    if "divergence" in metrics:
        text["apart"] = f"{min(metrics['divergence']):.2f}"
    return text


def _key(seed: int, stream: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), stream)


def _placed(leaf: Any, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    """The shape of an array that lies somewhere else perhaps."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _check_episodes(make_env: MakeEnv, episode_length: int | None, config: MLSHConfig) -> Agent:
    """The agent on these episodes, which has to suit those of the environment as well."""
    agent, _ = (make_agent(make_env(length), config) for length in (episode_length, None))
    return agent
