"""Whole runs: train sub-policies and measure them, or put fresh masters on existing ones."""

from typing import Any

import numpy as np

from experiments import report, stages
from experiments.config import AdaptationConfig, EvaluationConfig, TrainingConfig
from mlsh_jax.config import MLSHConfig
from mlsh_jax.learners import SubPolicies
from mlsh_jax.runs import Run


def train_and_assess(
    run: Run,
    make_env: stages.MakeEnv,
    training: TrainingConfig,
    evaluation: EvaluationConfig,
    seed: int,
) -> None:
    """Trains sub-policies, lets fresh masters adapt to every task, writes the summary.

    Args:
        run: the run directory.
        make_env: makes the environment.
        training: of the sub-policies.
        evaluation: closing measurement.
        seed: of everything random.
    """
    trained = stages.train_subpolicies(run, make_env, training, seed)
    assessed = stages.assess(make_env, training, trained.state.subpolicies, evaluation, seed)
    env = make_env(None)
    tasks = stages.evaluation_tasks(env, evaluation.num_tasks, seed)
    summary = report.summarize_costs(run, seed, [trained], [assessed])
    summary |= report.summarize_assessment(assessed.value, env.task_names, np.asarray(tasks.index))
    report.finish(run, summary)


def adapt_and_evaluate(
    run: Run,
    make_env: stages.MakeEnv,
    adaptation: AdaptationConfig,
    trained: MLSHConfig,
    subpolicies: SubPolicies,
    episodes: int,
    seed: int,
) -> tuple[Any, stages.Timed, dict[str, Any]]:
    """Fresh masters learn on frozen sub-policies and are then measured.

    Args:
        run: the run directory.
        make_env: makes the environment.
        adaptation: of the masters.
        trained: how the sub-policies were trained.
        subpolicies: φ.
        episodes: per master and behaviour in the closing measurement.
        seed: of everything random.

    Returns:
        The stage's result, the evaluation, and the summary of both without costs.
    """
    adapted = stages.adapt_masters(run, make_env, adaptation, trained, subpolicies, seed)
    config = stages.adaptation_config(make_env, adaptation, trained)
    measured = stages.evaluate_masters(make_env, config, adapted.state, episodes, seed)
    tasks = adapted.state.adaptation.lives.tasks
    summary = report.summarize_assessment(
        measured.value, make_env(None).task_names, np.asarray(tasks.index)
    )
    summary |= report.summarize_env_metrics(measured.value.adapted)
    return adapted, measured, summary
