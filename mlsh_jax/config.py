"""Configuration of the algorithm: frozen dataclasses that validate themselves.

Every number that the paper's Algorithm 1 leaves open is a field here, under the field's
usual name. Nothing in this module touches files or devices.
"""

import dataclasses
from typing import Literal, get_args

from mlsh_jax.rl.config import RULES, LearnerConfig, require, require_at_least, require_positive

Credit = Literal["subpolicy", "hierarchy"]


@dataclasses.dataclass(frozen=True)
class MLSHConfig:
    """Everything Algorithm 1 of the paper (section 4) needs to know.

    Attributes:
        num_subpolicies: K, sub-policies shared by all tasks.
        macro_length: N, environment steps for which a choice of the master holds.
        num_tasks: G, tasks in a meta-iteration, each with a fresh master.
        num_envs: E, parallel environments of each task.
        steps_per_iteration: D, environment steps per task collected in an iteration; a multiple
            of `macro_length × num_envs`.
        warmup_iterations: W, iterations that update only the masters.
        joint_iterations: U, iterations that update masters and sub-policies.
        stratify_tasks: whether a batch holds every task of a finite distribution equally often
            (as nearly as `num_tasks` allows); otherwise tasks are drawn independently.
        reward_scale: factor on rewards inside the learners; reported returns are unscaled.
        task_critic: whether the value functions that sub-policies learn with see the whole
            observation and the task, although the sub-policies do not. They are used in training
            alone.
        credit: what a slice is worth to its sub-policy beyond its end. "subpolicy": the value that
            its own critic gives to the last observation, as if it went on for ever. "hierarchy":
            what comes of it, Σ_k π_θ(k|o') V_k(o') and λ-returns through the slices that follow.
        master_sees_place_only: whether masters see only where in the world they are
            (`place_indices` of the environment) and not the state of the body, in which there is
            much to overfit to and little that their choice depends on.
        master: update rule of θ.
        subpolicy: update rule of φ.
    """

    num_subpolicies: int = 2
    macro_length: int = 10
    num_tasks: int = 10
    num_envs: int = 40
    steps_per_iteration: int = 2000
    warmup_iterations: int = 9
    joint_iterations: int = 5
    stratify_tasks: bool = True
    reward_scale: float = 1.0
    task_critic: bool = False
    credit: Credit = "subpolicy"
    master_sees_place_only: bool = False
    master: LearnerConfig = dataclasses.field(
        default_factory=lambda: LearnerConfig(learning_rate=1e-2, clip_epsilon=0.8)
    )
    subpolicy: LearnerConfig = dataclasses.field(default_factory=LearnerConfig)

    @property
    def num_slices(self) -> int:
        """S, slices of an environment in one iteration."""
        return self.steps_per_iteration // (self.macro_length * self.num_envs)

    @property
    def env_steps_per_meta_iteration(self) -> int:
        """Environment steps of a whole meta-iteration, all tasks together."""
        iterations = self.warmup_iterations + self.joint_iterations
        return self.num_tasks * self.steps_per_iteration * iterations

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first impossible field."""
        require_at_least(
            self, 1, "num_subpolicies", "macro_length", "num_tasks", "num_envs",
            "steps_per_iteration", "joint_iterations",
        )  # fmt: skip
        require_at_least(self, 0, "warmup_iterations")
        require_positive(self, "reward_scale")
        require(
            self.credit in get_args(Credit),
            "credit",
            f"must be {' or '.join(get_args(Credit))}, got {self.credit!r}",
        )
        unit = self.macro_length * self.num_envs
        below = self.steps_per_iteration // unit * unit
        nearest = f"{below} or {below + unit}" if below else f"{unit}"
        require(
            self.steps_per_iteration % unit == 0,
            "steps_per_iteration",
            f"{self.steps_per_iteration} is not divisible by macro_length x num_envs = "
            f"{self.macro_length} x {self.num_envs} = {unit}; use {nearest}",
        )
        usable = [name for name, entry in RULES.items() if entry.for_subpolicies]
        require(
            self.subpolicy.rule in usable,
            "subpolicy.rule",
            f"{self.subpolicy.rule} is for masters alone; use {' or '.join(usable)}",
        )
        macro_batch = self.num_slices * self.num_envs
        require(
            macro_batch % self.master.num_minibatches == 0,
            "master.num_minibatches",
            f"{self.master.num_minibatches} does not divide the {macro_batch} macro transitions "
            "of an iteration (steps_per_iteration / macro_length)",
        )
        require(
            self.steps_per_iteration % self.subpolicy.num_minibatches == 0,
            "subpolicy.num_minibatches",
            f"{self.subpolicy.num_minibatches} does not divide the {self.steps_per_iteration} "
            "transitions of a task in an iteration (steps_per_iteration)",
        )
