"""A hidden goal anywhere in a square, the nearer the better: do sub-policies become directions?

Trains sub-policies on drawn goals and then measures what fresh masters make of them for others.
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
            meta_iterations=25,
            mlsh=MLSHConfig(num_subpolicies=4, num_tasks=20),
        ),
        evaluation=EvaluationConfig(num_tasks=24),
    ),
    "the library's defaults with four sub-policies, 20 goals at a time",
    published_for=200,
)


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, assesses, reports."""
    launch = parse("all_walk", PRESETS, argv)
    from experiments.harness import pipeline  # with JAX, for which --help does not wait

    pipeline.train_and_assess(launch, make_env)


def make_env(config: Config) -> MakeEnv:
    """Makes environments; there is nothing to configure."""
    del config
    return lambda length: envs.make("all_walk", episode_length=length)


if __name__ == "__main__":
    run_main(main)
