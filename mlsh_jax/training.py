"""Meta-training in one call, for programs of one's own; experiments use `mlsh_jax.host.train`."""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from mlsh_jax import mlsh
from mlsh_jax.agent import Agent
from mlsh_jax.errors import CheckpointError, ConfigError, RunError
from mlsh_jax.finite import all_finite
from mlsh_jax.host.checkpoint import SPEC, SUBPOLICIES, TRAINER, CheckpointStore
from mlsh_jax.host.compilation import matmul_precision
from mlsh_jax.host.telemetry import to_plain
from mlsh_jax.mlsh import MetaState
from mlsh_jax.transfer import first_difference, subpolicy_spec
from mlsh_jax.usage import separation_warnings


class SeparationWarning(UserWarning):
    """Sub-policies were trained that act alike, or that are never used."""


_KEY = "key"  # that a training began with, in the metadata of its checkpoints

Progress = Callable[[int, dict[str, Any]], object]
"""Is told the number of meta-iterations that are done, and the metrics of the last one."""


def train(
    agent: Agent,
    meta_iterations: int,
    key: jax.Array,
    *,
    directory: Path | str | None = None,
    checkpoint_every: int = 10,
    progress: Progress | None = None,
) -> MetaState:
    """Trains sub-policies from scratch, or on from the newest checkpoint in `directory`.

    Args:
        agent: of `make_agent`.
        meta_iterations: in all, those before an interruption included.
        key: typed PRNG key; what everything random comes from.
        directory: where checkpoints are kept, as `restore_subpolicies` and `--checkpoint` take
            them; None to keep none. A training that goes on ends in bitwise the same state as one
            that never stopped.
        checkpoint_every: meta-iterations between checkpoints; the last is always kept.
        progress: called after every meta-iteration with its number, from 1, and its metrics as
            floats and lists, such as `metrics["return"]`.

    Returns:
        The state after the last meta-iteration; its `subpolicies` are φ. A `SeparationWarning`
        says which of them act alike, and which are never used where masters choose freely: with
        `balance_usage` or `random_starts` at the end of the last warmup (without one, before
        masters have learned), otherwise at the end of training.

    Compiled once for an agent: another key or more meta-iterations do not compile again.

    Raises:
        ConfigError: a number is below 1, there are fewer meta-iterations than `directory` has
            already, or more than the steps of the sub-policies last (`decay_until`).
        CheckpointError: the checkpoint in `directory` is of another agent or key.
        RunError: something is not finite any more; what was saved before is kept.
    """
    for name, value in (
        ("meta_iterations", meta_iterations),
        ("checkpoint_every", checkpoint_every),
    ):
        if value < 1:
            raise ConfigError(f"{name}: must be at least 1, got {value}")
    agent.config.require_steps_to_the_end(meta_iterations, goes_on=True)
    if directory is None:
        return _loop(agent, mlsh.init(agent, key), 0, meta_iterations, progress, None)
    with CheckpointStore(Path(directory) / "checkpoints", keep_last=1) as store:
        done = store.latest() or 0
        if done > meta_iterations:
            raise ConfigError(
                f"meta_iterations: {directory} has {done} already, got {meta_iterations}"
            )
        state = mlsh.init(agent, key)
        begun_with = jax.random.key_data(key).tolist()
        if done:
            abstract = jax.eval_shape(lambda: mlsh.init(agent, key))
            restored = store.restore({TRAINER: abstract})
            different = first_difference(restored.metadata[SPEC], subpolicy_spec(agent))
            if different is not None:
                raise CheckpointError(
                    f"{directory}: holds the training of another agent ({different}); choose "
                    "another directory"
                )
            if restored.metadata.get(_KEY, begun_with) != begun_with:
                raise CheckpointError(
                    f"{directory}: holds a training that began with another key; choose another "
                    "directory"
                )
            state = restored.items[TRAINER]

        def save(iteration: int, state: MetaState, metrics: dict[str, Any]) -> None:
            if iteration % checkpoint_every == 0 or iteration == meta_iterations:
                items = {TRAINER: state, SUBPOLICIES: state.subpolicies}
                metadata = {SPEC: subpolicy_spec(agent), _KEY: begun_with}
                store.save(iteration, items, metadata, metrics["return"])

        return _loop(agent, state, done, meta_iterations, progress, save)


@functools.partial(jax.jit, static_argnames="agent")
def _step(agent: Agent, state: MetaState) -> tuple[MetaState, mlsh.Metrics, jax.Array]:
    state, metrics = mlsh.meta_iteration(agent, state)
    return state, metrics, all_finite((state, metrics))


def _loop(
    agent: Agent,
    state: MetaState,
    done: int,
    meta_iterations: int,
    progress: Progress | None,
    save: Callable[[int, MetaState, dict[str, Any]], None] | None,
) -> MetaState:
    """Meta-iterations from `done` on; the state after the last."""
    for iteration in range(done + 1, meta_iterations + 1):
        with jax.default_matmul_precision(matmul_precision()):
            state, metrics, is_finite = _step(agent, state)
        if not is_finite:
            raise RunError(
                f"meta-iteration {iteration}: numbers are not finite; try a lower learning rate or "
                "another key"
            )
        plain = to_plain(jax.device_get(metrics))
        if progress is not None:
            progress(iteration, plain)
        if save is not None:
            save(iteration, state, plain)
        if iteration == meta_iterations:
            usage = [plain["usage_free"]]
            for line in separation_warnings(plain.get("divergence", ()), usage):
                warnings.warn(line, SeparationWarning, stacklevel=3)
    return state
