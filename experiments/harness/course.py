"""A walled course on frozen sub-policies: fresh masters learn it, and a single policy beside them.

What `ant_obstacle` and `ant_obstacle_big` share.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness import pipeline, stages
from experiments.harness.config import Crossing, MakeEnv
from experiments.harness.summary import finish, mean_return, successes, summarize_costs
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.checkpoint import resolve
from mlsh_jax.host.devices import Layout
from mlsh_jax.host.runs import Run
from mlsh_jax.host.train import FitResult
from mlsh_jax.learners import SubPolicies

BUNDLED = Path(__file__).parents[1] / "bundled"
"""Trained sub-policies that come with the code, one directory per experiment (`bundle`)."""


def exact_path(subpolicies: str | None, experiment: str) -> Path:
    """The one checkpoint that is meant, the bundled one of `experiment` for None.

    It is the newest of today, so that a resume does not take that of another day.

    Raises:
        CheckpointError: there is none.
    """
    return resolve(BUNDLED / experiment if subpolicies is None else Path(subpolicies))


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
    try:
        stages.single_policy_agents(make_course, course, crossing.single_policy)
    except ConfigError as error:
        raise ConfigError(str(error).replace("subpolicy.", "single_policy.", 1)) from None


def cross(
    run: Run,
    make_course: MakeEnv,
    subpolicies: SubPolicies,
    trained: MLSHConfig,
    crossing: Crossing,
    seed: int,
    before: list[FitResult[Any]],
) -> None:
    """Learns the course with fresh masters and with a single policy, measures, reports.

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
    ppo = crossing.single_policy
    if crossing.single_policy_iterations is not None:
        course = dataclasses.replace(course, iterations=crossing.single_policy_iterations)
    single = stages.train_single_policy(run, make_course, course, ppo, seed)
    single_episodes = stages.evaluate_single_policy(
        run, make_course, course, ppo, single.state, episodes, seed
    )
    summary = summarize_costs(run, seed, [*before, adapted, single], [measured, single_episodes])
    summary |= results
    summary["adapt_env_steps"] = adapted.env_steps
    alone = single_episodes.value
    summary["single_policy"] = {
        "adapted_return": float(mean_return(alone).mean()),
        "success_rate": float(successes(alone).mean()),
        "physics_failures": float(np.mean(alone.failed)),
        "env_steps": single.env_steps,
    }
    finish(run, summary)
