"""A hidden goal anywhere in a square, the nearer the better: do sub-policies become directions?

Trains sub-policies on drawn goals and then measures what fresh masters make of them for others.
"""

from experiments.harness.config import EvaluationConfig, TrainingConfig
from experiments.harness.small_worlds import Config, always, main_of, presets
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.launch import run_main

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

make_env = always("all_walk")
main = main_of("all_walk", PRESETS, make_env)

if __name__ == "__main__":
    run_main(main)
