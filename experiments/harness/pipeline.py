"""Whole runs: train sub-policies and measure them, or put fresh masters on existing ones."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import jax

from experiments.harness import methods, side_by_side, stages
from experiments.harness.closing import finish
from experiments.harness.config import AdaptationConfig, EvaluationConfig, MakeEnv, TrainingConfig
from experiments.harness.summary import summarize_training
from mlsh_jax import mlsh
from mlsh_jax.adapt import Assessment, FrozenState
from mlsh_jax.agent import SubPolicies, make_agent
from mlsh_jax.baselines.method import Method
from mlsh_jax.config import MLSHConfig
from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.errors import RunError
from mlsh_jax.host.compilation import Background
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

    def closing_of(config: ConfigT) -> methods.Closing:
        env = (make_evaluation_env_of or make_env_of)(config)(None)
        tasks = stages.evaluation_tasks(env, config.evaluation.num_tasks, config.seed)
        return methods.closing_measurement(
            env, config.training.mlsh, config.evaluation, tasks, launch.layout
        )

    if launch.resume is None:
        training, make_env = launch.config.training, make_env_of(launch.config)
        stages.check_training(make_env, training, launch.layout, launch.num_seeds)
        stages.check_evaluation(make_env, launch.config.evaluation, training.mlsh)
        closing_of(launch.config)  # refuses what would not fit when all is trained
    if launch.num_seeds > 1:
        side_by_side.train_and_assess(launch, make_env_of(launch.config), closing_of)
        return
    run, config = start_run(launch, launch.config.seed)
    closing = closing_of(config)
    env, tasks = closing.agent.env, closing.tasks
    with Background() as background:
        trained, prepared = train_subpolicies(
            run, make_env_of(config), config.training, closing, config.seed, background
        )
        assessed = stages.measure(run, prepared, trained.state, "evaluation.num_envs")
    finish(run, summarize_training(run, config.seed, trained, assessed, closing))
    assessment, _ = assessed.value
    draw(run, env, assessment, tasks)


def train_subpolicies(
    run: Run,
    make_env: MakeEnv,
    config: TrainingConfig,
    closing: methods.Closing | None,
    seed: int,
    background: Background | None = None,
) -> tuple[FitResult[mlsh.MetaState], stages.Prepared[mlsh.MetaState]]:
    """Meta-trains φ; stage "train" of the run.

    Args:
        run: the run directory.
        make_env: makes the environment to train on.
        config: how long, and how.
        closing: how φ will be measured; None where it is not.
        seed: of the run.
        background: compiles the closing measurement meanwhile; None where there is none.

    Returns:
        The result of the stage, and what there is to measure.
    """
    run.layout.check("num_tasks", config.mlsh.num_tasks)
    layout = run.layout.largest_even(config.mlsh.num_tasks)
    agent = make_agent(make_env(config.episode_length), config.mlsh, num_shares=layout.num_devices)
    prepared = stages.prepare(
        run,
        methods.meta_training(agent, layout, closing),
        agent.env,
        iterations=config.meta_iterations,
        seed=seed,
        layout=layout,
    )
    if background is not None:
        stages.begin(run, [prepared], background)
    result = stages.train(
        run,
        prepared,
        checkpoint_every=config.checkpoint_every,
        keep_checkpoints=config.keep_checkpoints,
        subpolicies=lambda state: state.subpolicies,
        spec=subpolicy_spec(agent),
    )
    return result, prepared


def prepare_adaptation(
    run: Run,
    make_env: MakeEnv,
    config: AdaptationConfig,
    trained: MLSHConfig,
    subpolicies: SubPolicies,
    tasks: Tasks,
    episodes: int,
    seed: int,
) -> stages.Prepared[FrozenState]:
    """Fresh masters on frozen sub-policies, to be trained and measured.

    Args:
        run: the run directory.
        make_env: makes the environment.
        config: of the masters.
        trained: how the sub-policies were trained.
        subpolicies: φ.
        tasks: of the masters.
        episodes: per master and behavior in the closing measurement.
        seed: of everything random.
    """
    on_host = jax.device_get(subpolicies)
    method = methods.adaptation(make_env, config, trained, on_host, tasks, episodes)
    return prepare_on_tasks(run, method, make_env(None), config.iterations, seed)


def prepare_on_tasks(
    run: Run, method: Method[StateT], env: TaskEnvironment, iterations: int, seed: int
) -> stages.Prepared[StateT]:
    """What learns on given tasks, to be trained and measured: masters, or a baseline.

    Args:
        run: the run directory.
        method: what is trained.
        env: that it acts in.
        iterations: in all.
        seed: of the run.
    """
    run.layout.check("num_tasks", method.num_tasks)
    layout = run.layout.largest_even(method.num_tasks)
    return stages.prepare(run, method, env, iterations=iterations, seed=seed, layout=layout)


def train_and_measure(
    run: Run, prepared: stages.Prepared[StateT], config: AdaptationConfig
) -> tuple[FitResult[StateT], stages.Timed]:
    """Trains what learns on given tasks, and plays whole episodes with it.

    Args:
        run: the run directory.
        prepared: what is trained.
        config: says how often and how many checkpoints are kept.
    """
    learned = stages.train(
        run,
        prepared,
        checkpoint_every=config.checkpoint_every,
        keep_checkpoints=config.keep_checkpoints,
    )
    return learned, stages.measure(run, prepared, learned.state, "episodes")


def draw(run: Run, env: Any, assessment: Assessment, tasks: Tasks) -> None:
    """`figures.draw_run`, imported with all of matplotlib when training is over and not before.

    Raises:
        RunError: pictures cannot be written.
    """
    from experiments.harness.figures import draw_run

    try:
        draw_run(run, env, assessment, tasks)
    except OSError as error:
        raise RunError(
            f"{run.directory}: its pictures cannot be written ({error}); all else is there"
        ) from None
