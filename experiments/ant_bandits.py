"""An ant learns to go to one of two places and to stay there, without being told which.

Trains two sub-policies and then measures what fresh masters make of them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import envs
from experiments import ant_maze, ant_twowalk
from experiments.harness.config import AS_PUBLISHED, EvaluationConfig, Flat, MakeEnv, TrainingConfig
from mlsh_jax.host.launch import Preset, parse, run_main
from mlsh_jax.rl.config import LearnerConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """An ant_bandits run.

    Attributes:
        seed: of everything random.
        backend: physics of Brax.
        reward: "progress" toward the place, or the released environment's "distance" to it.
        training: of the sub-policies.
        evaluation: closing measurement.
    """

    seed: int = 0
    backend: Literal["spring", "generalized"] = "spring"
    reward: Literal["progress", "distance"] = "progress"
    training: Flat[TrainingConfig] = dataclasses.field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


# Masters with a clip of 0.8 and a discount of 0.97 learn in two iterations what to choose and
# unlearn it in the next ones (results/ants.md).
TRAINING = dataclasses.replace(
    ant_twowalk.GAITS,
    meta_iterations=20,
    mlsh=dataclasses.replace(
        ant_twowalk.GAITS.mlsh,
        **AS_PUBLISHED,
        master_sees_place_only=True,
        master=ant_maze.MASTER,
        subpolicy=dataclasses.replace(ant_twowalk.GAITS.mlsh.subpolicy, learning_rate=3e-4),
    ),
)
PAPER_TRAINING = dataclasses.replace(
    ant_twowalk.PAPER_TRAINING,
    mlsh=dataclasses.replace(
        ant_twowalk.PAPER_TRAINING.mlsh,
        macro_length=1000,
        joint_iterations=30,
        reward_scale=100.0,  # a step costs less than 0.001
        master=LearnerConfig(learning_rate=1e-2),
    ),
)

PRESETS = {
    "default": Preset(
        Config(training=TRAINING, evaluation=EvaluationConfig(num_tasks=4, num_envs=16)),
        "two destinations from scratch on a laptop",
    ),
    "smoke": Preset(
        Config(
            training=ant_twowalk.SMOKE_TRAINING,
            evaluation=EvaluationConfig(num_tasks=2, num_envs=4),
        ),
        "one small meta-iteration: everything runs, nothing is learned to the end",
    ),
    "paper": Preset(
        Config(
            reward="distance",
            training=PAPER_TRAINING,
            evaluation=EvaluationConfig(num_tasks=4, num_envs=16),
        ),
        "the released code's reward, N 1000, W 20, U 30, D 2000 and 10 tasks drawn at random",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, assesses, reports."""
    launch = parse("ant_bandits", PRESETS, argv)
    from experiments.harness import pipeline  # with JAX, for which --help does not wait

    pipeline.train_and_assess(launch, make_env)


def make_env(config: Config) -> MakeEnv:
    """Makes environments with the configured physics and reward."""
    return lambda length: envs.make(
        "ant_bandits", episode_length=length, backend=config.backend, reward=config.reward
    )


if __name__ == "__main__":
    run_main(main)
