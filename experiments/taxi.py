"""A taxi is told neither where the passenger is nor where to bring it: four places, hidden tasks.

Trains four sub-policies, of which each is to become the way to one of the places, and then
measures what fresh masters make of them. Later work on hierarchies compares MLSH on these tasks.
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
    """A taxi run.

    Attributes:
        tasks: "igl", 12 tasks, on which it starts anywhere but at the places and, while
            sub-policies are trained, with the passenger on board in half of the episodes; or
            "kuric", 60 tasks that say where it starts as well, of which 12 are kept for the closing
            measurement.
    """

    tasks: Literal["igl", "kuric"] = "igl"


PRESETS = presets(
    Config(
        training=TrainingConfig(
            meta_iterations=60,
            # A choice that is held for N steps goes on for up to N - 1 of them where the passenger
            # has boarded.
            mlsh=MLSHConfig(num_subpolicies=4, macro_length=2, num_tasks=12),
        ),
        evaluation=EvaluationConfig(num_tasks=24, num_envs=40, iterations=20),
    ),
    "the 12 tasks of Igl et al. with the library's defaults, four sub-policies, N 2",
    published_for=300,
)


def make_env(config: Config) -> MakeEnv:
    """Makes the tasks to train on."""
    return always("taxi", tasks=config.tasks, split="training")(config)


def make_evaluation_env(config: Config) -> MakeEnv:
    """Makes the tasks to measure on."""
    return always("taxi", tasks=config.tasks, split="test")(config)


main = main_of("taxi", PRESETS, make_env, make_evaluation_env)

if __name__ == "__main__":
    run_main(main)
