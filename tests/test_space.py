"""Spaces of hyperparameters."""

import json

import pytest

from experiments.sweeps.space import SPACES, make_space, read_space, require_grid, structure
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.rl.config import LearnerConfig


@pytest.mark.parametrize("name", SPACES)
def test_named_spaces_are_possible(name):
    assert set(make_space(read_space(name), MLSHConfig()).ranges) == set(SPACES[name])


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"master.learning_rat": {"low": 1, "high": 2}}, "master.learning_rat: unknown field"),
        ({"master": {"values": [1]}}, "master: is not a single value"),
        ({"macro_length.x": {"values": [1]}}, "macro_length.x: macro_length has no fields"),
        ({"master.discount": {"low": 0.5}}, "give either low and high or values"),
        ({"master.discount": {"low": 0.5, "high": 0.4}}, "low must be below high"),
        ({"master.discount": {"low": 0.5, "high": 1.4}}, "master.discount: must be between 0 and"),
        ({"master.discount": {"low": 0, "high": 1, "log": True}}, "log needs a low above 0"),
        ({"stratify_tasks": {"low": 0, "high": 1}}, "stratify_tasks: is no number"),
        ({"master.discount": {"lo": 0.5, "high": 1.0}}, "master.discount.lo: unknown field"),
        ({"macro_length": {"values": []}}, "macro_length: values must not be empty"),
        ({"macro_length": {"low": 0.5, "high": 9, "log": True}}, "must be whole numbers"),
        ({"joint_iterations": {"low": 1, "high": 1e30}}, "must be whole numbers of 31 bits"),
        ({"master.hidden_sizes": {"values": ["[64", [8]]}}, "'[64' is no list"),
        ({"master.hidden_sizes": {"values": ["64"]}}, "'64' is no list"),
        ({"master.hidden_sizes": {"values": ["[" * 10_000]}}, "is no list"),
        ({"master.rule": {"values": ["ppo", "magic"]}}, "master.rule: 'magic' is none of ppo"),
        ({"stratify_tasks": {"values": [True, "x"]}}, "stratify_tasks: 'x' is no bool"),
        ([], "must be an object"),
    ],
)
def test_impossible_spaces_are_refused_by_name(tmp_path, space, message):
    file = tmp_path / "space.json"
    file.write_text(json.dumps(space))
    with pytest.raises(ConfigError, match=r"^--space: ") as error:
        make_space(read_space(str(file)), MLSHConfig())
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a":' * 100_000])
def test_a_file_that_is_no_json_is_refused(tmp_path, text):
    file = tmp_path / "space.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"^--space: .*space\.json: cannot be read"):
        read_space(str(file))


def test_a_grid_that_could_never_be_put_in_line_is_refused():
    fields = ["num_tasks", "warmup_iterations", "master.epochs", "subpolicy.epochs"]
    space = make_space({name: {"values": list(range(1, 31))} for name in fields}, MLSHConfig())
    require_grid(space, 100_000)
    with pytest.raises(ConfigError, match=r"^--trials: 100001 of the 810000 points of the grid"):
        require_grid(space, 100_001)


def test_no_trial_has_smaller_sub_policies_than_the_smallest():
    base = MLSHConfig()
    rates = {"master.learning_rate": {"low": 1e-3, "high": 1e-1}}
    assert make_space(rates, base).smallest() == base
    smallest = make_space({"num_subpolicies": {"values": [2, 3]}} | rates, base).smallest()
    assert (smallest.num_subpolicies, smallest.subpolicy.hidden_sizes) == (1, ())


def test_a_missing_file_names_the_spaces():
    with pytest.raises(ConfigError, match="learning-rates, ppo"):
        read_space("nowhere.json")


def test_values_end_up_in_the_configuration():
    space = make_space(read_space("hierarchy"), MLSHConfig())
    chosen = {"num_subpolicies": 4, "macro_length": 5, "master.learning_rate": 0.05}
    config = space.config(chosen)
    assert (config.num_subpolicies, config.macro_length) == (4, 5)
    assert config.master.learning_rate == 0.05
    assert config.subpolicy == MLSHConfig().subpolicy
    assert structure(chosen) == {"num_subpolicies": 4, "macro_length": 5}


def test_an_update_rule_can_be_swept_and_brings_its_own_options():
    base = MLSHConfig(master=LearnerConfig(clip_epsilon=0.8, learning_rate=0.01))
    space = make_space({"master.rule": {"values": ["ppo", "dqn"]}}, base)
    assert space.config({"master.rule": "ppo"}) == base
    dqn = space.config({"master.rule": "dqn"}).master
    assert (dqn.rule, dqn.learning_rate) == ("dqn", 0.01)
    # An option of one rule is left out of the trials of another.
    ranges = {"low": 0.1, "high": 0.2}
    rules = {"values": ["ppo", "trpo"]}
    mixed = make_space(
        {"master.rule": rules, "master.kl_limit": ranges, "master.clip_epsilon": ranges}, base
    )
    chosen = {"master.kl_limit": 0.15, "master.clip_epsilon": 0.12}
    trpo = mixed.config({"master.rule": "trpo"} | chosen).master
    assert (trpo.kl_limit, trpo.clip_epsilon) == (0.15, LearnerConfig().clip_epsilon)
    assert mixed.config({"master.rule": "ppo"} | chosen).master.clip_epsilon == 0.12
    impossible = {"master.rule": rules, "master.kl_limit": {"low": -1, "high": 1}}
    with pytest.raises(ConfigError, match=r"master\.kl_limit: must be positive"):
        make_space(impossible, base)
    with pytest.raises(ConfigError, match=r"master\.kl_limit: the rule ppo has no such option"):
        make_space({"master.kl_limit": {"low": 0.1, "high": 0.2}}, base)
