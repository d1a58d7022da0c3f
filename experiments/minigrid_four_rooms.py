"""Four rooms with gaps; gaps, goal and start are elsewhere in every layout.

Trains sub-policies on layouts and then measures what fresh masters make of them in layouts drawn
anew; there are so many that hardly one comes twice.
"""

from experiments.harness.config import EvaluationConfig, TrainingConfig
from experiments.harness.small_worlds import Config, always, main_of, presets
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.launch import run_main

PRESETS = presets(
    Config(
        training=TrainingConfig(
            meta_iterations=40,
            mlsh=MLSHConfig(num_subpolicies=4, macro_length=5, num_tasks=12, num_envs=20),
        ),
        evaluation=EvaluationConfig(num_tasks=24, num_envs=20),
    ),
    "layouts drawn anew, the library's defaults with four sub-policies, N 5",
    published_for=200,
)

make_env = always("minigrid_four_rooms")
main = main_of("minigrid_four_rooms", PRESETS, make_env)

if __name__ == "__main__":
    run_main(main)
