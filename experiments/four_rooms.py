"""A hidden goal in one of the cells of four rooms: trained on 83 goals, measured on 20 others.

Trains eight sub-policies and then measures what fresh masters make of them. Sub-policies see the
walls around them and masters the cell. Ones that see the cell as well, as published, serve the
goals of training and hardly any other (results/grids.md).
"""

import dataclasses
from typing import Literal

from experiments.harness import small_worlds
from experiments.harness.config import EvaluationConfig, MakeEnv, TrainingConfig
from experiments.harness.small_worlds import always, main_of, presets
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.launch import run_main


@dataclasses.dataclass(frozen=True)
class Config(small_worlds.Config):
    """A four_rooms run.

    Attributes:
        goals: of the closing measurement: "unseen", those of "training", or "all".
        subpolicies_see: "walls" around them, or "cells".
    """

    goals: Literal["unseen", "training", "all"] = "unseen"
    subpolicies_see: Literal["walls", "cells"] = "walls"


PRESETS = presets(
    Config(
        training=TrainingConfig(
            meta_iterations=25,
            mlsh=MLSHConfig(num_subpolicies=8, macro_length=2, num_tasks=20, num_envs=20),
        ),
        # 20 episodes of 100 steps in an iteration.
        evaluation=EvaluationConfig(num_tasks=20, num_envs=20, iterations=20),
    ),
    "the library's defaults with eight sub-policies, N 2",
    published_for=100,
    num_subpolicies=4,
    macro_length=25,
    warmup_iterations=20,
    joint_iterations=30,
)


PRESETS["paper"] = dataclasses.replace(
    PRESETS["paper"],
    config=dataclasses.replace(PRESETS["paper"].config, subpolicies_see="cells"),
)


def make_env(config: Config) -> MakeEnv:
    """Makes the goals to train on."""
    return _make(config, "training")


def make_evaluation_env(config: Config) -> MakeEnv:
    """Makes the goals to measure on."""
    return _make(config, config.goals)


def _make(config: Config, goals: str) -> MakeEnv:
    return always("four_rooms", goals=goals, subpolicies_see=config.subpolicies_see)(config)


main = main_of("four_rooms", PRESETS, make_env, make_evaluation_env)

if __name__ == "__main__":
    run_main(main)
