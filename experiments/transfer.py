"""Fresh masters on any environment, over frozen sub-policies from a checkpoint.

`python -m experiments.transfer --checkpoint RUN --env NAME`; observations and actions of the
sub-policies must be those of the environment. NAME may be the "module:Class" of one's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import envs
from experiments.harness.config import AdaptationConfig, Flat, MakeEnv
from experiments.harness.environments import named_env
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.launch import Preset, parse, run_main, start_run
from mlsh_jax.rl.config import LearnerConfig

if TYPE_CHECKING:
    from mlsh_jax.host.devices import Layout


@dataclasses.dataclass(frozen=True)
class Config:
    """A transfer.

    Attributes:
        checkpoint: where the sub-policies are (required): a run directory, a stage in it, one
            checkpoint, or the name of sub-policies that come with the code
            (such as ant_twowalk or humanoid_walk_crawl).
        env: name of the environment, or "module:Class" of one of your own (required; without it,
            all that have a name are listed).
        env_options: options of its class, such as goals=unseen.
        backend: physics of Brax; None for the environment's default.
        seed: of everything random.
        adaptation: of the masters.
        episodes: full episodes per master in the closing measurement.
    """

    checkpoint: str = ""
    env: str = ""
    env_options: tuple[str, ...] = ()
    backend: str | None = None
    seed: int = 0
    adaptation: Flat[AdaptationConfig] = dataclasses.field(default_factory=AdaptationConfig)
    episodes: int = 32


_PAPER_MASTER = LearnerConfig(learning_rate=1e-2)

PRESETS = {
    "default": Preset(Config(), "10 iterations of one episode per environment"),
    "smoke": Preset(
        Config(adaptation=AdaptationConfig(iterations=2, num_tasks=2, num_envs=8), episodes=4),
        "2 small iterations",
    ),
    "paper": Preset(
        Config(adaptation=AdaptationConfig(iterations=20, master=_PAPER_MASTER)),
        "20 iterations, PPO clip 0.2",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Restores, adapts, reports."""
    launch = parse("transfer", PRESETS, argv)
    # With JAX, for which --help does not wait.
    import numpy as np

    from experiments.harness import pipeline, stages
    from experiments.harness.checkpoints import restore_kept
    from experiments.harness.closing import finish
    from experiments.harness.summary import (
        best_possible,
        learning_curve,
        summarize_assessment,
        summarize_costs,
    )
    from mlsh_jax.host.compilation import Background

    if launch.resume is None:
        launch = dataclasses.replace(launch, config=checked(launch.config, launch.layout))
    run, config = start_run(launch, launch.config.seed)
    make_env = make_env_of(config)
    env = make_env(None)
    subpolicies, trained = restore_kept(run, Path(config.checkpoint), env)
    tasks = stages.tasks_of_masters(env, config.adaptation.num_tasks, config.seed)
    masters = pipeline.prepare_adaptation(
        run,
        make_env,
        config.adaptation,
        trained,
        subpolicies,
        tasks,
        config.episodes,
        config.seed,
    )
    with Background() as background:
        stages.begin(run, [masters], background)
        adapted, measured = pipeline.train_and_measure(run, masters, config.adaptation)
    summary = summarize_costs(run, config.seed, [adapted], [measured])
    summary |= summarize_assessment(measured.value, env.task_names, np.asarray(tasks.index))
    summary |= best_possible(env, tasks)
    iterations, num_tasks = config.adaptation.iterations, tasks.index.shape[0]
    summary |= learning_curve(run, masters.method.name, iterations, num_tasks)
    finish(run, summary)
    pipeline.draw(run, env, measured.value, tasks)


def make_env_of(config: Config) -> MakeEnv:
    """Makes environments with the configured name, options and physics."""
    return named_env(config.env, config.env_options, config.backend)


def checked(config: Config, layout: Layout) -> Config:
    """The configuration with the exact checkpoint and what it says, refused if it cannot work.

    Raises:
        ConfigError: the checkpoint or the environment is not given, or sizes do not fit.
        EnvError: the environment is unknown.
        CheckpointError: the checkpoint is missing or does not fit the environment.
    """
    from experiments.harness import checkpoints, stages

    if not config.env:
        raise ConfigError(f"--env: name an environment: {', '.join(envs.names())}")
    if not config.checkpoint:
        raise ConfigError(
            "--checkpoint: name a run directory, a checkpoint in one, or one of "
            f"{', '.join(checkpoints.bundled_names())}"
        )
    make_env = make_env_of(config)
    path = checkpoints.exact_path(config.checkpoint)
    _, trained = checkpoints.restore_checked(path, make_env(None))
    stages.check_adaptation(make_env, config.adaptation, trained, layout, config.episodes)
    adaptation = config.adaptation.as_trained(trained)
    return dataclasses.replace(config, checkpoint=str(path), adaptation=adaptation)


if __name__ == "__main__":
    run_main(main)
