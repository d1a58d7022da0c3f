"""The host loop around a pure training step: everything that is not mathematics.

`fit` drives any `step(state) -> (state, metrics)`: it compiles ahead of time, unless that was
begun before (`Programs`), and says how long that took, keeps the state on the device, records
every iteration, checks that numbers stay finite, saves, and stops cleanly when asked to. A stage
that is continued from a checkpoint goes on bit for bit as if it had never stopped.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mlsh_jax.errors import ConfigError, RunError, is_out_of_memory
from mlsh_jax.finite import all_finite
from mlsh_jax.host import processes
from mlsh_jax.host.checkpoint import SPEC, SUBPOLICIES, TRAINER, CheckpointStore, leaf_name
from mlsh_jax.host.compilation import Background, Compilation
from mlsh_jax.host.devices import Layout
from mlsh_jax.host.runs import Run
from mlsh_jax.host.signals import stop_on_signal, wait_for
from mlsh_jax.host.telemetry import Metrics, Record, Silence, Telemetry, to_plain

PyTree = Any
StateT = TypeVar("StateT")


@dataclasses.dataclass(frozen=True)
class FitResult(Generic[StateT]):
    """What a stage ended with; times and steps are totals over all sessions of the run.

    Attributes:
        state: the final state.
        env_steps: environment steps.
        wall_seconds: time in the training loop, without compilation.
        compile_seconds: time spent waiting for programs to be compiled.
        env_steps_per_second: of the whole loop, without compilation.
        last_metrics: metrics of the last iteration as floats and lists.
        checkpoint: directory of the final checkpoint.
        best_checkpoint: directory of the checkpoint with the highest score.
    """

    state: StateT
    env_steps: int
    wall_seconds: float
    compile_seconds: float
    env_steps_per_second: float
    last_metrics: Metrics
    checkpoint: Path
    best_checkpoint: Path


@dataclasses.dataclass
class Progress:
    """Host-side bookkeeping of a stage, saved with every checkpoint."""

    iteration: int = 0
    wall_seconds: float = 0.0
    compile_seconds: float = 0.0
    last_metrics: Metrics = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Programs:
    """What a stage runs on the devices.

    Attributes:
        abstract: shape, dtype and sharding of every leaf of its state.
        init: makes the first state.
        step: `state -> (state, metrics, whether the new state is finite)`.
    """

    abstract: PyTree
    init: Compilation
    step: Compilation

    def begin(self, run: Run, stage: str, num_iterations: int, background: Background) -> None:
        """Compiles in the background what the stage still needs.

        Of several processes each compiles when it gets there: whether there are checkpoints must
        not be asked while another process may be making the directory, since opening one that is
        there is something that all processes do together.
        """
        if processes.are_several():
            return
        done = _latest(run.directory / stage / "checkpoints")
        if done is None:
            self.init.begin(background)
        if (done or 0) < num_iterations:
            self.step.begin(background)


def make_programs(
    step: Callable[[StateT], tuple[StateT, Mapping[str, jax.Array]]],
    init: Callable[[], StateT],
    layout: Layout,
    spread: Sequence[str] = (),
    has_physics: bool = False,
) -> Programs:
    """The programs of a stage, not compiled yet.

    Args:
        step: pure; one iteration.
        init: pure; the state before the first iteration.
        layout: the devices to use.
        spread: names of the parts of the state that have a leading task axis, to be spread over
            these devices; the rest is on each of them.
        has_physics: whether bodies are simulated.
    """
    abstract = _abstract(init, spread, layout)

    def checked_step(state: StateT) -> tuple[StateT, Mapping[str, jax.Array], jax.Array]:
        new_state, metrics = step(state)
        return new_state, metrics, all_finite(new_state)

    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    everywhere = layout.replicated
    return Programs(
        abstract,
        init=Compilation(init, out_shardings=shardings),
        step=Compilation(
            checked_step,
            abstract,
            out_shardings=(shardings, everywhere, everywhere),
            donate=True,
            has_physics=has_physics,
        ),
    )


def fit(
    run: Run,
    stage: str,
    programs: Programs,
    *,
    num_iterations: int,
    env_steps_per_iteration: int,
    describe: Callable[[Metrics], Mapping[str, str]],
    score: Callable[[Metrics], float],
    checkpoint_every: int,
    keep_last: int = 3,
    subpolicies: Callable[[StateT], PyTree] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> FitResult[Any]:
    """Runs a training stage to its end, from its newest checkpoint where there is one.

    Args:
        run: the run directory; the stage is kept in `<run>/<stage>`.
        stage: name of the stage, once per run.
        programs: what it runs; they may have been begun.
        num_iterations: iterations of the whole stage.
        env_steps_per_iteration: environment steps in one iteration, over all tasks.
        describe: what the console shows of the metrics, as label to text.
        score: ranks checkpoints by their metrics, higher is better.
        checkpoint_every: iterations between checkpoints; the last one is always saved.
        keep_last: how many of the newest checkpoints to keep beside the best.
        subpolicies: the part of the state that a transfer needs, saved as an item of its own.
        spec: a JSON object from which the shapes of that part can be rebuilt.

    Raises:
        RunError: a metric or a part of the state is not finite; nothing was saved over.
        StoppedError: SIGINT or SIGTERM; the state was saved.
    """
    _check_arguments(run, stage, num_iterations, checkpoint_every)

    def save() -> None:
        telemetry.flush()
        part = None if subpolicies is None else subpolicies(state)
        save_stage(store, progress, state, part, spec or {}, score(progress.last_metrics))

    with CheckpointStore(run.directory / stage / "checkpoints", keep_last=keep_last) as store:
        state, progress = _restore_or_init(store, programs)
        if progress.iteration < num_iterations:
            telemetry: Telemetry | Silence = Silence()
            if processes.is_first():
                telemetry = Telemetry(
                    run.directory,
                    stage,
                    num_iterations=num_iterations,
                    start_iteration=progress.iteration,
                    describe=describe,
                    more_sinks=[] if run.tracker is None else [run.tracker.stage(stage)],
                )
            telemetry.note(f"{stage}: compiling")
            program = programs.step.program(arguments_exist=True)
            progress.compile_seconds += program.wait_seconds
            telemetry.note(f"{stage}: {program}")
            loop_start = time.monotonic() - progress.wall_seconds
            with telemetry, stop_on_signal() as stop, noticing_losses(run, store):
                while progress.iteration < num_iterations:
                    state, metrics, finite = program(state)
                    wait_for(finite)
                    progress.iteration += 1
                    progress.wall_seconds = time.monotonic() - loop_start
                    progress.last_metrics = to_plain(jax.device_get(metrics))
                    env_steps = progress.iteration * env_steps_per_iteration
                    telemetry.log(
                        Record(
                            iteration=progress.iteration,
                            env_steps=env_steps,
                            wall_seconds=progress.wall_seconds,
                            metrics=progress.last_metrics,
                        )
                    )
                    culprit = _find_not_finite(progress.last_metrics, None if finite else state)
                    if culprit is not None:
                        raise _diverged(stage, progress.iteration, culprit, store)
                    due = progress.iteration % checkpoint_every == 0
                    stop_signal = processes.largest(stop.signal)
                    if due or stop_signal or progress.iteration == num_iterations:
                        save()
                    if stop_signal:
                        saved = f"{stage} after iteration {progress.iteration}"
                        raise run.stopped(saved, stop_signal)
        return stage_result(store, progress, state, env_steps_per_iteration)


def save_stage(
    store: CheckpointStore,
    progress: Progress,
    state: PyTree,
    subpolicies: PyTree | None,
    spec: Mapping[str, Any],
    score: float,
) -> None:
    """Writes a checkpoint that `fit` goes on from.

    Args:
        store: the checkpoints of the stage.
        progress: of the stage.
        state: after its last iteration.
        subpolicies: the part of it that a transfer needs; None where there is none.
        spec: as in `fit`.
        score: higher is better.
    """
    items = {TRAINER: state}
    if subpolicies is not None:
        items[SUBPOLICIES] = subpolicies
    metadata = {"progress": dataclasses.asdict(progress), SPEC: dict(spec)}
    store.save(progress.iteration, items, metadata, score)


def stage_result(
    store: CheckpointStore, progress: Progress, state: StateT, env_steps_per_iteration: int
) -> FitResult[StateT]:
    """What a stage ended with, whose last iteration was saved.

    Args:
        store: its checkpoints.
        progress: of the stage.
        state: the final state.
        env_steps_per_iteration: environment steps in one iteration, over all tasks.
    """
    best = store.best()
    env_steps = progress.iteration * env_steps_per_iteration
    return FitResult(
        state=state,
        env_steps=env_steps,
        wall_seconds=progress.wall_seconds,
        compile_seconds=progress.compile_seconds,
        env_steps_per_second=env_steps / max(progress.wall_seconds, 1e-9),
        last_metrics=progress.last_metrics,
        checkpoint=store.path(progress.iteration),
        best_checkpoint=store.path(progress.iteration if best is None else best),
    )


def _check_arguments(run: Run, stage: str, num_iterations: int, checkpoint_every: int) -> None:
    if num_iterations < 1:
        raise ConfigError(f"num_iterations: must be at least 1, got {num_iterations}")
    if checkpoint_every < 1:
        raise ConfigError(f"checkpoint_every: must be at least 1, got {checkpoint_every}")
    if stage in run.stages:
        raise ValueError(f"stage {stage!r} was already run; give every stage its own name")
    run.stages.add(stage)


def _abstract(init: Callable[[], StateT], spread: Sequence[str], layout: Layout) -> PyTree:
    """Shape, dtype and sharding of every leaf of the state."""

    def place(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        name = leaf_name(path)
        is_spread = any(name == part or name.startswith(f"{part}.") for part in spread)
        sharding = layout.by_task if is_spread else layout.replicated
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree_util.tree_map_with_path(place, jax.eval_shape(init))


def _latest(directory: Path) -> int | None:
    """The newest iteration that a stage has saved, if any."""
    if not directory.is_dir():
        return None
    with CheckpointStore(directory, read_only=True) as store:
        return store.latest()


def _restore_or_init(store: CheckpointStore, programs: Programs) -> tuple[Any, Progress]:
    if store.latest() is None:
        program = programs.init.program()
        return program(), Progress(compile_seconds=program.wait_seconds)
    restored = store.restore({TRAINER: programs.abstract})
    return restored.items[TRAINER], Progress(**restored.metadata["progress"])


def _is_inexact(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _find_not_finite(metrics: Metrics, state: PyTree | None) -> str | None:
    """Names the first offending metric, else the first offending leaf of `state` if given."""
    for name, value in metrics.items():
        if not np.all(np.isfinite(value)):
            return f"metric {name}"
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        if _is_inexact(leaf) and not jnp.isfinite(leaf).all():
            return f"state {leaf_name(path)}"
    return None


def _diverged(stage: str, iteration: int, culprit: str, store: CheckpointStore) -> RunError:
    return RunError(
        f"{stage} iteration {iteration}: {culprit} is not finite; "
        f"try a lower learning rate or another seed; {_last_checkpoint(store)}"
    )


_OF_LOSSES = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "Socket closed")
"""What is in the errors of processes whose connections have gone."""


@contextlib.contextmanager
def noticing_losses(run: Run, store: CheckpointStore) -> Iterator[None]:
    """Says in one line that another process has gone, and how to continue without it."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, RunError) as error:
        if not processes.are_several() or is_out_of_memory(error):
            raise
        # What Orbax, which saves in all of them, has raised is the cause of an error of ours.
        cause = str(error.__cause__)
        if isinstance(error, RunError) and not any(word in cause for word in _OF_LOSSES):
            raise
        reason = (str(error).splitlines() or [""])[0][:200]
        raise RunError(
            f"another process of this run was lost ({reason}); {_last_checkpoint(store)}; "
            f"{run.how_to_continue}"
        ) from error


def _last_checkpoint(store: CheckpointStore) -> str:
    latest = store.latest()
    return "nothing was saved yet" if latest is None else f"last checkpoint: {store.path(latest)}"
