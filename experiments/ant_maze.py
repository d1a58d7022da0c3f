"""An ant learns three gaits that serve nine mazes, and finds its way through four it never saw.

Trains three sub-policies on nine mazes and then measures what fresh masters make of them there
and in the unseen ones.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import envs
from experiments import ant_twowalk
from experiments.harness.config import AS_PUBLISHED, EvaluationConfig, Flat, MakeEnv, TrainingConfig
from mlsh_jax.host.launch import Preset, parse, run_main
from mlsh_jax.rl.config import LearnerConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """An ant_maze run.

    Attributes:
        seed: of everything random.
        backend: physics of Brax.
        reward: "velocity" toward the goal as in the released environment, or "pace", the same
            up to 2 units a second, less the speed along the slower axis.
        start: of training episodes, "fixed" as in the released environment or "anywhere" in the
            open cells, of which some start at the goal. The closing measurement always starts
            where the released environment does.
        training: of the sub-policies, on the nine training mazes.
        evaluation: closing measurement, on all thirteen.
    """

    seed: int = 0
    backend: Literal["spring", "generalized"] = "spring"
    reward: Literal["pace", "velocity"] = "pace"
    start: Literal["fixed", "anywhere"] = "anywhere"
    training: Flat[TrainingConfig] = dataclasses.field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


# Ants start anywhere and are stood up every 200 steps, so that episodes of 15 seconds show it all.
_LENGTH = 300
# A master has 288 macro transitions an iteration. With a clip of 0.8 and a discount of 0.97 it
# settles for one gait after the first of them (results/ants.md).
MASTER = LearnerConfig(
    learning_rate=1e-2,
    clip_epsilon=0.3,
    epochs=20,
    discount=0.8,
    entropy_coefficient=0.05,
    activation="swish",
)
TRAINING = dataclasses.replace(
    ant_twowalk.GAITS,
    meta_iterations=16,
    episode_length=_LENGTH,
    mlsh=dataclasses.replace(
        ant_twowalk.GAITS.mlsh,
        num_subpolicies=3,
        # results/ants.md has what the library's defaults come to here.
        **AS_PUBLISHED | {"task_critic": True},
        master_sees_place_only=True,
        master=MASTER,
        num_tasks=9,
        num_envs=48,
        steps_per_iteration=48 * _LENGTH,
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
    ant_twowalk.PAPER_TRAINING,
    mlsh=dataclasses.replace(
        ant_twowalk.PAPER_TRAINING.mlsh,
        num_subpolicies=3,
        reward_scale=0.1,
        master=LearnerConfig(learning_rate=1e-2),
    ),
)

PRESETS = {
    "default": Preset(
        Config(
            training=TRAINING,
            evaluation=EvaluationConfig(num_tasks=13, num_envs=32, iterations=8),
        ),
        "three gaits from scratch on a laptop, then all thirteen mazes",
    ),
    "smoke": Preset(
        Config(
            training=SMOKE_TRAINING,
            evaluation=EvaluationConfig(num_tasks=13, num_envs=2, iterations=1),
        ),
        "one small meta-iteration: everything runs, nothing is learned to the end",
    ),
    "paper": Preset(
        Config(
            reward="velocity",
            start="fixed",
            training=PAPER_TRAINING,
            evaluation=EvaluationConfig(num_tasks=13, num_envs=32, iterations=20),
        ),
        "the paper's N 200, W 20, U 40, D 2000 and 10 tasks drawn at random",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, assesses, reports."""
    launch = parse("ant_maze", PRESETS, argv)
    from experiments.harness import pipeline  # with JAX, for which --help does not wait

    pipeline.train_and_assess(launch, make_env, make_evaluation_env)


def make_env(config: Config) -> MakeEnv:
    """Makes the training mazes with the configured physics and reward."""
    return _mazes(config, "training", config.start)


def make_evaluation_env(config: Config) -> MakeEnv:
    """Makes all mazes, the training mazes first."""
    return _mazes(config, "all", "fixed")


def _mazes(config: Config, layouts: str, start: str) -> MakeEnv:
    return lambda length: envs.make(
        "ant_maze",
        episode_length=length,
        layouts=layouts,
        reward=config.reward,
        start=start,
        backend=config.backend,
    )


if __name__ == "__main__":
    run_main(main)
