"""Many seeds of moving_bandits under one configuration, for tables that compare configurations."""

import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import envs
from experiments.harness.config import AS_PUBLISHED
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.compilation import compile_ahead
from mlsh_jax.host.devices import default_layout
from mlsh_jax.host.serialization import read_json, reading, write_json
from mlsh_jax.rl.config import LearnerConfig

BASE = MLSHConfig(
    **AS_PUBLISHED,
    master=LearnerConfig(learning_rate=1e-2, clip_epsilon=0.8, normalize_observations=False),
    subpolicy=LearnerConfig(epochs=2, num_minibatches=8),
)
"""What the tables vary: moving_bandits without the ingredients that results/separation.md is about,
which these tables are older than."""

FOUND = 38.0
"""A sub-policy of its own task earns 43.76 at best; below this it was not found."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What one seed came to.

    Attributes:
        seed: of everything random.
        adapted_return: of fresh masters after adaptation.
        own_task_returns: of the best sub-policy for each task when forced, `[M]`.
        training_returns: at the end of every meta-iteration; empty in files that are older.
        seconds: of a meta-iteration, on average; without compilation.
    """

    seed: int
    adapted_return: float
    own_task_returns: list[float]
    training_returns: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def collapsed(self) -> bool:
        """Whether some task has no sub-policy of its own."""
        return min(self.own_task_returns) < FOUND


def train_seeds(
    config: MLSHConfig,
    measured: MLSHConfig,
    meta_iterations: int,
    seeds: Sequence[int],
    num_tasks: int,
    num_envs: int,
) -> Iterator[Result]:
    """Trains and measures seeds one after the other, compiling once.

    Args:
        config: of the training.
        measured: with which fresh masters adapt afterwards, for `warmup_iterations`.
        meta_iterations: of the training.
        seeds: which.
        num_tasks: fresh masters.
        num_envs: episodes per master and behavior.
    """
    layout = default_layout().largest_even(config.num_tasks)
    env = envs.make("moving_bandits")
    agent = make_agent(env, config, num_shares=layout.num_devices)
    closing_agent = make_agent(env, measured)
    tasks = adapt.evaluation_tasks(env, jax.random.key(0), num_tasks)

    def measure(state: mlsh.MetaState, key: jax.Array) -> adapt.Assessment:
        iterations = measured.warmup_iterations
        return adapt.assess(closing_agent, state.subpolicies, tasks, key, num_envs, iterations)[0]

    init = jax.jit(functools.partial(mlsh.init, agent), out_shardings=layout.replicated)
    key = layout.replicate(jax.random.key(0))
    step = compile_ahead(
        functools.partial(mlsh.meta_iteration, agent, shard=layout.spread),
        init(key),
        out_shardings=layout.replicated,
    )
    closing = compile_ahead(measure, init(key), key, out_shardings=layout.replicated)
    for seed in seeds:
        key_init, key_assess = jax.random.split(layout.replicate(jax.random.key(seed)))
        state = init(key_init)
        started = time.monotonic()
        returns = []
        for _ in range(meta_iterations):
            state, metrics = step(state)
            returns.append(float(metrics["return"]))
        seconds = (time.monotonic() - started) / meta_iterations
        assessment = jax.device_get(closing(state, key_assess))
        forced = assessment.forced.returns.mean(axis=-1)  # [K, G]
        kinds = np.asarray(tasks.index)
        own = [float(forced[:, kinds == m].mean(axis=1).max()) for m in range(kinds.max() + 1)]
        adapted = float(assessment.adapted.returns.mean())
        yield Result(seed, adapted, own, returns, seconds)


def read_results(path: Path) -> dict[str, list[Result]]:
    """The numbers that are already there, by the name of a configuration.

    Raises:
        RunError: they cannot be read.
    """
    if not path.exists():
        return {}
    with reading(path):
        return {
            name: [Result(**result) for result in results]
            for name, results in read_json(path).items()
        }


def write_results(path: Path, table: dict[str, list[Result]]) -> None:
    """Writes the numbers behind a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, Any] = {
        name: [dataclasses.asdict(result) for result in results] for name, results in table.items()
    }
    write_json(path, numbers)
