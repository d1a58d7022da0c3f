"""A swimmer learns strokes with which fresh masters reach places they are not told.

Trains two sub-policies and then measures what fresh masters make of them. Every task is a place
drawn anew, so sub-policies are of use only if a master can steer with them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import envs
from experiments import ant_maze, ant_twowalk
from experiments.harness.config import EvaluationConfig, Flat, MakeEnv, TrainingConfig
from mlsh_jax.host.launch import Preset, parse, run_main


@dataclasses.dataclass(frozen=True)
class Config:
    """A swimmer_bandits run.

    Attributes:
        seed: of everything random.
        backend: physics of Brax.
        reward: "progress" toward the place, or nearly the released environment's "distance" to it.
        training: of the sub-policies.
        evaluation: closing measurement.
    """

    seed: int = 0
    backend: Literal["mjx", "generalized"] = "mjx"
    reward: Literal["progress", "distance"] = "progress"
    training: Flat[TrainingConfig] = dataclasses.field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


# Only critics that know the goal can tell a stroke toward it from one that leads away, and masters
# have to find out where strokes lead before their choice means anything to the strokes.
_LENGTH = 500
TRAINING = dataclasses.replace(
    ant_twowalk.GAITS,
    meta_iterations=12,
    episode_length=_LENGTH,
    mlsh=dataclasses.replace(
        ant_twowalk.GAITS.mlsh,
        num_tasks=16,
        num_envs=16,
        steps_per_iteration=16 * _LENGTH,
        reward_scale=1.0,
        master_sees_place_only=True,
        master=ant_maze.MASTER,
    ),
)
SMOKE_TRAINING = dataclasses.replace(
    TRAINING,
    meta_iterations=1,
    mlsh=dataclasses.replace(
        TRAINING.mlsh,
        num_tasks=2,
        num_envs=8,
        steps_per_iteration=8 * _LENGTH,
        warmup_iterations=1,
        joint_iterations=2,
    ),
)
PAPER_TRAINING = dataclasses.replace(
    ant_twowalk.PAPER_TRAINING,
    # A step costs less than 0.01.
    mlsh=dataclasses.replace(ant_twowalk.PAPER_TRAINING.mlsh, reward_scale=10.0),
)

PRESETS = {
    "default": Preset(
        Config(training=TRAINING, evaluation=EvaluationConfig(num_tasks=16, num_envs=8)),
        "two strokes from scratch on a laptop",
    ),
    "smoke": Preset(
        Config(training=SMOKE_TRAINING, evaluation=EvaluationConfig(num_tasks=2, num_envs=4)),
        "one small meta-iteration: everything runs, nothing is learned to the end",
    ),
    "paper": Preset(
        Config(
            reward="distance",
            training=PAPER_TRAINING,
            evaluation=EvaluationConfig(num_tasks=16, num_envs=8),
        ),
        "the ants' N 200, W 20, U 40 and D 2000; the paper has no swimmer",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, assesses, reports."""
    launch = parse("swimmer_bandits", PRESETS, argv)
    from experiments.harness import pipeline  # with JAX, for which --help does not wait

    pipeline.train_and_assess(launch, make_env)


def make_env(config: Config) -> MakeEnv:
    """Makes environments with the configured physics and reward."""
    return lambda length: envs.make(
        "swimmer_bandits", episode_length=length, backend=config.backend, reward=config.reward
    )


if __name__ == "__main__":
    run_main(main)
