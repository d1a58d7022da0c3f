"""Fresh masters on any environment, over frozen sub-policies from a checkpoint.

`python -m experiments.transfer --checkpoint RUN --env NAME`; observations and actions of the
sub-policies must be those of the environment. NAME may be the "module:Class" of one's own.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import envs
from experiments.harness import pipeline, stages
from experiments.harness.config import AdaptationConfig, Flat
from experiments.harness.summary import finish, summarize_costs
from mlsh_jax.config import PPOConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.checkpoint import resolve
from mlsh_jax.host.devices import Layout
from mlsh_jax.host.launch import Preset, parse, run_main, start_run


@dataclasses.dataclass(frozen=True)
class Config:
    """A transfer.

    Attributes:
        checkpoint: where the sub-policies are (required): a run directory, a stage in it, or one
            checkpoint.
        env: name of the environment, or "module:Class" of one of your own (required; without it,
            all that have a name are listed).
        backend: physics of Brax; None for the environment's default.
        seed: of everything random.
        adaptation: of the masters.
        episodes: full episodes per master in the closing measurement.
    """

    checkpoint: str = ""
    env: str = ""
    backend: str | None = None
    seed: int = 0
    adaptation: Flat[AdaptationConfig] = dataclasses.field(default_factory=AdaptationConfig)
    episodes: int = 32


_PAPER_MASTER = PPOConfig(learning_rate=1e-2)

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
    if launch.resume is None:
        check(launch.config, launch.layout)
        # The newest checkpoint of today, so that a resume does not take that of another day.
        checkpoint = str(resolve(Path(launch.config.checkpoint)))
        exact = dataclasses.replace(launch.config, checkpoint=checkpoint)
        launch = dataclasses.replace(launch, config=exact)
    run, config = start_run(launch, launch.config.seed)
    make_env = make_env_of(config)
    subpolicies, trained = stages.restore(Path(config.checkpoint), make_env(None))
    adapted, measured, results = pipeline.adapt_and_evaluate(
        run, make_env, config.adaptation, trained, subpolicies, config.episodes, config.seed
    )
    summary = summarize_costs(run, config.seed, [adapted], [measured]) | results
    finish(run, summary)


def make_env_of(config: Config) -> stages.MakeEnv:
    """Makes environments with the configured name and physics."""
    options = {} if config.backend is None else {"backend": config.backend}
    return lambda length: envs.make(config.env, episode_length=length, **options)


def check(config: Config, layout: Layout) -> None:
    """Refuses what cannot work before a run directory is made.

    Raises:
        ConfigError: the checkpoint or the environment is not given, or sizes do not fit.
        EnvError: the environment is unknown.
        CheckpointError: the checkpoint is missing or does not fit the environment.
    """
    if not config.env:
        raise ConfigError(f"--env: name an environment: {', '.join(envs.names())}")
    if not config.checkpoint:
        raise ConfigError("--checkpoint: name a run directory or a checkpoint in one")
    make_env = make_env_of(config)
    _, trained = stages.restore(Path(config.checkpoint), make_env(None))
    stages.check_adaptation(make_env, config.adaptation, trained, layout)


if __name__ == "__main__":
    run_main(main)
