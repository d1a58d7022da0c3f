"""Configurations refuse impossible values and name the field."""

import dataclasses
import importlib
import math

import pytest

from experiments.harness.config import TrainingConfig
from experiments.table import TABLE
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.serialization import from_json
from mlsh_jax.rl.config import LearnerConfig

IMPOSSIBLE_PPO = [
    ("learning_rate", 0.0),
    ("learning_rate", -1e-3),
    ("learning_rate", math.nan),
    ("learning_rate", math.inf),
    ("clip_epsilon", 0.0),
    ("clip_epsilon", -0.2),
    ("clip_epsilon", math.nan),
    ("epochs", 0),
    ("num_minibatches", 0),
    ("num_minibatches", -1),
    ("discount", -0.1),
    ("discount", 1.1),
    ("discount", math.nan),
    ("decay_until", -1),
    ("gae_lambda", -0.1),
    ("gae_lambda", 1.1),
    ("entropy_coefficient", -0.01),
    ("entropy_coefficient", math.nan),
    ("entropy_coefficient", math.inf),
    ("hidden_sizes", (64, 0)),
    ("hidden_sizes", (-1,)),
    ("hidden_sizes", (10**23, 3)),
    ("epochs", 2**31),
    ("activation", "relu6"),
    ("epochs", 2.0),
    ("normalize_observations", "no"),
]

IMPOSSIBLE_MLSH = [
    ("num_subpolicies", 0),
    ("macro_length", 0),
    ("num_tasks", 0),
    ("num_envs", 0),
    ("steps_per_iteration", 0),
    ("steps_per_iteration", -400),
    ("steps_per_iteration", 1999),
    ("warmup_iterations", -1),
    ("warmup_iterations", 3 * 10**9),
    ("num_envs", 2**31),
    ("joint_iterations", 10**23),
    ("joint_iterations", 0),
    ("random_starts", -0.1),
    ("random_starts", 1.0),
    ("random_starts", math.nan),
    ("reward_scale", 0.0),
    ("reward_scale", -1.0),
    ("reward_scale", math.nan),
    ("reward_scale", math.inf),
    ("num_tasks", 2.0),
    ("joint_iterations", True),
    ("equal_tasks", "no"),
    ("balance_usage", 0),
]


@pytest.mark.parametrize(("field", "value"), IMPOSSIBLE_PPO)
def test_impossible_ppo_value_is_refused_by_name(field, value):
    with pytest.raises(ConfigError) as error:
        LearnerConfig(**{field: value})
    assert str(error.value).startswith(f"{field}:")


@pytest.mark.parametrize(("field", "value"), IMPOSSIBLE_MLSH)
def test_impossible_mlsh_value_is_refused_by_name(field, value):
    with pytest.raises(ConfigError) as error:
        MLSHConfig(**{field: value})
    assert str(error.value).startswith(f"{field}:")


@pytest.mark.parametrize(
    ("steps", "suggestion"), [(2100, "use 2000 or 2400"), (399, "use 400"), (401, "use 400 or 800")]
)
def test_indivisible_steps_name_the_nearest_possible_values(steps, suggestion):
    with pytest.raises(ConfigError) as error:
        MLSHConfig(macro_length=10, num_envs=40, steps_per_iteration=steps)
    assert str(error.value).startswith("steps_per_iteration:")
    assert str(error.value).endswith(suggestion)
    assert "\n" not in str(error.value)


def test_suggested_steps_are_accepted():
    for steps in (400, 2000, 2400):
        MLSHConfig(macro_length=10, num_envs=40, steps_per_iteration=steps)


def test_there_are_no_more_minibatches_than_rows_at_a_level():
    # 200 macro transitions for each master, 2000 steps of each task for the sub-policies.
    MLSHConfig(
        master=LearnerConfig(num_minibatches=200), subpolicy=LearnerConfig(num_minibatches=2000)
    )
    with pytest.raises(ConfigError) as error:
        MLSHConfig(master=LearnerConfig(num_minibatches=201))
    assert str(error.value).startswith("master.num_minibatches:")
    with pytest.raises(ConfigError) as error:
        MLSHConfig(subpolicy=LearnerConfig(num_minibatches=2001))
    assert str(error.value).startswith("subpolicy.num_minibatches:")


def test_extreme_but_meaningful_values_are_accepted():
    LearnerConfig(discount=0.0, gae_lambda=1.0, hidden_sizes=(), entropy_coefficient=0.0)
    LearnerConfig(discount=1.0, gae_lambda=0.0)
    MLSHConfig(num_subpolicies=1, warmup_iterations=0)
    one = LearnerConfig(num_minibatches=1)
    MLSHConfig(macro_length=1, num_envs=1, steps_per_iteration=1, num_tasks=1, subpolicy=one)


def test_derived_sizes_follow_from_the_fields():
    config = MLSHConfig(
        num_tasks=3, num_envs=4, macro_length=5, steps_per_iteration=120,
        warmup_iterations=2, joint_iterations=1,
    )  # fmt: skip
    assert config.num_slices == 6
    assert config.env_steps_per_meta_iteration == 3 * 120 * 3


def test_configurations_are_frozen_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MLSHConfig().num_tasks = 3
    assert hash(MLSHConfig()) == hash(MLSHConfig())


def test_options_of_another_rule_are_refused_with_both_named():
    with pytest.raises(ConfigError, match=r"^clip_epsilon: the rule dqn has no such option.*ppo"):
        LearnerConfig(rule="dqn", clip_epsilon=0.3)
    with pytest.raises(ConfigError, match=r"^kl_limit: the rule ppo has no such option.*trpo"):
        LearnerConfig(kl_limit=0.1)


def test_unknown_rules_and_rules_for_masters_alone_are_refused():
    with pytest.raises(ConfigError, match=r"^rule: must be one of ppo, a2c, trpo, dqn"):
        LearnerConfig(rule="sarsa")
    MLSHConfig(master=LearnerConfig(rule="dqn"), subpolicy=LearnerConfig(rule="a2c"))
    with pytest.raises(ConfigError, match=r"^subpolicy.rule: trpo .* ppo or a2c$"):
        MLSHConfig(subpolicy=LearnerConfig(rule="trpo"))


def test_changing_the_rule_keeps_the_options_that_both_have():
    ppo = LearnerConfig(learning_rate=0.1, clip_epsilon=0.8, epochs=3, discount=0.5)
    trpo = ppo.with_rule("trpo")
    assert (trpo.rule, trpo.learning_rate, trpo.epochs, trpo.discount) == ("trpo", 0.1, 3, 0.5)
    assert trpo.clip_epsilon == LearnerConfig().clip_epsilon
    a2c = ppo.with_rule("a2c")
    assert (a2c.num_passes, ppo.num_passes) == (1, 3)
    assert ppo.with_rule("ppo") == ppo


def test_what_was_written_before_rules_had_names_is_ppo():
    old = {"learning_rate": 0.01, "clip_epsilon": 0.8, "epochs": 10, "num_minibatches": 1}
    config = from_json(LearnerConfig, old)
    assert (config.rule, config.clip_epsilon) == ("ppo", 0.8)


@pytest.mark.parametrize("name", [name for name, entry in TABLE.items() if entry.kind != "tool"])
def test_no_preset_has_steps_that_end_too_soon_or_too_late(name):
    """A preset that is made from another one takes over more than it should, if nobody looks."""
    for preset in importlib.import_module(f"experiments.{name}").PRESETS.values():
        training = getattr(preset.config, "training", TrainingConfig())
        updates = training.meta_iterations * training.mlsh.joint_iterations
        assert training.mlsh.subpolicy.decay_until in (0, updates)
