"""A key opens the two points of moving_bandits, of which a hidden one pays: a chain of two places.

Trains sub-policies and then measures what fresh masters make of them.
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
            meta_iterations=30,
            mlsh=MLSHConfig(num_subpolicies=4),
        ),
        evaluation=EvaluationConfig(),
    ),
    "the library's defaults with four sub-policies",
    published_for=200,
)


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, assesses, reports."""
    launch = parse("key_door", PRESETS, argv)
    from experiments.harness import pipeline  # with JAX, for which --help does not wait

    pipeline.train_and_assess(launch, make_env)


def make_env(config: Config) -> MakeEnv:
    """Makes environments; there is nothing to configure."""
    del config
    return lambda length: envs.make("key_door", episode_length=length)


if __name__ == "__main__":
    run_main(main)
