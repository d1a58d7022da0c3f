"""An ant learns to walk right and to walk up, without being told that these are two things.

Trains two sub-policies and then measures what fresh masters make of them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import envs
from experiments.harness.config import AS_PUBLISHED, EvaluationConfig, Flat, MakeEnv, TrainingConfig
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.launch import Preset, parse, run_main
from mlsh_jax.rl.config import LearnerConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """An ant_twowalk run.

    Attributes:
        seed: of everything random.
        backend: physics of Brax.
        reward: "pace" and "velocity" pay for speed along the task's axis, the first only up to
            2 units a second; "paper" is the paper's, minus the distance to a point ahead.
        training: of the sub-policies.
        evaluation: closing measurement.
    """

    seed: int = 0
    backend: Literal["spring", "generalized"] = "spring"
    reward: Literal["pace", "velocity", "paper"] = "pace"
    training: Flat[TrainingConfig] = dataclasses.field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


_SUBPOLICY = LearnerConfig(
    learning_rate=1e-3,
    epochs=4,
    num_minibatches=16,
    discount=0.99,
    entropy_coefficient=0.003,
    activation="swish",
)
# N = 50 steps are 2.5 seconds, a few lengths of the ant's body. Episodes of 200 steps are too
# short to learn not to tumble over; results/ants.md has what they gave.
GAITS = TrainingConfig(
    episode_length=500,
    checkpoint_every=1,
    mlsh=MLSHConfig(
        macro_length=50,
        num_tasks=4,
        num_envs=64,
        steps_per_iteration=64 * 500,
        warmup_iterations=4,
        joint_iterations=8,
        reward_scale=0.1,
        subpolicy=_SUBPOLICY,
    ),
)
"""What trainings of gaits have in common, here and in other arenas."""
_META_ITERATIONS = 17
TRAINING = dataclasses.replace(
    GAITS,
    meta_iterations=_META_ITERATIONS,
    mlsh=dataclasses.replace(
        GAITS.mlsh,
        subpolicy=dataclasses.replace(
            _SUBPOLICY, decay_until=_META_ITERATIONS * GAITS.mlsh.joint_iterations
        ),
    ),
)
SMOKE_TRAINING = dataclasses.replace(
    GAITS,
    meta_iterations=1,
    mlsh=dataclasses.replace(
        GAITS.mlsh,
        num_tasks=2,
        num_envs=32,
        steps_per_iteration=32 * 200,
        warmup_iterations=1,
        joint_iterations=2,
    ),
)
PAPER_TRAINING = dataclasses.replace(
    GAITS,
    meta_iterations=200,
    episode_length=1000,
    mlsh=dataclasses.replace(
        GAITS.mlsh,
        **AS_PUBLISHED,
        macro_length=200,
        num_tasks=10,
        num_envs=2,
        steps_per_iteration=2000,
        reward_scale=1e-3,  # a step costs 40 at the start
        warmup_iterations=20,
        joint_iterations=40,
        stratify_tasks=False,
        master=LearnerConfig(learning_rate=1e-2, epochs=20),
        subpolicy=dataclasses.replace(_SUBPOLICY, learning_rate=3e-4, activation="tanh"),
    ),
)

PRESETS = {
    "default": Preset(
        Config(training=TRAINING, evaluation=EvaluationConfig(num_tasks=4, num_envs=16)),
        "two gaits from scratch on a laptop",
    ),
    "smoke": Preset(
        Config(training=SMOKE_TRAINING, evaluation=EvaluationConfig(num_tasks=2, num_envs=4)),
        "one small meta-iteration: everything runs, nothing is learned to the end",
    ),
    "paper": Preset(
        Config(
            reward="paper",
            training=PAPER_TRAINING,
            evaluation=EvaluationConfig(num_tasks=4, num_envs=16),
        ),
        "the paper's reward, N 200, W 20, U 40, D 2000 and 10 tasks drawn at random",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, assesses, reports."""
    launch = parse("ant_twowalk", PRESETS, argv)
    from experiments.harness import pipeline  # with JAX, for which --help does not wait

    pipeline.train_and_assess(launch, make_env)


def make_env(config: Config) -> MakeEnv:
    """Makes environments with the configured physics and reward."""
    return lambda length: envs.make(
        "ant_twowalk", episode_length=length, backend=config.backend, reward=config.reward
    )


if __name__ == "__main__":
    run_main(main)
