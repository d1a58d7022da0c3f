"""What an experiment can be told, beyond the numbers of the algorithm.

Everything here is read from the command line by `mlsh_jax.host.launch` and kept in a run's
`config.json`. Nothing here imports JAX, so that `--help` is quick.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import tyro

from mlsh_jax.baselines import baseline_address
from mlsh_jax.config import MASTER, MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.rl.config import LearnerConfig, require_at_least

T = TypeVar("T")
Flat = Annotated[T, tyro.conf.arg(name="")]
"""A nested configuration whose options carry no prefix on the command line."""

AS_PUBLISHED: dict[str, Any] = {
    "task_critic": False,
    "credit": "subpolicy",
    "equal_tasks": False,
    "balance_usage": False,
    "renew_subpolicies": False,
}
"""`MLSHConfig` without what the library adds to the paper's update of φ (results/separation.md).
Other numbers, such as U, G and the master's clip, are those of each preset all the same."""

AS_TRAINED = ("master_sees_place_only", "restart_within_slices", "deterministic_when_frozen")
"""Fields of `AdaptationConfig` whose None stands for what `MLSHConfig` says of the training."""

MOST_SEEDS = 10_000
"""Of a table over seeds; far more than anyone trains, and few enough to be listed."""

MakeEnv = Callable[[int | None], Any]
"""Makes the environment with episodes of the given length, or of its own for None."""


def changing(**changes: Any) -> Callable[[MLSHConfig], MLSHConfig]:
    """A change of the algorithm's configuration; a dict changes the fields of a nested one."""

    def change(config: MLSHConfig) -> MLSHConfig:
        nested = {
            name: dataclasses.replace(getattr(config, name), **value)
            if isinstance(value, dict)
            else value
            for name, value in changes.items()
        }
        return dataclasses.replace(config, **nested)

    return change


