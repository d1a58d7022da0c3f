"""A key, a locked door and a goal behind it, in layouts that change.

Trains sub-policies on layouts and then measures what fresh masters make of them in layouts drawn
anew, of which there are 48.
"""

from experiments.harness.config import EvaluationConfig, TrainingConfig
from experiments.harness.small_worlds import Config, always, main_of, presets
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.launch import run_main

PRESETS = presets(
    Config(
        training=TrainingConfig(
            meta_iterations=20,
            mlsh=MLSHConfig(num_subpolicies=4, macro_length=5, num_tasks=12, num_envs=20),
        ),
        evaluation=EvaluationConfig(num_tasks=24, num_envs=8),
    ),
    "layouts drawn anew, the library's defaults with four sub-policies, N 5",
    published_for=200,
)

make_env = always("minigrid_door_key_5x5")
main = main_of("minigrid_door_key_5x5", PRESETS, make_env)

if __name__ == "__main__":
    run_main(main)
