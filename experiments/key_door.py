"""A key opens the two points of moving_bandits, of which a hidden one pays: a chain of two places.

Trains sub-policies and then measures what fresh masters make of them.
"""

from experiments.harness.config import EvaluationConfig, TrainingConfig
from experiments.harness.small_worlds import Config, always, main_of, presets
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.launch import run_main

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

make_env = always("key_door")
main = main_of("key_door", PRESETS, make_env)

if __name__ == "__main__":
    run_main(main)
