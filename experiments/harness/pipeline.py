"""Whole runs: train sub-policies and measure them, or put fresh masters on existing ones.

What needs JAX is imported once the command line has been read, so that `--help` is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from experiments.harness.config import (
    AdaptationConfig,
    EvaluationConfig,
    MakeEnv,
    TrainingConfig,
)
from mlsh_jax.host.launch import Preset, parse, start_run

if TYPE_CHECKING:
    from experiments.harness.stages import Timed
    from mlsh_jax.adapt import Assessment
    from mlsh_jax.config import MLSHConfig
    from mlsh_jax.host.runs import Run
    from mlsh_jax.learners import SubPolicies
    from mlsh_jax.tasks import Tasks


class TrainingExperiment(Protocol):
    """Configuration of an experiment that trains sub-policies and measures them.

    Attributes:
        seed: of everything random.
        training: of the sub-policies.
        evaluation: closing measurement.
    """

    @property
    def seed(self) -> int: ...  # noqa: D102

    @property
    def training(self) -> TrainingConfig: ...  # noqa: D102

    @property
    def evaluation(self) -> EvaluationConfig: ...  # noqa: D102


ConfigT = TypeVar("ConfigT", bound=TrainingExperiment)


def train_and_assess(
    name: str,
    presets: Mapping[str, Preset[ConfigT]],
    make_env_of: Callable[[ConfigT], MakeEnv],
    argv: Sequence[str] | None,
    make_evaluation_env_of: Callable[[ConfigT], MakeEnv] | None = None,
) -> None:
    """Trains sub-policies, lets fresh masters adapt to every task, writes the summary.

    Args:
        name: of the experiment.
        presets: its presets.
        make_env_of: makes the environment that a configuration asks for.
        argv: the command line; that of the process for None.
        make_evaluation_env_of: makes one with the tasks to measure on; the same for None.
    """
    launch = parse(name, presets, argv)
    from experiments.harness import stages
    from experiments.harness.summary import finish, summarize_assessment, summarize_costs

    training = launch.config.training
    if launch.resume is None:
        stages.check_training(make_env_of(launch.config), training, launch.layout)
    run, config = start_run(launch, launch.config.seed)
    seed, training, evaluation = config.seed, config.training, config.evaluation
    trained = stages.train_subpolicies(run, make_env_of(config), training, seed)
    make_env = (make_evaluation_env_of or make_env_of)(config)
    assessed = stages.assess(run, make_env, training, trained.state.subpolicies, evaluation, seed)
    env = make_env(None)
    tasks = stages.evaluation_tasks(env, evaluation.num_tasks, seed)
    summary = summarize_costs(run, seed, [trained], [assessed])
    summary |= summarize_assessment(assessed.value, env.task_names, np.asarray(tasks.index))
    _look(run, env, assessed.value, tasks)
    finish(run, summary)


def adapt_and_evaluate(
    run: Run,
    make_env: MakeEnv,
    adaptation: AdaptationConfig,
    trained: MLSHConfig,
    subpolicies: SubPolicies,
    episodes: int,
    seed: int,
) -> tuple[Any, Timed, dict[str, Any]]:
    """Fresh masters learn on frozen sub-policies and are then measured.

    Args:
        run: the run directory.
        make_env: makes the environment.
        adaptation: of the masters.
        trained: how the sub-policies were trained.
        subpolicies: φ.
        episodes: per master and behavior in the closing measurement.
        seed: of everything random.

    Returns:
        The stage's result, the evaluation, and the summary of both without costs.
    """
    from experiments.harness import stages
    from experiments.harness.summary import summarize_assessment

    adapted = stages.adapt_masters(run, make_env, adaptation, trained, subpolicies, seed)
    config = stages.adaptation_config(make_env, adaptation, trained)
    measured = stages.evaluate_masters(run, make_env, config, adapted.state, episodes, seed)
    env = make_env(None)
    tasks = stages.evaluation_tasks(env, adaptation.num_tasks, seed)
    summary = summarize_assessment(measured.value, env.task_names, np.asarray(tasks.index))
    _look(run, env, measured.value, tasks)
    return adapted, measured, summary


def _look(run: Run, env: Any, assessment: Assessment, tasks: Tasks) -> None:
    """`figures.look`, imported with all of matplotlib when training is over and not before."""
    from experiments.harness.figures import look

    look(run, env, assessment, tasks)
