"""A baseline on any environment: trained on its tasks, then measured in whole episodes.

`python -m experiments.baseline --env NAME --baseline single_policy`; the same environments,
metrics, checkpoints and closing numbers as for MLSH.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

import envs
from experiments.harness.config import AdaptationConfig, MakeEnv, at_least_one
from experiments.harness.environments import named_env
from mlsh_jax.baselines import baseline_address
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.launch import Preset, parse, run_main, start_run
from mlsh_jax.rl.config import LearnerConfig

if TYPE_CHECKING:
    from mlsh_jax.baselines.method import Method
    from mlsh_jax.host.devices import Layout
    from mlsh_jax.tasks import Tasks


@dataclasses.dataclass(frozen=True)
class Config:
    """A baseline.

    Attributes:
        env: name of the environment, or "module:Class" of one of your own (required; without it,
            all that have a name are listed).
        env_options: options of its class, such as goals=unseen.
        baseline: by its name in `mlsh_jax.baselines.BASELINES`, or "module:function".
        backend: physics of Brax; None for the environment's default.
        seed: of everything random.
        iterations: of training.
        num_tasks: tasks that are learned side by side, spread evenly over those of the environment.
        num_envs: parallel environments of each task.
        steps_per_iteration: env steps per task and iteration, a multiple of num_envs; None for one
            episode in each environment.
        num_subpolicies: K of untrained_subpolicies.
        macro_length: N of untrained_subpolicies, or env steps of a slice for a baseline of your own
            with options that hold; None for one step.
        reward_scale: factor on rewards inside the learner.
        deterministic_when_frozen: whether the policy, in the closing measurement, or sub-policies
            that stay untrained, take their most probable action.
        checkpoint_every: iterations between checkpoints.
        learner: how it learns; with untrained_subpolicies, how the masters do, whose defaults
            elsewhere are others (`mlsh_jax.config.MASTER`).
        episodes: whole episodes per task in the closing measurement.
    """

    env: str = ""
    env_options: tuple[str, ...] = ()
    baseline: str = "single_policy"
    backend: str | None = None
    seed: int = 0
    iterations: int = 100
    num_tasks: int = 10
    num_envs: int = 40
    steps_per_iteration: int | None = None
    num_subpolicies: int = 2
    macro_length: int | None = None
    reward_scale: float = 1.0
    deterministic_when_frozen: bool = False
    checkpoint_every: int = 10
    learner: LearnerConfig = dataclasses.field(
        default_factory=lambda: LearnerConfig(epochs=4, num_minibatches=8)
    )
    episodes: int = 32

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first impossible field."""
        at_least_one(
            self, "iterations", "num_tasks", "num_envs", "steps_per_iteration",
            "num_subpolicies", "macro_length", "checkpoint_every", "episodes",
        )  # fmt: skip
        baseline_address(self.baseline)


PRESETS = {
    "default": Preset(Config(), "100 iterations of an episode in each of 400 environments"),
    "smoke": Preset(
        Config(
            iterations=2,
            num_tasks=2,
            num_envs=8,
            learner=LearnerConfig(epochs=1),
            episodes=4,
        ),
        "2 small iterations",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, measures, reports."""
    launch = parse("baseline", PRESETS, argv)
    # With JAX, for which --help does not wait.
    from experiments.harness import pipeline, stages
    from experiments.harness.closing import finish_baseline
    from experiments.harness.summary import (
        best_possible,
        learning_curve,
        returns_by_task,
        summarize_baseline,
        summarize_costs,
    )
    from mlsh_jax.host.compilation import Background

    if launch.resume is None:
        make_method(launch.config, launch.layout)
    run, config = start_run(launch, launch.config.seed)
    method, tasks = make_method(config, run.layout)
    env = make_env_of(config)(None)
    prepared = pipeline.prepare_on_tasks(run, method, env, config.iterations, config.seed)
    with Background() as background:
        stages.begin(run, [prepared], background)
        trained, measured = pipeline.train_and_measure(run, prepared, _batches(config))
    summary = summarize_costs(run, config.seed, [trained], [measured])
    summary |= {
        "env": config.env,
        "env_options": list(config.env_options),
        "baseline": config.baseline,
    }
    summary |= summarize_baseline(measured.value, trained.env_steps)
    names, index = env.task_names, np.asarray(tasks.index)
    summary |= best_possible(env, tasks)
    num_tasks = tasks.index.shape[0]
    summary |= learning_curve(run, method.name, config.iterations, num_tasks)
    summary["task_returns"] = returns_by_task(measured.value, names, index)
    finish_baseline(run, summary)


def make_env_of(config: Config) -> MakeEnv:
    """Makes environments with the configured name, options and physics."""
    return named_env(config.env, config.env_options, config.backend)


def make_method(config: Config, layout: Layout) -> tuple[Method, Tasks]:
    """The baseline and the tasks that it learns; refuses what cannot work.

    Raises:
        ConfigError: the environment is not given, or sizes do not fit.
        EnvError: the environment is unknown.
    """
    from experiments.harness import memory, methods, stages
    from mlsh_jax.baselines.method import make_baseline

    if not config.env:
        raise ConfigError(f"--env: name an environment: {', '.join(envs.names())}")
    env = make_env_of(config)(None)
    memory.require_memory(memory.environments(env, config.num_tasks, config.num_envs))
    tasks = stages.evaluation_tasks(env, config.num_tasks, config.seed)
    num_tasks = tasks.index.shape[0]
    layout.check("num_tasks", num_tasks)
    setting = methods.baseline_setting(
        make_env_of(config),
        _batches(config),
        config.learner,
        tasks,
        config.episodes,
        layout.largest_even(num_tasks).num_devices,
        trained=MLSHConfig(num_subpolicies=config.num_subpolicies),
    )
    method = make_baseline(config.baseline, setting)
    memory.require_baseline(method.init, "learner")
    return method, tasks


def _batches(config: Config) -> AdaptationConfig:
    """The batches, as masters have them that a baseline is compared with."""
    return AdaptationConfig(
        num_tasks=config.num_tasks,
        num_envs=config.num_envs,
        steps_per_iteration=config.steps_per_iteration,
        macro_length=config.macro_length or 1,
        reward_scale=config.reward_scale,
        deterministic_when_frozen=config.deterministic_when_frozen,
        checkpoint_every=config.checkpoint_every,
    )


if __name__ == "__main__":
    run_main(main)
