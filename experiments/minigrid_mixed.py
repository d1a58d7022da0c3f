"""Layouts of an empty room, of a door with its key and of four rooms, a third of each.

Trains sub-policies on drawn layouts and then measures what fresh masters make of them in others.
"""

from collections.abc import Sequence

import envs
from experiments.harness.config import EvaluationConfig, MakeEnv, TrainingConfig
from experiments.harness.small_worlds import Config, presets
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.launch import parse, run_main

PRESETS = presets(
    Config(
        training=TrainingConfig(
            meta_iterations=40,
            mlsh=MLSHConfig(num_subpolicies=4, macro_length=4, num_tasks=12, num_envs=20),
        ),
        evaluation=EvaluationConfig(num_tasks=24, num_envs=8),
    ),
    "layouts drawn anew, the library's defaults with four sub-policies, N 4",
    published_for=200,
)


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, assesses, reports."""
    launch = parse("minigrid_mixed", PRESETS, argv)
    from experiments.harness import pipeline  # with JAX, for which --help does not wait

    pipeline.train_and_assess(launch, make_env)


def make_env(config: Config) -> MakeEnv:
    """Makes environments; there is nothing to configure."""
    del config
    return lambda length: envs.make("minigrid_mixed", episode_length=length)


if __name__ == "__main__":
    run_main(main)
