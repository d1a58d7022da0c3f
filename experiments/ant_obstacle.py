"""A sparse obstacle course, crossed by choosing between gaits that were learned elsewhere.

Sub-policies come from ant_twowalk (trained here, or restored with `--subpolicies PATH`) and are
frozen; fresh masters learn the course over them; a single policy learns it from scratch with as
many env steps as the masters had.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import envs
from experiments import ant_twowalk, pipeline, report, stages
from experiments.config import AdaptationConfig, TrainingConfig
from experiments.launch import Preset, parse, run_main, start_run
from mlsh_jax.checkpoint import resolve
from mlsh_jax.config import MLSHConfig, PPOConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.learners import SubPolicies
from mlsh_jax.runs import Run
from mlsh_jax.train import FitResult


@dataclasses.dataclass(frozen=True)
class Config:
    """An ant_obstacle run.

    Attributes:
        seed: of everything random.
        backend: physics of Brax.
        reward: of ant_twowalk, if the sub-policies are trained here.
        subpolicies: run or checkpoint to take the sub-policies from; None to train them.
        training: of the sub-policies on ant_twowalk, if they are trained here.
        course: of the masters; the single policy uses the same batches.
        single_policy: update rule of the policy without hierarchy.
        episodes: full episodes per master, and of the single policy, in the closing measurement.
    """

    seed: int = 0
    backend: Literal["spring", "generalized"] = "spring"
    reward: Literal["velocity", "distance"] = "velocity"
    subpolicies: str | None = None
    training: TrainingConfig = ant_twowalk.TRAINING
    course: AdaptationConfig = dataclasses.field(default_factory=AdaptationConfig)
    single_policy: PPOConfig = dataclasses.field(default_factory=PPOConfig)
    episodes: int = 32


# An iteration is one episode of 2000 steps. A choice holds for 50 of them; the reward of such a
# slice, up to 50, is scaled to the order of 1.
_COURSE = AdaptationConfig(
    iterations=20,
    num_tasks=2,
    num_envs=32,
    reward_scale=0.1,
    checkpoint_every=1,
    master=PPOConfig(learning_rate=3e-3, epochs=20, entropy_coefficient=0.01, activation="swish"),
)
_SINGLE_POLICY = PPOConfig(
    epochs=4, num_minibatches=16, discount=0.99, entropy_coefficient=0.01, activation="swish"
)

PRESETS = {
    "default": Preset(
        Config(
            course=_COURSE,
            single_policy=_SINGLE_POLICY,
        ),
        "from nothing to the crossed course",
    ),
    "smoke": Preset(
        Config(
            training=ant_twowalk.SMOKE_TRAINING,
            course=dataclasses.replace(
                _COURSE, iterations=2, num_tasks=1, num_envs=16, steps_per_iteration=16 * 200
            ),
            single_policy=dataclasses.replace(_SINGLE_POLICY, num_minibatches=4),
            episodes=4,
        ),
        "every stage on real physics within 3 minutes, nothing is learned to the end",
    ),
    "paper": Preset(
        Config(
            reward="distance",
            training=ant_twowalk.PAPER_TRAINING,
            course=dataclasses.replace(
                _COURSE,
                iterations=200,
                num_tasks=1,
                num_envs=10,
                reward_scale=1.0,
                master=PPOConfig(learning_rate=1e-2),
            ),
            single_policy=PPOConfig(num_minibatches=10),
        ),
        "the paper's N 200 and learning rates",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Obtains sub-policies, learns the course on them and without them, reports."""
    launch = parse("ant_obstacle", PRESETS, argv)
    if launch.resume is None:
        launch = dataclasses.replace(launch, config=checked(launch.config))
    run, config = start_run(launch, launch.config.seed)
    make_course = make_course_env(config)
    subpolicies, trained, training = obtain_subpolicies(run, config)
    adapted, measured, results = pipeline.adapt_and_evaluate(
        run, make_course, config.course, trained, subpolicies, config.episodes, config.seed
    )
    single = stages.train_single_policy(
        run, make_course, config.course, config.single_policy, config.seed
    )
    single_episodes = stages.evaluate_single_policy(
        make_course, config.course, config.single_policy, single.state, config.episodes,
        config.seed,
    )  # fmt: skip
    summary = report.summarize_costs(
        run, config.seed, [*training, adapted, single], [measured, single_episodes]
    )
    summary |= results
    summary["adapt_env_steps"] = adapted.env_steps
    summary["single_policy"] = {
        "adapted_return": float(single_episodes.value.returns.mean()),
        "env_steps": single.env_steps,
        **report.summarize_env_metrics(single_episodes.value),
    }
    report.finish(run, summary)


def make_course_env(config: Config) -> stages.MakeEnv:
    """Makes the course with the configured physics."""
    return lambda length: envs.make("ant_obstacle", episode_length=length, backend=config.backend)


def make_twowalk_env(config: Config) -> stages.MakeEnv:
    """Makes the environment of the sub-policies with the configured physics and reward."""
    return ant_twowalk.make_env(ant_twowalk.Config(backend=config.backend, reward=config.reward))


def checked(config: Config) -> Config:
    """The configuration with the exact checkpoint, refused if it cannot work.

    Raises:
        ConfigError: sizes do not fit.
        CheckpointError: the sub-policies are missing or do not fit an ant.
    """
    trained = config.training.mlsh
    make_twowalk = make_twowalk_env(config)
    if config.subpolicies is None:
        stages.check_episodes(make_twowalk, config.training.episode_length, trained)
    else:
        # The newest checkpoint of today, so that a resume does not take that of another day.
        path = resolve(Path(config.subpolicies))
        config = dataclasses.replace(config, subpolicies=str(path))
        _, trained = stages.restore(path, make_twowalk(None))
    course, make_course = config.course, make_course_env(config)
    try:
        mlsh_config = stages.adaptation_config(make_course, course, trained)
        stages.check_episodes(make_course, course.episode_length, mlsh_config)
    except ConfigError as error:
        raise ConfigError(f"course.{error}") from None
    try:
        stages.single_policy_agents(make_course, course, config.single_policy)
    except ConfigError as error:
        raise ConfigError(str(error).replace("subpolicy.", "single_policy.", 1)) from None
    return config


def obtain_subpolicies(
    run: Run, config: Config
) -> tuple[SubPolicies, MLSHConfig, list[FitResult[Any]]]:
    """Sub-policies, how they were trained, and the stage that trained them if there was one."""
    make_twowalk = make_twowalk_env(config)
    if config.subpolicies is not None:
        return *stages.restore(Path(config.subpolicies), make_twowalk(None)), []
    trained = stages.train_subpolicies(run, make_twowalk, config.training, config.seed)
    return trained.state.subpolicies, config.training.mlsh, [trained]


if __name__ == "__main__":
    run_main(main)
