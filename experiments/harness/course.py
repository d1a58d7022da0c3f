"""A course on frozen sub-policies: fresh masters learn it, and baselines beside them.

What `ant_obstacle`, `ant_obstacle_big` and `humanoid_course` share.
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from experiments.harness import checkpoints, memory, methods, pipeline, stages
from experiments.harness.closing import finish
from experiments.harness.config import Crossing, MakeEnv
from experiments.harness.summary import (
    learning_curve,
    summarize_assessment,
    summarize_baseline,
    summarize_costs,
)
from mlsh_jax.agent import SubPolicies
from mlsh_jax.baselines import single_policy
from mlsh_jax.baselines.method import Method, make_baseline
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.compilation import Background
from mlsh_jax.host.devices import Layout
from mlsh_jax.host.launch import Launch, start_run
from mlsh_jax.host.runs import Run
from mlsh_jax.host.train import FitResult
from mlsh_jax.tasks import Tasks


class CourseExperiment(Protocol):
    """Configuration of an experiment on frozen sub-policies, a dataclass.

    Attributes:
        seed: of everything random.
        subpolicies: run, checkpoint or name of bundled sub-policies to take; None for those that
            come with the code.
        crossing: how the course is learned and measured.
    """

    @property
    def seed(self) -> int: ...  # noqa: D102

    @property
    def subpolicies(self) -> str | None: ...  # noqa: D102

    @property
    def crossing(self) -> Crossing: ...  # noqa: D102


ConfigT = TypeVar("ConfigT", bound=CourseExperiment)


def cross_on_frozen(
    launch: Launch[ConfigT], make_course_of: Callable[[ConfigT], MakeEnv], experiment: str
) -> None:
    """Learns a course on sub-policies that were trained elsewhere, and without them.

    Args:
        launch: what the command line asks for.
        make_course_of: makes the course that a configuration asks for.
        experiment: whose bundled sub-policies are taken where none are named.

    Raises:
        ConfigError: sizes do not fit.
        CheckpointError: the sub-policies are missing or do not fit the body.
    """
    if launch.resume is None:
        config = checked(launch.config, launch.layout, make_course_of, experiment)
        launch = dataclasses.replace(launch, config=config)
    run, config = start_run(launch, launch.config.seed)
    if config.subpolicies is None:
        raise ConfigError(f"{run.directory / 'config.json'}: subpolicies: must not be null")
    make_course, path = make_course_of(config), Path(config.subpolicies)
    subpolicies, trained = checkpoints.restore_kept(run, path, make_course(None))
    cross(run, make_course, subpolicies, trained, config.crossing, config.seed, [])


def checked(
    config: ConfigT, layout: Layout, make_course_of: Callable[[ConfigT], MakeEnv], experiment: str
) -> ConfigT:
    """The configuration with the exact checkpoint, refused if it cannot work.

    Args:
        config: of the experiment.
        layout: devices to spread tasks over.
        make_course_of: as in `cross_on_frozen`.
        experiment: likewise.

    Raises:
        ConfigError: sizes do not fit.
        CheckpointError: the sub-policies are missing or do not fit the body.
    """
    path, make_course = exact_path(config.subpolicies, experiment), make_course_of(config)
    _, trained = checkpoints.restore_checked(path, make_course(None))
    crossing = check(make_course, config.crossing, trained, layout)
    return dataclasses.replace(  # type: ignore[type-var]
        config, subpolicies=str(path), crossing=crossing
    )


def exact_path(subpolicies: str | None, experiment: str) -> Path:
    """The one checkpoint that is meant, the bundled one of `experiment` for None.

    A path or a bundled name otherwise, as in `checkpoints.exact_path`.

    Raises:
        CheckpointError: there is none.
    """
    if subpolicies is None:
        return checkpoints.bundled(experiment)
    return checkpoints.exact_path(subpolicies)


def check(
    make_course: MakeEnv, crossing: Crossing, trained: MLSHConfig, layout: Layout
) -> Crossing:
    """Refuses what cannot work before a run directory is made.

    Returns:
        How the course is learned, with the exact checkpoint of a shared policy and what the
        training of the sub-policies says.

    Raises:
        ConfigError: sizes do not fit; naming the option.
        CheckpointError: the shared policy is missing or does not fit the body.
    """
    course, shared = crossing.course, None
    if crossing.shared_policy is not None:
        path = checkpoints.exact_path(crossing.shared_policy)
        shared = checkpoints.restore_checked(path, make_course(None))
        crossing = dataclasses.replace(crossing, shared_policy=str(path))
    try:
        stages.check_adaptation(make_course, course, trained, layout, crossing.episodes)
    except ConfigError as error:
        raise ConfigError(f"course.{error}") from None
    tasks = stages.evaluation_tasks(make_course(None), course.num_tasks, seed=0)
    stage_names = ["train", "adapt"]
    for name, method in beside_masters(make_course, crossing, trained, tasks, shared):
        memory.require_baseline(method.init, "single_policy")
        stage_names.append(method.name)
        if stage_names[-1] in stage_names[:-1]:
            raise ConfigError(f"baselines: {name}: a run has a stage {stage_names[-1]!r} already")
    return dataclasses.replace(crossing, course=course.as_trained(trained))


def beside_masters(
    make_course: MakeEnv,
    crossing: Crossing,
    trained: MLSHConfig,
    tasks: Tasks,
    shared: tuple[SubPolicies, MLSHConfig] | None,
    num_shares: int = 1,
) -> list[tuple[str, Method[Any]]]:
    """What masters are compared with, and the name that each has in the summary.

    Args:
        make_course: makes the course.
        crossing: how the course is learned and measured.
        trained: how the sub-policies of the masters were trained.
        tasks: those of the masters, `[G, ...]`.
        shared: the shared policy and how it was trained; None for no such comparison.
        num_shares: in how many equal shares tasks lie on different devices.

    Raises:
        ConfigError: sizes do not fit; naming the option.
    """
    setting = methods.baseline_setting(
        make_course,
        crossing.course,
        crossing.single_policy,
        tasks,
        crossing.episodes,
        num_shares,
        option="single_policy",
        trained=trained,
    )
    found = [(name, make_baseline(name, setting)) for name in crossing.baselines]
    if shared is not None:
        method = single_policy.make_finetuning(setting, *shared)
        found.append((method.name, method))
    return found


def cross(
    run: Run,
    make_course: MakeEnv,
    subpolicies: SubPolicies,
    trained: MLSHConfig,
    crossing: Crossing,
    seed: int,
    before: list[FitResult[Any]],
) -> None:
    """Learns the course with fresh masters and with baselines, measures, reports.

    Args:
        run: the run directory.
        make_course: makes the course.
        subpolicies: φ, which stays frozen.
        trained: how the sub-policies were trained.
        crossing: how the course is learned and measured.
        seed: of everything random.
        before: stages of this run that trained the sub-policies, if any.
    """
    course = crossing.course
    env = make_course(None)
    tasks = stages.evaluation_tasks(env, course.num_tasks, seed)
    masters = pipeline.prepare_adaptation(
        run, make_course, course, trained, subpolicies, tasks, crossing.episodes, seed
    )
    shared = None
    if crossing.shared_policy is not None:
        path = Path(crossing.shared_policy)
        shared = checkpoints.restore_kept(run, path, env, stage="shared")
    shares = run.layout.largest_even(tasks.index.shape[0]).num_devices
    beside = beside_masters(make_course, crossing, trained, tasks, shared, shares)
    names = [name for name, _ in beside]
    iterations = crossing.single_policy_iterations or course.iterations
    baselines = [
        pipeline.prepare_on_tasks(run, method, env, iterations, seed) for _, method in beside
    ]
    with Background() as background, ThreadPoolExecutor(1) as aside:
        stages.begin(run, [masters, *baselines], background)
        adapted, measured = pipeline.train_and_measure(run, masters, course)
        figures = aside.submit(pipeline.draw, run, env, measured.value, tasks)
        others = [pipeline.train_and_measure(run, baseline, course) for baseline in baselines]
    results = [(adapted, measured), *others]
    summary = summarize_costs(
        run, seed, [*before, *(fit for fit, _ in results)], [timed for _, timed in results]
    )
    summary |= summarize_assessment(measured.value, env.task_names, np.asarray(tasks.index))
    summary["adapt_env_steps"] = adapted.env_steps
    summary["baselines"] = names
    num_tasks = tasks.index.shape[0]
    summary |= learning_curve(run, masters.method.name, masters.iterations, num_tasks)
    for name, stage, (learned, played) in zip(names, baselines, others, strict=True):
        summary[name] = summarize_baseline(played.value, learned.env_steps)
        summary[name] |= learning_curve(run, stage.method.name, stage.iterations, num_tasks)
    finish(run, summary)
    figures.result()  # raises what went wrong, once the numbers are safe
