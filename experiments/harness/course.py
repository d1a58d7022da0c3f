"""A walled course on frozen sub-policies: fresh masters learn it, and baselines beside them.

What `ant_obstacle` and `ant_obstacle_big` share.
"""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.harness import checkpoints, methods, pipeline, stages
from experiments.harness.config import Crossing, MakeEnv
from experiments.harness.summary import finish, summarize_baseline, summarize_costs
from mlsh_jax.agent import SubPolicies
from mlsh_jax.baselines.method import make_baseline
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.devices import Layout
from mlsh_jax.host.runs import Run
from mlsh_jax.host.train import FitResult


def exact_path(subpolicies: str | None, experiment: str) -> Path:
    """The one checkpoint that is meant, the bundled one of `experiment` for None.

    A path or a bundled name otherwise, as in `checkpoints.exact_path`.

    Raises:
        CheckpointError: there is none.
    """
    if subpolicies is None:
        return checkpoints.bundled(experiment)
    return checkpoints.exact_path(subpolicies)


def check(make_course: MakeEnv, crossing: Crossing, trained: MLSHConfig, layout: Layout) -> None:
    """Refuses what cannot work before a run directory is made.

    Raises:
        ConfigError: sizes do not fit; naming the option.
    """
    course = crossing.course
    try:
        stages.check_adaptation(make_course, course, trained, layout)
    except ConfigError as error:
        raise ConfigError(f"course.{error}") from None
    tasks = stages.evaluation_tasks(make_course(None), course.num_tasks, seed=0)
    for name in crossing.baselines:
        setting = methods.baseline_setting(
            make_course, course, crossing.single_policy, tasks, crossing.episodes
        )
        make_baseline(name, setting)


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
    course, episodes = crossing.course, crossing.episodes
    adapted, measured, results = pipeline.adapt_and_evaluate(
        run, make_course, course, trained, subpolicies, episodes, seed
    )
    if crossing.single_policy_iterations is not None:
        course = dataclasses.replace(course, iterations=crossing.single_policy_iterations)
    tasks = stages.evaluation_tasks(make_course(None), course.num_tasks, seed)
    learned, played = [], []
    summaries = {}
    for name in crossing.baselines:
        layout = run.layout.largest_even(tasks.index.shape[0])
        setting = methods.baseline_setting(
            make_course, course, crossing.single_policy, tasks, episodes, layout.num_devices
        )
        method = make_baseline(name, setting)
        learned.append(pipeline.train_on_tasks(run, method, course, course.iterations, seed))
        played.append(stages.measure(run, method, learned[-1].state, seed, "episodes"))
        summaries[name] = summarize_baseline(played[-1].value, learned[-1].env_steps)
    summary = summarize_costs(run, seed, [*before, adapted, *learned], [measured, *played])
    summary |= results
    summary["adapt_env_steps"] = adapted.env_steps
    finish(run, summary | {"baselines": list(summaries)} | summaries)