def require_known(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raises `ConfigError` with the option's first name that is not known, and those that are."""
    known = list(known)
    for name in names:
        if name not in known:
            listed = ", ".join(repr(each) if "," in each else each for each in known)
            raise ConfigError(f"{option}: unknown name {name!r}; known: {listed}")


def require_counts(seeds: int, meta_iterations: int) -> None:
    """Raises `ConfigError` for options of a table over seeds that cannot be.

    Args:
        seeds: how many.
        meta_iterations: of training, 0 for those of a preset.
    """
    for option, value, lowest, highest in (
        ("--seeds", seeds, 1, MOST_SEEDS),
        ("--meta-iterations", meta_iterations, 0, 2**31 - 1),
    ):
        if value < lowest:
            raise ConfigError(f"{option}: must be at least {lowest}, got {value}")
        if value > highest:
            raise ConfigError(f"{option}: must be at most {highest}, got {value}")


def at_least_one(config: object, *fields: str) -> None:
    """Raises `ConfigError` naming the first of the fields that is neither None nor a count."""
    require_at_least(config, 1, *(f for f in fields if getattr(config, f) is not None))


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How long sub-policies are trained, on what episodes, and how.

    Attributes:
        meta_iterations: meta-iterations of training.
        episode_length: env steps of a training episode, a multiple of macro_length; None for
            the environment's own. Evaluation always plays the environment's own.
        checkpoint_every: meta-iterations between checkpoints.
        keep_checkpoints: newest checkpoints to keep, beside the best.
        mlsh: the algorithm.
    """

    meta_iterations: int = 30
    episode_length: int | None = None
    checkpoint_every: int = 10
    keep_checkpoints: int = 3
    mlsh: Flat[MLSHConfig] = dataclasses.field(default_factory=MLSHConfig)

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first impossible field."""
        at_least_one(
            self, "meta_iterations", "episode_length", "checkpoint_every", "keep_checkpoints"
        )
        self.mlsh.require_steps_to_the_end(self.meta_iterations)


@dataclasses.dataclass(frozen=True)
class AdaptationConfig:
    """How fresh masters learn on top of frozen sub-policies.

    Attributes:
        iterations: iterations of adaptation.
        num_tasks: masters that learn side by side, each on its own task.
        num_envs: parallel environments of each master.
        steps_per_iteration: env steps per master and iteration, a multiple of
            macro_length x num_envs; None for one episode in each environment.
        macro_length: env steps for which a choice holds; None for that of the sub-policies.
        episode_length: env steps of an episode of adaptation; None for the environment's own.
        reward_scale: factor on rewards inside the learners.
        master_sees_place_only: whether masters see only `place_indices` of the environment; None
            for whether those did with which the sub-policies were trained.
        restart_within_slices: whether an episode that terminates is followed by the next one at
            once; None for whether it was in the training of the sub-policies.
        deterministic_when_frozen: whether sub-policies, and a baseline in its closing measurement,
            take their most probable action; None for what the training of the sub-policies says.
        checkpoint_every: iterations between checkpoints.
        keep_checkpoints: newest checkpoints to keep, beside the best.
        master: update rule of the masters.
    """

    iterations: int = 10
    num_tasks: int = 4
    num_envs: int = 40
    steps_per_iteration: int | None = None
    macro_length: int | None = None
    episode_length: int | None = None
    reward_scale: float = 1.0
    master_sees_place_only: bool | None = None
    restart_within_slices: bool | None = None
    deterministic_when_frozen: bool | None = None
    checkpoint_every: int = 10
    keep_checkpoints: int = 3
    master: LearnerConfig = MASTER

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first impossible field."""
        at_least_one(
            self, "iterations", "num_tasks", "num_envs", "steps_per_iteration", "macro_length",
            "episode_length", "checkpoint_every", "keep_checkpoints",
        )  # fmt: skip

    def as_trained(self, trained: MLSHConfig) -> "AdaptationConfig":
        """The same, but what it leaves to the training of sub-policies is written out.

        Args:
            trained: that with which the sub-policies were trained.
        """
        left = [name for name in AS_TRAINED if getattr(self, name) is None]
        return dataclasses.replace(self, **{name: getattr(trained, name) for name in left})

    def applied_to(self, trained: MLSHConfig, episode_length: int) -> MLSHConfig:
        """The algorithm's configuration with which masters learn over sub-policies.

        Args:
            trained: that with which the sub-policies were trained.
            episode_length: env steps of an episode of adaptation.
        """
        own = self.as_trained(trained)
        return dataclasses.replace(
            trained,
            num_tasks=self.num_tasks,
            num_envs=self.num_envs,
            steps_per_iteration=self.steps_per_iteration or self.num_envs * episode_length,
            macro_length=self.macro_length or trained.macro_length,
            reward_scale=self.reward_scale,
            **{name: getattr(own, name) for name in AS_TRAINED},
            master=self.master,
            # Nothing is learned from the step view here.
            subpolicy=dataclasses.replace(trained.subpolicy, num_minibatches=1),
        )


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How the closing numbers are measured.

    Attributes:
        num_tasks: fresh masters, spread evenly over the tasks, at least one each.
        num_envs: episodes per master.
        iterations: of adaptation before the measurement; None for warmup_iterations.
    """

    num_tasks: int = 20
    num_envs: int = 50
    iterations: int | None = None

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first impossible field."""
        at_least_one(self, "num_tasks", "num_envs", "iterations")


@dataclasses.dataclass(frozen=True)
class Crossing:
    """How a course is learned and measured.

    Attributes:
        course: of the masters; the single policy uses the same batches.
        baselines: what masters are compared with, by names in
            `mlsh_jax.baselines.BASELINES` or as "module:function".
        shared_policy: run, checkpoint or name of bundled sub-policies of K = 1, the policy that all
            tasks of a training shared. It is fine-tuned on the course beside the masters; None for
            no such comparison.
        single_policy: how baselines and the shared policy learn.
        single_policy_iterations: how long they learn; None for as long as the masters.
        episodes: full episodes per master, and of a baseline, in the closing measurement.
    """

    course: AdaptationConfig = dataclasses.field(default_factory=AdaptationConfig)
    baselines: tuple[str, ...] = ("single_policy",)
    shared_policy: str | None = None
    single_policy: LearnerConfig = dataclasses.field(default_factory=LearnerConfig)
    single_policy_iterations: int | None = None
    episodes: int = 32

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first impossible field."""
        at_least_one(self, "single_policy_iterations", "episodes")
        for name in self.baselines:
            baseline_address(name)
