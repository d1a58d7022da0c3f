"""The stages that experiments are made of: a method is trained, and then it is measured.

A stage joins the pure functions of a method to the host loop, to devices and to a run directory.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from experiments.harness.config import AdaptationConfig, MakeEnv, TrainingConfig
from mlsh_jax import adapt
from mlsh_jax.agent import make_agent
from mlsh_jax.baselines.method import Method
from mlsh_jax.config import MLSHConfig
from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.host.compilation import compile_ahead
from mlsh_jax.host.devices import Layout
from mlsh_jax.host.runs import Run
from mlsh_jax.host.telemetry import Metrics
from mlsh_jax.host.train import FitResult, fit
from mlsh_jax.tasks import Tasks

StateT = TypeVar("StateT")

# Streams of random numbers that belong to one seed, by what they are for.
_TRAINING, _EVALUATION_TASKS, _ASSESSMENT, _ADAPTATION, _BASELINE, _EPISODES = range(6)
_LEARNING_STREAMS = {"train": _TRAINING, "adapt": _ADAPTATION}
_CLOSING_STREAMS = {"train": _ASSESSMENT}


@dataclasses.dataclass(frozen=True)
class Timed:
    """A result and what it cost.

    Attributes:
        value: the result.
        wall_seconds: without compilation.
        compile_seconds: compilation.
    """

    value: Any
    wall_seconds: float
    compile_seconds: float


def train(
    run: Run,
    method: Method[StateT],
    *,
    iterations: int,
    seed: int,
    layout: Layout,
    checkpoint_every: int,
    keep_checkpoints: int,
    subpolicies: Callable[[StateT], Any] | None = None,
    spec: dict[str, Any] | None = None,
) -> FitResult[StateT]:
    """Runs the iterations of a method, from its newest checkpoint where there is one.

    Args:
        run: the run directory; the stage has the name of the method.
        method: what is trained.
        iterations: in all.
        seed: of the run.
        layout: the devices to use.
        checkpoint_every: iterations between checkpoints.
        keep_checkpoints: newest checkpoints to keep, beside the best.
        subpolicies: the part of the state that a transfer needs, where there is one.
        spec: what that part is rebuilt from.
    """
    key = _key(seed, _LEARNING_STREAMS.get(method.name, _BASELINE))
    return fit(
        run,
        method.name,
        method.iteration,
        lambda: method.init(key),
        num_iterations=iterations,
        env_steps_per_iteration=method.env_steps,
        describe=describe,
        score=lambda metrics: metrics["return"],
        checkpoint_every=checkpoint_every,
        keep_last=keep_checkpoints,
        subpolicies=subpolicies,
        spec=spec,
        spread=method.spread,
        layout=layout,
    )


def measure(run: Run, method: Method[StateT], state: StateT, seed: int, field: str) -> Timed:
    """Adapts and plays whole episodes, on the host afterwards.

    Args:
        run: the run directory.
        method: what is measured.
        state: what it has learned.
        seed: of the run.
        field: the option that says how many episodes are played, for a message.
    """
    layout = run.layout.largest_even(method.num_tasks)

    def closing(state: StateT, key: jax.Array) -> Any:
        key_adapt, key_play = jax.random.split(key)
        return method.play(method.adapt(state, key_adapt), key_play)

    key = layout.replicate(_key(seed, _CLOSING_STREAMS.get(method.name, _EPISODES)))
    if not method.spread:  # trained on other devices perhaps
        state = layout.replicate(state)
    print("closing measurement: compiling", flush=True)
    way_out = (
        f"what was trained is saved: lower {field} in {run.directory / 'config.json'}, "
        f"which is read again, and {run.how_to_continue}"
    )
    program = compile_ahead(closing, state, key, out_shardings=layout.replicated, way_out=way_out)
    print(f"closing measurement: {program}", flush=True)
    started = time.monotonic()
    value = jax.device_get(program(state, key))
    return Timed(value, time.monotonic() - started, program.compile_seconds)


def training_key(seed: int) -> jax.Array:
    """What everything random in the training of sub-policies comes from."""
    return _key(seed, _TRAINING)


def evaluation_tasks(env: TaskEnvironment, num_tasks: int, seed: int) -> Tasks:
    """The tasks on which the masters of a run with this seed are measured."""
    return adapt.evaluation_tasks(env, _key(seed, _EVALUATION_TASKS), num_tasks)


def check_training(make_env: MakeEnv, training: TrainingConfig, layout: Layout) -> None:
    """Checks, before a run directory is made, that sub-policies can be trained like this.

    Raises:
        ConfigError: episodes do not consist of whole slices, or tasks cannot be spread evenly
            over the devices; naming `macro_length` or `num_tasks`.
        EnvError: the environment or one of its options is unknown.
    """
    _check_episodes(make_env, training.episode_length, training.mlsh)
    layout.check("num_tasks", training.mlsh.num_tasks)


def check_adaptation(
    make_env: MakeEnv, config: AdaptationConfig, trained: MLSHConfig, layout: Layout
) -> None:
    """Checks, before a run directory is made, that masters can learn like this.

    Raises:
        ConfigError: as in `check_training`.
        EnvError: the environment or one of its options is unknown.
    """
    learning = config.applied_to(trained, make_env(config.episode_length).episode_length)
    _check_episodes(make_env, config.episode_length, learning)
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
    if len(metrics.get("task_return", ())) > 1:
        text["tasks"] = " ".join(f"{value:.1f}" for value in metrics["task_return"])
    if len(metrics["usage"]) > 1:
        text["usage"] = " ".join(f"{value:.2f}" for value in metrics["usage"])
    return text


def _key(seed: int, stream: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), stream)


def _check_episodes(make_env: MakeEnv, episode_length: int | None, config: MLSHConfig) -> None:
    for length in (episode_length, None):
        make_agent(make_env(length), config)
