"""A sparse obstacle course, crossed by choosing between gaits that were learned elsewhere.

Sub-policies come from ant_twowalk and are frozen: those that come with the code, others with
`--subpolicies PATH_OR_NAME`, or new ones with `--train-subpolicies`. Fresh masters learn the course
over them; a single policy learns it from scratch with as many env steps as the masters had.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import envs
from experiments import ant_twowalk
from experiments.harness.config import (
    AdaptationConfig,
    Crossing,
    Flat,
    MakeEnv,
    TrainingConfig,
)
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.launch import Launch, Preset, parse, run_main, start_run
from mlsh_jax.rl.config import LearnerConfig

if TYPE_CHECKING:
    from mlsh_jax.agent import SubPolicies
    from mlsh_jax.host.devices import Layout
    from mlsh_jax.host.runs import Run
    from mlsh_jax.host.train import FitResult


@dataclasses.dataclass(frozen=True)
class Config:
    """An ant_obstacle run.

    Attributes:
        seed: of everything random.
        backend: physics of Brax.
        subpolicies: run, checkpoint or name (ant_twowalk, ant_maze) to take the sub-policies
            from; None for those that come with the code.
        train_subpolicies: whether to train the sub-policies on ant_twowalk first.
        reward: of ant_twowalk, if the sub-policies are trained here.
        training: of the sub-policies on ant_twowalk, if they are trained here.
        crossing: how the course is learned and measured.
    """

    seed: int = 0
    backend: Literal["spring", "generalized"] = "spring"
    subpolicies: str | None = None
    train_subpolicies: bool = False
    reward: Literal["pace", "velocity", "paper"] = "pace"
    training: TrainingConfig = ant_twowalk.TRAINING
    crossing: Flat[Crossing] = dataclasses.field(default_factory=Crossing)


# An iteration is one episode of 2000 steps. A choice holds for 50 of them; the reward of such a
# slice, up to 50, is scaled to the order of 1.
CROSSING = Crossing(
    course=AdaptationConfig(
        iterations=12,
        num_tasks=2,
        num_envs=16,
        reward_scale=0.1,
        checkpoint_every=1,
        master=LearnerConfig(
            learning_rate=3e-3, epochs=20, entropy_coefficient=0.01, activation="swish"
        ),
    ),
    single_policy=LearnerConfig(
        epochs=4, num_minibatches=16, discount=0.99, entropy_coefficient=0.01, activation="swish"
    ),
    episodes=16,
)
SMOKE_CROSSING = Crossing(
    course=dataclasses.replace(
        CROSSING.course, iterations=2, num_tasks=1, steps_per_iteration=16 * 200
    ),
    single_policy=dataclasses.replace(CROSSING.single_policy, num_minibatches=4),
    episodes=4,
)
PAPER_CROSSING = Crossing(
    course=dataclasses.replace(
        CROSSING.course,
        iterations=200,
        num_tasks=1,
        num_envs=10,
        reward_scale=1.0,
        master=LearnerConfig(learning_rate=1e-2),
    ),
    single_policy=LearnerConfig(num_minibatches=10),
)

PRESETS = {
    "default": Preset(
        Config(crossing=CROSSING),
        "the course on the sub-policies that come with the code, in minutes",
    ),
    "smoke": Preset(
        Config(
            train_subpolicies=True,
            training=ant_twowalk.SMOKE_TRAINING,
            crossing=SMOKE_CROSSING,
        ),
        "every stage on real physics within 3 minutes, nothing is learned to the end",
    ),
    "paper": Preset(
        Config(
            train_subpolicies=True,
            reward="paper",
            training=ant_twowalk.PAPER_TRAINING,
            crossing=PAPER_CROSSING,
        ),
        "the paper's N 200 and learning rates",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Obtains sub-policies, learns the course on them and without them, reports."""
    launch = parse("ant_obstacle", PRESETS, argv)
    if launch.resume is None:
        refuse_unused(launch)
        launch = dataclasses.replace(launch, config=checked(launch.config, launch.layout))
    from experiments.harness import course

    run, config = start_run(launch, launch.config.seed)
    subpolicies, trained, before = obtain_subpolicies(run, config)
    course.cross(
        run, make_course_env(config), subpolicies, trained, config.crossing, config.seed, before
    )


def make_course_env(config: Config) -> MakeEnv:
    """Makes the course with the configured physics."""
    return lambda length: envs.make("ant_obstacle", episode_length=length, backend=config.backend)


def make_twowalk_env(config: Config) -> MakeEnv:
    """Makes the environment of the sub-policies with the configured physics and reward."""
    return ant_twowalk.make_env(ant_twowalk.Config(backend=config.backend, reward=config.reward))


def refuse_unused(launch: Launch[Config]) -> None:
    """Refuses options of a training that there is none of.

    Raises:
        ConfigError: naming them.
    """
    config = launch.config
    if config.train_subpolicies:
        if config.subpolicies is not None:
            raise ConfigError(
                "--subpolicies: cannot be given where they are trained here, as with presets smoke "
                "and paper; add --no-train-subpolicies, or leave it out"
            )
        return
    presets = [PRESETS[name].config for name in {"default", launch.preset} & PRESETS.keys()]
    for option, name in (("--reward", "reward"), ("--training.*", "training")):
        if getattr(config, name) not in [getattr(preset, name) for preset in presets]:
            raise ConfigError(
                f"{option}: is of the training of sub-policies, and there is none; add "
                "--train-subpolicies, or leave it out"
            )


def checked(config: Config, layout: Layout) -> Config:
    """The configuration with the exact checkpoint, refused if it cannot work.

    Raises:
        ConfigError: sizes do not fit.
        CheckpointError: the sub-policies are missing or do not fit an ant.
    """
    from experiments.harness import course, stages
    from experiments.harness.checkpoints import restore_checked

    make_twowalk = make_twowalk_env(config)
    trained = config.training.mlsh
    if config.train_subpolicies:
        stages.check_training(make_twowalk, config.training, layout)
    else:
        path = course.exact_path(config.subpolicies, "ant_twowalk")
        config = dataclasses.replace(config, subpolicies=str(path))
        _, trained = restore_checked(path, make_twowalk(None))
    crossing = course.check(make_course_env(config), config.crossing, trained, layout)
    return dataclasses.replace(config, crossing=crossing)


def obtain_subpolicies(
    run: Run, config: Config
) -> tuple[SubPolicies, MLSHConfig, list[FitResult[Any]]]:
    """Sub-policies, how they were trained, and the stage that trained them if there was one."""
    from experiments.harness import pipeline
    from experiments.harness.checkpoints import restore_kept

    make_twowalk = make_twowalk_env(config)
    if config.train_subpolicies:
        trained, _ = pipeline.train_subpolicies(
            run, make_twowalk, config.training, None, config.seed
        )
        return trained.state.subpolicies, config.training.mlsh, [trained]
    if config.subpolicies is None:
        raise ConfigError(f"{run.directory / 'config.json'}: subpolicies: must not be null")
    print(f"sub-policies: {config.subpolicies} (to train them yourself: --train-subpolicies)")
    return *restore_kept(run, Path(config.subpolicies), make_twowalk(None)), []


if __name__ == "__main__":
    run_main(main)
