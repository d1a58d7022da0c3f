"""What experiments in small worlds have in common: a configuration and the presets beside it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import envs
from experiments.harness.config import (
    AS_PUBLISHED,
    EvaluationConfig,
    Flat,
    MakeEnv,
    TrainingConfig,
)
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.launch import Preset, parse
from mlsh_jax.rl.config import LearnerConfig

PUBLISHED = MLSHConfig(
    **AS_PUBLISHED,
    joint_iterations=1,
    stratify_tasks=False,
    master=LearnerConfig(learning_rate=1e-2, normalize_observations=False),
    subpolicy=LearnerConfig(num_minibatches=10, normalize_observations=False),
)
"""The algorithm as published, with W 9 and U 1."""

_SIZES = ("num_subpolicies", "macro_length", "num_tasks", "num_envs", "steps_per_iteration")


@dataclasses.dataclass(frozen=True)
class Config:
    """A run in a small world.

    Attributes:
        seed: of everything random.
        training: of the sub-policies.
        evaluation: closing measurement.
    """

    seed: int = 0
    training: Flat[TrainingConfig] = dataclasses.field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


def presets(
    default: Any, description: str, *, published_for: int, **published: Any
) -> dict[str, Preset]:
    """The presets default, smoke and paper of an experiment.

    Args:
        default: its configuration, with fields as those of `Config`.
        description: of the default.
        published_for: meta-iterations of the algorithm as published, which has K, N, G, E and D of
            the default.
        published: fields of `MLSHConfig` that are otherwise there.
    """
    mlsh, evaluation = default.training.mlsh, default.evaluation
    few = 10
    small = dataclasses.replace(
        mlsh, num_tasks=2, num_envs=few, steps_per_iteration=4 * few * mlsh.macro_length
    )
    as_published = dataclasses.replace(
        PUBLISHED, **{name: getattr(mlsh, name) for name in _SIZES} | published
    )

    def changed(training: TrainingConfig, evaluation: EvaluationConfig) -> Any:
        return dataclasses.replace(default, training=training, evaluation=evaluation)

    return {
        "default": Preset(default, description),
        "smoke": Preset(
            changed(
                dataclasses.replace(default.training, meta_iterations=2, mlsh=small),
                EvaluationConfig(num_tasks=4, num_envs=few, iterations=2),
            ),
            "2 small meta-iterations: everything runs, nothing is learned to the end",
        ),
        "paper": Preset(
            changed(
                dataclasses.replace(
                    default.training, meta_iterations=published_for, mlsh=as_published
                ),
                evaluation,
            ),
            f"the algorithm as published, N {as_published.macro_length}, "
            f"W {as_published.warmup_iterations}, U {as_published.joint_iterations}: may collapse",
        ),
    }


def main_of(
    name: str,
    presets: dict[str, Preset],
    make_env: Callable[[Any], MakeEnv],
    make_evaluation_env: Callable[[Any], MakeEnv] | None = None,
) -> Callable[[Sequence[str] | None], None]:
    """The program of an experiment, from its command line to its summary.

    Args:
        name: of its module.
        presets: its presets.
        make_env: makes the environment that a configuration asks for.
        make_evaluation_env: makes one with the tasks to measure on; the same for None.
    """

    def main(argv: Sequence[str] | None = None) -> None:
        """Trains, assesses, reports."""
        launch = parse(name, presets, argv)
        from experiments.harness import pipeline  # with JAX, for which --help does not wait

        pipeline.train_and_assess(launch, make_env, make_evaluation_env)

    return main


def always(name: str, **options: Any) -> Callable[[Any], MakeEnv]:
    """Makes an environment of this name, whatever the configuration."""
    return lambda config: lambda length: envs.make(name, episode_length=length, **options)
