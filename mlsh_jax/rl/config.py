"""How one level of the hierarchy learns: the table of update rules and their options.

A configuration names its rule, since a name cannot be misread (a union of dataclasses is read back
as its first member that fits). `RULES` says where each rule is and which options it has; nothing
here imports JAX, so that a command line is read without waiting for it.
"""

import dataclasses
import math
import numbers
from typing import Any, Literal, Self

from mlsh_jax.errors import ConfigError

Activation = Literal["tanh", "swish"]


def require(condition: bool, field: str, message: str) -> None:
    """Raises `ConfigError` that names `field` unless the condition holds."""
    if not condition:
        raise ConfigError(f"{field}: {message}")


def require_positive(config: object, *fields: str) -> None:
    """Raises `ConfigError` naming the first of the fields that is not positive and finite."""
    for field in fields:
        value = getattr(config, field)
        require(0 < value < math.inf, field, f"must be positive and finite, got {value}")


def require_at_least(config: object, minimum: int, *fields: str) -> None:
    """Raises `ConfigError` naming the first field that is no count from `minimum` to 32 bits."""
    for field in fields:
        value = getattr(config, field)
        is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        require(is_whole, field, f"must be a whole number, got {value!r}")
        require(value >= minimum, field, f"must be at least {minimum}, got {value}")
        require(value < 2**31, field, f"must be at most {2**31 - 1}, got {value}")


