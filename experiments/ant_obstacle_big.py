"""A course four times as large, crossed by choosing between the gaits that mazes taught.

The authors' released code has this course, the paper does not.
It takes a way down as well as right, so the sub-policies are those of ant_maze: the ones that
come with the code, or others with `--subpolicies PATH_OR_NAME`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import envs
from experiments import ant_obstacle
from experiments.harness.config import Crossing, Flat, MakeEnv
from mlsh_jax.host.launch import Preset, parse, run_main


@dataclasses.dataclass(frozen=True)
class Config:
    """An ant_obstacle_big run.

    Attributes:
        seed: of everything random.
        backend: physics of Brax.
        subpolicies: run, checkpoint or name of bundled sub-policies to take; None for those of
            ant_maze that come with the code.
        crossing: how the course is learned and measured.
    """

    seed: int = 0
    backend: Literal["spring", "generalized"] = "spring"
    subpolicies: str | None = None
    crossing: Flat[Crossing] = dataclasses.field(default_factory=Crossing)


def _crossing(small: Crossing, **course_options: Any) -> Crossing:
    """That of the small course, but for some options of its masters."""
    return dataclasses.replace(small, course=dataclasses.replace(small.course, **course_options))


# A choice holds for 200 steps, 10 seconds or about 28 units: random masters whose choices hold for
# 50 get nowhere near the goal, these do now and then. A slice pays up to 200.
PRESETS = {
    "default": Preset(
        Config(
            crossing=_crossing(
                ant_obstacle.CROSSING,
                macro_length=200,
                num_envs=64,
                iterations=20,
                reward_scale=0.02,
            )
        ),
        "the course on the sub-policies that come with the code",
    ),
    "smoke": Preset(Config(crossing=ant_obstacle.SMOKE_CROSSING), "2 small iterations"),
    "paper": Preset(
        Config(crossing=_crossing(ant_obstacle.PAPER_CROSSING, macro_length=300)),
        "N 300, as often as the released course stands the ant up, and the paper's learning rates",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Learns the course on frozen sub-policies and without them, reports."""
    launch = parse("ant_obstacle_big", PRESETS, argv)
    from experiments.harness import course  # with JAX, for which --help does not wait

    course.cross_on_frozen(launch, make_course_env, "ant_maze")


def make_course_env(config: Config) -> MakeEnv:
    """Makes the course with the configured physics."""
    return lambda length: envs.make(
        "ant_obstacle_big", episode_length=length, backend=config.backend
    )


if __name__ == "__main__":
    run_main(main)
