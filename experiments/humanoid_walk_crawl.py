"""A humanoid learns to walk and to crawl, without being told that these are two things.

Trains two sub-policies and then measures what fresh masters make of them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import envs
from experiments.harness.config import AS_PUBLISHED, EvaluationConfig, Flat, MakeEnv, TrainingConfig
from mlsh_jax.config import MASTER, MLSHConfig
from mlsh_jax.host.launch import Preset, parse, run_main
from mlsh_jax.rl.config import LearnerConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """A humanoid_walk_crawl run.

    Attributes:
        seed: of everything random.
        backend: physics of Brax.
        reward: "paper" is that of the authors' released code, "pace" pays for speed up to a pace.
        training: of the sub-policies.
        evaluation: closing measurement.
    """

    seed: int = 0
    backend: Literal["spring", "generalized"] = "spring"
    reward: Literal["pace", "paper"] = "pace"
    training: Flat[TrainingConfig] = dataclasses.field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


# The entropy bonus and steps of sub-policies are those that Brax publishes for its humanoid. With
# its γ of 0.97 crawling paid less than half as much after twice the env steps, though on a body
# without elbows (results/humanoids.md).
SUBPOLICY = LearnerConfig(
    learning_rate=3e-4,
    epochs=4,
    num_minibatches=32,
    discount=0.99,
    entropy_coefficient=1e-3,
    hidden_sizes=(128, 128),
    activation="swish",
)
# A choice holds for 100 steps, longer than one who cannot walk stays up: what comes of it is its
# own doing, which masters tell from chance within an iteration. An iteration is a whole episode, so
# that φ learns from how it begins and from what comes long after the fall; one of half the length,
# for more beginnings.
_NUM_ENVS, _LENGTH = 32, 500
TRAINING = TrainingConfig(
    meta_iterations=140,
    episode_length=_LENGTH,
    checkpoint_every=2,
    mlsh=MLSHConfig(
        macro_length=100,
        num_tasks=2,
        num_envs=_NUM_ENVS,
        steps_per_iteration=_NUM_ENVS * _LENGTH,
        warmup_iterations=3,
        joint_iterations=9,
        restart_within_slices=True,
        # Drawn actions let a body fall that walks on without their noise (results/humanoids.md).
        deterministic_when_frozen=True,
        # A body that walks is in no state in which crawling ever began (results/humanoids.md).
        random_starts=0.8,
        # What a body is doing tells little about the task, and there is much of it to be misled by.
        master_sees_place_only=True,
        reward_scale=0.01,  # a slice of walking pays 600
        # What a choice does is seen within a few slices; what comes later hides it.
        master=dataclasses.replace(MASTER, discount=0.8),
        subpolicy=SUBPOLICY,
    ),
)
SMOKE_TRAINING = dataclasses.replace(
    TRAINING,
    meta_iterations=1,
    mlsh=dataclasses.replace(
        TRAINING.mlsh,
        num_envs=4,
        steps_per_iteration=4 * _LENGTH,
        warmup_iterations=1,
        joint_iterations=2,
    ),
)
PAPER_TRAINING = dataclasses.replace(
    TRAINING,
    meta_iterations=200,
    episode_length=None,
    mlsh=dataclasses.replace(
        TRAINING.mlsh,
        **AS_PUBLISHED,
        macro_length=200,
        num_tasks=10,
        num_envs=2,
        steps_per_iteration=2000,
        reward_scale=1e-3,
        warmup_iterations=20,
        joint_iterations=40,
        stratify_tasks=False,
        random_starts=0.0,
        restart_within_slices=False,
        deterministic_when_frozen=False,
        master_sees_place_only=False,
        master=LearnerConfig(learning_rate=1e-2),
        subpolicy=LearnerConfig(num_minibatches=10),
    ),
)

PRESETS = {
    "default": Preset(
        Config(
            training=TRAINING,
            evaluation=EvaluationConfig(num_tasks=4, num_envs=16, iterations=12),
        ),
        "54 million env steps, an hour or two on a laptop",
    ),
    "smoke": Preset(
        Config(training=SMOKE_TRAINING, evaluation=EvaluationConfig(num_tasks=2, num_envs=4)),
        "one small meta-iteration: everything runs, nothing is learned",
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
    launch = parse("humanoid_walk_crawl", PRESETS, argv)
    from experiments.harness import pipeline  # with JAX, for which --help does not wait

    pipeline.train_and_assess(launch, make_env)


def make_env(config: Config) -> MakeEnv:
    """Makes environments with the configured physics."""
    return lambda length: envs.make(
        "humanoid_walk_crawl", episode_length=length, backend=config.backend, reward=config.reward
    )


if __name__ == "__main__":
    run_main(main)
