"""Configuration of the algorithm: frozen dataclasses that validate themselves.

Every number that the paper's Algorithm 1 leaves open is a field here, under the field's
usual name. Nothing in this module touches files or devices.
"""

import dataclasses
from typing import Literal, Self, get_args

from mlsh_jax.rl.config import (
    RULES,
    LearnerConfig,
    require,
    require_at_least,
    require_positive,
    require_truths,
)

Credit = Literal["subpolicy", "hierarchy"]


# A master sees observations as they are. Standardized by the statistics of its own short life, they
# make its choice depend on where it is before it knows what the choice is worth.
MASTER = LearnerConfig(
    learning_rate=1e-2,
    clip_epsilon=0.8,
    epochs=5,
    entropy_coefficient=0.02,
    normalize_observations=False,
)
"""The default of masters; results/separation.md says what led to it."""
# Small steps: what masters choose has to follow from what sub-policies have become.
SUBPOLICY = LearnerConfig(learning_rate=3e-4, epochs=2, num_minibatches=8)
"""The default of sub-policies."""


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
            Sub-policies do without it where `equal_tasks` holds.
        task_critic: whether the value functions that sub-policies learn with see the whole
            observation and the task, although the sub-policies do not. They are used in training
            alone.
        credit: what a slice is worth to its sub-policy beyond its end. "subpolicy": the value that
            its own critic gives to the last observation, as if it went on for ever. "hierarchy":
            what comes of it, Σ_k π_θ(k|o') V_k(o') and λ-returns through the slices that follow,
            with the choices as they are made: in the joint phase with the bias of `balance_usage`.
        equal_tasks: whether every task counts alike in φ's update, whatever it pays: its rewards
            are measured in units of its own returns, and its advantages standardized among its own.
            Steps count alike: a task whose episodes end early in a slice has fewer of them.
            If not, rewards are scaled by `reward_scale` and advantages standardized among those of
            a sub-policy, where a task that pays ten times as much has ten times the say.
        balance_usage: whether the masters' choices are biased in the joint phase so that all
            masters together use every sub-policy equally often, where masters that want the same
            count as one. Each sub-policy is left then to the tasks that it serves better than
            others do, and none to nobody. Masters learn from such choices as from their own: their
            probabilities are those without the bias. The returns and usage that training reports
            are those of biased choices.
        random_starts: share of the episodes of the joint phase that begin with a sub-policy drawn
            at random, whatever the master chooses; as large a share of these goes on with another
            draw in the next slice, and so on. Masters that have made up their minds show a
            sub-policy no state any more in which another one leaves the body, and a task that asks
            for both finds that one cannot take over. Where it is another one than was chosen φ
            learns nothing from the slice, but from what comes after it; masters learn from it as
            from a choice of their own, and the returns and usage that training reports are with it.
            With `restart_within_slices` only episodes that begin with a slice have such a start,
            which goes on beyond a termination into the next one.
        renew_subpolicies: whether, while some task pays nothing, a sub-policy that is used in such
            tasks alone or that acts like another one begins anew, once in a meta-iteration
            (`mlsh_jax.usage.needless_subpolicy`). A task whose steps differ at all in what they
            pay or cost, as by the effort of an action, counts as paid, and so does one in which
            each step costs the same and an episode has terminated. Where a meta-iteration has not
            all tasks only one that acts like another begins anew, as any other may serve one that
            is not there. Only where tasks are finite: of ones that are drawn and never come
            back, nobody can tell which are not served.
        restart_within_slices: whether, while something learns, an episode that terminates is
            followed by the next one in the next step, under the same choice, and not when the slice
            ends. For bodies that fall long before that, with which most of a slice would be spent
            waiting. Masters seldom see then how episodes begin, and learn nothing from what follows
            the first end in a slice; episodes that begin within a slice begin in the same state,
            with the same random events to come.
        deterministic_when_frozen: whether sub-policies that learn no more, under fresh masters and
            in measurements, take the most probable action (the mean, of continuous ones) instead of
            drawing one. The noise with which a body explores makes it fall where it would walk on.
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
    task_critic: bool = True
    credit: Credit = "hierarchy"
    equal_tasks: bool = True
    balance_usage: bool = True
    random_starts: float = 0.0
    renew_subpolicies: bool = True
    restart_within_slices: bool = False
    deterministic_when_frozen: bool = False
    master_sees_place_only: bool = False
    master: LearnerConfig = MASTER
    subpolicy: LearnerConfig = SUBPOLICY

    @property
    def num_slices(self) -> int:
        """S, slices of an environment in one iteration."""
        return self.steps_per_iteration // (self.macro_length * self.num_envs)

    @property
    def env_steps_per_meta_iteration(self) -> int:
        """Environment steps of a whole meta-iteration, all tasks together."""
        iterations = self.warmup_iterations + self.joint_iterations
        return self.num_tasks * self.steps_per_iteration * iterations

    def require_steps_to_the_end(self, meta_iterations: int, *, goes_on: bool = False) -> None:
        """Raises `ConfigError` unless steps of sub-policies fall to 0 when training ends, if ever.

        Args:
            meta_iterations: how long it is.
            goes_on: whether it may be continued, so that they may end later.
        """
        updates, decay_until = meta_iterations * self.joint_iterations, self.subpolicy.decay_until
        require(
            decay_until in (0, updates) or (goes_on and decay_until > updates),
            "subpolicy.decay_until",
            f"steps of sub-policies are 0 after {decay_until} updates, and meta_iterations x "
            f"joint_iterations = {meta_iterations} x {self.joint_iterations} = "
            f"{updates}; use {updates}, or 0 for no decay",
        )

    def ending_after(self, meta_iterations: int) -> Self:
        """The same with steps of sub-policies that fall to 0 there, if they fall."""
        if not self.subpolicy.decay_until:
            return self
        updates = meta_iterations * self.joint_iterations
        return dataclasses.replace(
            self, subpolicy=dataclasses.replace(self.subpolicy, decay_until=updates)
        )

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first impossible field."""
        require_at_least(
            self, 1, "num_subpolicies", "macro_length", "num_tasks", "num_envs",
            "steps_per_iteration", "joint_iterations",
        )  # fmt: skip
        require_at_least(self, 0, "warmup_iterations")
        require_positive(self, "reward_scale")
        require_truths(self)
        require(
            0.0 <= self.random_starts < 1.0,
            "random_starts",
            f"is a share of episodes and must be at least 0 and less than 1, got "
            f"{self.random_starts}",
        )
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
        for level, of_what, rows in (
            ("master", "macro transitions", self.num_slices * self.num_envs),
            ("subpolicy", "transitions of a task", self.steps_per_iteration),
        ):
            num_minibatches = getattr(self, level).num_minibatches
            require(
                num_minibatches <= rows,
                f"{level}.num_minibatches",
                f"{num_minibatches} are more than the {rows} {of_what} of an iteration",
            )
