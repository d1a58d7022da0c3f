"""Whole runs: train sub-policies and measure them, or put fresh masters on existing ones."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import jax
import numpy as np

from experiments.harness import methods, stages
from experiments.harness.config import AdaptationConfig, EvaluationConfig, MakeEnv, TrainingConfig
from experiments.harness.summary import finish, summarize_assessment, summarize_costs
from mlsh_jax import mlsh
from mlsh_jax.adapt import Assessment
from mlsh_jax.agent import SubPolicies, make_agent
from mlsh_jax.baselines.method import Method
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.launch import Launch, start_run
from mlsh_jax.host.runs import Run
from mlsh_jax.host.train import FitResult
from mlsh_jax.tasks import Tasks
from mlsh_jax.transfer import subpolicy_spec


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
StateT = TypeVar("StateT")


def train_and_assess(
    launch: Launch[ConfigT],
    make_env_of: Callable[[ConfigT], MakeEnv],
    make_evaluation_env_of: Callable[[ConfigT], MakeEnv] | None = None,
) -> None:
    """Trains sub-policies, lets fresh masters adapt to every task, writes the summary.

    Args:
        launch: what the command line asks for.
        make_env_of: makes the environment that a configuration asks for.
        make_evaluation_env_of: makes one with the tasks to measure on; the same for None.
    """
    if launch.resume is None:
        training = launch.config.training
        stages.check_training(make_env_of(launch.config), training, launch.layout)
    run, config = start_run(launch, launch.config.seed)
    env = (make_evaluation_env_of or make_env_of)(config)(None)
    tasks = stages.evaluation_tasks(env, config.evaluation.num_tasks, config.seed)
    closing = methods.closing_measurement(
        env, config.training.mlsh, config.evaluation, tasks, run.layout
    )
    trained, method = train_subpolicies(
        run, make_env_of(config), config.training, closing, config.seed
    )
    assessed = stages.measure(run, method, trained.state, config.seed, "evaluation.num_envs")
    summary = summarize_costs(run, config.seed, [trained], [assessed])
    summary |= summarize_assessment(assessed.value, env.task_names, np.asarray(tasks.index))
    _draw(run, env, assessed.value, tasks)
    finish(run, summary)


def train_subpolicies(
    run: Run,
    make_env: MakeEnv,
    config: TrainingConfig,
    closing: methods.Closing | None,
    seed: int,
) -> tuple[FitResult[mlsh.MetaState], Method[mlsh.MetaState]]:
    """Meta-trains φ; stage "train" of the run.

    Args:
        run: the run directory.
        make_env: makes the environment to train on.
        config: how long, and how.
        closing: how φ will be measured; None where it is not.
        seed: of the run.

    Returns:
        The result of the stage, and the method that it was.
    """
    run.layout.check("num_tasks", config.mlsh.num_tasks)
    layout = run.layout.largest_even(config.mlsh.num_tasks)
    agent = make_agent(make_env(config.episode_length), config.mlsh, num_shares=layout.num_devices)
    method = methods.meta_training(agent, layout, closing)
    result = stages.train(
        run,
        method,
        iterations=config.meta_iterations,
        seed=seed,
        layout=layout,
        checkpoint_every=config.checkpoint_every,
        keep_checkpoints=config.keep_checkpoints,
        subpolicies=lambda state: state.subpolicies,
        spec=subpolicy_spec(agent),
    )
    return result, method


def adapt_and_evaluate(
    run: Run,
    make_env: MakeEnv,
    adaptation: AdaptationConfig,
    trained: MLSHConfig,
    subpolicies: SubPolicies,
    episodes: int,
    seed: int,
) -> tuple[FitResult[methods.AdaptationStage], stages.Timed, dict[str, Any]]:
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
    env = make_env(None)
    tasks = stages.evaluation_tasks(env, adaptation.num_tasks, seed)
    on_host = jax.device_get(subpolicies)
    method = methods.adaptation(make_env, adaptation, trained, on_host, tasks, episodes)
    adapted = train_on_tasks(run, method, adaptation, adaptation.iterations, seed)
    measured = stages.measure(run, method, adapted.state, seed, "episodes")
    summary = summarize_assessment(measured.value, env.task_names, np.asarray(tasks.index))
    _draw(run, env, measured.value, tasks)
    return adapted, measured, summary


def train_on_tasks(
    run: Run, method: Method[StateT], config: AdaptationConfig, iterations: int, seed: int
) -> FitResult[StateT]:
    """Trains what learns on given tasks: masters on frozen φ, or a baseline.

    Args:
        run: the run directory.
        method: what is trained.
        config: says how often and how many checkpoints are kept.
        iterations: in all.
        seed: of the run.
    """
    run.layout.check("num_tasks", method.num_tasks)
    return stages.train(
        run,
        method,
        iterations=iterations,
        seed=seed,
        layout=run.layout.largest_even(method.num_tasks),
        checkpoint_every=config.checkpoint_every,
        keep_checkpoints=config.keep_checkpoints,
    )


def _draw(run: Run, env: Any, assessment: Assessment, tasks: Tasks) -> None:
    """`figures.look`, imported with all of matplotlib when training is over and not before."""
    from experiments.harness.figures import look

    look(run, env, assessment, tasks)
