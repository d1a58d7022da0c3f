"""A course four times as large, crossed by choosing between the gaits that mazes taught.

It takes a way down as well as right, so the sub-policies are those of ant_maze: the ones that
come with the code, or others with `--subpolicies PATH`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import envs
from experiments import ant_obstacle, course, stages
from experiments.config import AdaptationConfig
from experiments.launch import Preset, parse, run_main, start_run
from mlsh_jax.config import PPOConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """An ant_obstacle_big run.

    Attributes:
        seed: of everything random.
        backend: physics of Brax.
        subpolicies: run or checkpoint to take the sub-policies from; None for those that come
            with the code.
        course: of the masters; the single policy uses the same batches.
        single_policy: update rule of the policy without hierarchy.
        single_policy_iterations: how long it learns; None for as long as the masters.
        episodes: full episodes per master, and of the single policy, in the closing measurement.
    """

    seed: int = 0
    backend: Literal["spring", "generalized"] = "spring"
    subpolicies: str | None = None
    course: AdaptationConfig = dataclasses.field(default_factory=AdaptationConfig)
    single_policy: PPOConfig = dataclasses.field(default_factory=PPOConfig)
    single_policy_iterations: int | None = None
    episodes: int = 32


_SMALL = ant_obstacle.PRESETS

PRESETS = {
    "default": Preset(
        Config(
            course=dataclasses.replace(_SMALL["default"].config.course, iterations=40),
            single_policy=_SMALL["default"].config.single_policy,
        ),
        "the course on the sub-policies that come with the code",
    ),
    "smoke": Preset(
        Config(
            course=_SMALL["smoke"].config.course,
            single_policy=_SMALL["smoke"].config.single_policy,
            episodes=4,
        ),
        "2 small iterations",
    ),
    "paper": Preset(
        Config(
            course=dataclasses.replace(_SMALL["paper"].config.course, macro_length=300),
            single_policy=_SMALL["paper"].config.single_policy,
        ),
        "the paper's N 300 and learning rates",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Learns the course on frozen sub-policies and without them, reports."""
    launch = parse("ant_obstacle_big", PRESETS, argv)
    if launch.resume is None:
        launch = dataclasses.replace(launch, config=checked(launch.config))
    run, config = start_run(launch, launch.config.seed)
    make_course = make_course_env(config)
    subpolicies, trained = stages.restore(Path(str(config.subpolicies)), make_course(None))
    course.cross(run, make_course, subpolicies, trained, crossing(config), config.seed, [])


def make_course_env(config: Config) -> stages.MakeEnv:
    """Makes the course with the configured physics."""
    return lambda length: envs.make(
        "ant_obstacle_big", episode_length=length, backend=config.backend
    )


def crossing(config: Config) -> course.Crossing:
    """How the course is learned and measured."""
    return course.Crossing(
        config.course, config.single_policy, config.single_policy_iterations, config.episodes
    )


def checked(config: Config) -> Config:
    """The configuration with the exact checkpoint, refused if it cannot work.

    Raises:
        ConfigError: sizes do not fit.
        CheckpointError: the sub-policies are missing or do not fit an ant.
    """
    path = course.exact_path(config.subpolicies, "ant_maze")
    make_course = make_course_env(config)
    _, trained = stages.restore(path, make_course(None))
    course.check(make_course, crossing(config), trained)
    return dataclasses.replace(config, subpolicies=str(path))


if __name__ == "__main__":
    run_main(main)
