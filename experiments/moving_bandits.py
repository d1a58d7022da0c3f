"""Two visible points, a hidden one pays: the paper's first test of sub-policy discovery.

Trains two sub-policies and then measures what fresh masters make of them.
"""

from experiments.harness.config import EvaluationConfig, TrainingConfig
from experiments.harness.small_worlds import PUBLISHED, Config, always, main_of
from mlsh_jax.host.launch import Preset, run_main

PRESETS = {
    "default": Preset(
        Config(training=TrainingConfig(meta_iterations=25)),
        "both sub-policies found on every seed of 10, in a minute on one core",
    ),
    "smoke": Preset(
        Config(
            training=TrainingConfig(meta_iterations=5),
            evaluation=EvaluationConfig(num_tasks=2, num_envs=20),
        ),
        "5 meta-iterations: everything runs, nothing is learned to the end",
    ),
    "paper": Preset(
        Config(training=TrainingConfig(meta_iterations=200, mlsh=PUBLISHED)),
        "the paper's W 9, U 1 and independent tasks, a PPO clip of 0.2, six times as long",
    ),
}


make_env = always("moving_bandits")
main = main_of("moving_bandits", PRESETS, make_env)

if __name__ == "__main__":
    run_main(main)