def require_truths(config: Any) -> None:
    """Raises `ConfigError` naming the first field that should be a bool and is none."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        is_right = field.type is not bool or isinstance(value, bool)
        require(is_right, field.name, f"must be True or False, got {value!r}")


def _require_fractions(config: object, *fields: str) -> None:
    for field in fields:
        value = getattr(config, field)
        require(0.0 <= value <= 1.0, field, f"must be between 0 and 1, got {value}")


@dataclasses.dataclass(frozen=True)
class RuleEntry:
    """A line of the table of update rules.

    Attributes:
        implementation: where its `mlsh_jax.rl.rules.Rule` is, `"module:NAME"`.
        options: fields of `LearnerConfig` that it has beside those that all rules have.
        for_subpolicies: whether sub-policies can learn by it, and not masters alone.
    """

    implementation: str
    options: tuple[str, ...]
    for_subpolicies: bool = False


_ADVANTAGES = ("gae_lambda", "entropy_coefficient")

RULES: dict[str, RuleEntry] = {
    "ppo": RuleEntry(
        "mlsh_jax.rl.ppo:PPO",
        ("clip_epsilon", "epochs", "num_minibatches", "decay_until", *_ADVANTAGES),
        for_subpolicies=True,
    ),
    "a2c": RuleEntry(
        "mlsh_jax.rl.a2c:A2C",
        ("num_minibatches", "decay_until", *_ADVANTAGES),
        for_subpolicies=True,
    ),
    "trpo": RuleEntry("mlsh_jax.rl.trpo:TRPO", ("kl_limit", "epochs", *_ADVANTAGES)),
    "dqn": RuleEntry(
        "mlsh_jax.rl.dqn:DQN",
        (
            "replay_size",
            "replay_batch",
            "gradient_steps",
            "target_period",
            "final_exploration",
            "exploration_iterations",
        ),
    ),
}
"""Update rules by name. A new one is a file with its `Rule` and a line here."""


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """The update rule of one level of the hierarchy and its numbers.

    Attributes:
        rule: "ppo" (Schulman et al. 2017) or "a2c" (Mnih et al. 2016); for masters also "trpo"
            (Schulman et al. 2015) or "dqn" (Mnih et al. 2015, van Hasselt et al. 2016).
        learning_rate: Adam's step size; with trpo that of the value function.
        decay_until: updates after which the step size has fallen to 0, linearly over the last fifth
            of them; 0 for one that stays as it is (ppo, a2c). An update is what is learned from an
            iteration. Those of which a sub-policy has no data do not count for it, and one that
            begins anew counts anew.
        clip_epsilon: half-width of the interval that the probability ratio is clipped to (ppo).
        epochs: passes over the batch of one iteration (ppo; with trpo those of the value
            function). a2c makes one.
        num_minibatches: gradient steps per pass (ppo, a2c).
        discount: γ, per transition of this level (a macro transition for the master).
        gae_lambda: λ of generalized advantage estimation (ppo, a2c, trpo).
        entropy_coefficient: weight of the entropy bonus (ppo, a2c, trpo).
        kl_limit: how far a step may lead from the policy before it, in nats (trpo).
        replay_size: transitions that are kept of a life, the newest (dqn).
        replay_batch: transitions in a gradient step (dqn).
        gradient_steps: per iteration (dqn).
        target_period: gradient steps between copies to the target network (dqn).
        final_exploration: share of random choices in the end (dqn).
        exploration_iterations: iterations in which the share of random choices goes from 1 to
            that in the end (dqn).
        normalize_observations: whether the networks see observations standardized by running
            statistics.
        hidden_sizes: widths of the hidden layers of the policy and of the value network.
        activation: nonlinearity between layers.
    """

    rule: str = "ppo"
    learning_rate: float = 3e-4
    decay_until: int = 0
    clip_epsilon: float = 0.2
    epochs: int = 10
    num_minibatches: int = 1
    discount: float = 0.99
    gae_lambda: float = 0.95
    entropy_coefficient: float = 0.0
    kl_limit: float = 0.01
    replay_size: int = 5000
    replay_batch: int = 128
    gradient_steps: int = 50
    target_period: int = 25
    final_exploration: float = 0.05
    exploration_iterations: int = 5
    normalize_observations: bool = True
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"

    def __post_init__(self) -> None:
        """Raises `ConfigError` naming the first impossible field."""
        require(self.rule in RULES, "rule", f"must be one of {', '.join(RULES)}, got {self.rule!r}")
        foreign = self.options_of_other_rules()
        for field in (field for field in dataclasses.fields(self) if field.name in foreign):
            having = [rule for rule, entry in RULES.items() if field.name in entry.options]
            require(
                getattr(self, field.name) == field.default,
                field.name,
                f"the rule {self.rule} has no such option (that of {' and '.join(having)})",
            )
        require_positive(self, "learning_rate", "clip_epsilon", "kl_limit")
        require_at_least(
            self, 1, "epochs", "num_minibatches", "replay_size", "replay_batch", "gradient_steps",
            "target_period", "exploration_iterations",
        )  # fmt: skip
        require_at_least(self, 0, "decay_until")
        require_truths(self)
        require(
            0 <= self.entropy_coefficient < math.inf,
            "entropy_coefficient",
            f"must be finite and at least 0, got {self.entropy_coefficient}",
        )
        _require_fractions(self, "discount", "gae_lambda", "final_exploration")
        require(
            isinstance(self.hidden_sizes, tuple),
            "hidden_sizes",
            f"must be a tuple, got {self.hidden_sizes!r}",
        )
        require(
            all(1 <= size < 2**31 for size in self.hidden_sizes),
            "hidden_sizes",
            f"every layer needs from 1 to {2**31 - 1} units, got {self.hidden_sizes}",
        )
        require(
            self.activation in ("tanh", "swish"),
            "activation",
            f"must be tanh or swish, got {self.activation!r}",
        )

    @property
    def num_passes(self) -> int:
        """Passes over the batch of an iteration: `epochs`, or 1 where the rule has none."""
        return self.epochs if "epochs" in RULES[self.rule].options else 1

    def with_rule(self, rule: str) -> Self:
        """This configuration with another rule; options that it does not have are left out.

        Raises:
            ConfigError: there is no such rule.
        """
        require(rule in RULES, "rule", f"must be one of {', '.join(RULES)}, got {rule!r}")
        foreign = type(self)(rule=rule).options_of_other_rules()
        kept = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in foreign
        }
        return type(self)(**kept | {"rule": rule})

    def options_of_other_rules(self) -> frozenset[str]:
        """Names of the fields that this rule has no use for."""
        options = {option for entry in RULES.values() for option in entry.options}
        return frozenset(options - set(RULES[self.rule].options))
