"""Configurations survive JSON, and wrong JSON is refused by name."""

import dataclasses
import json
from typing import Literal

import pytest

from mlsh_jax.errors import ConfigError
from mlsh_jax.host.serialization import from_json, to_json
from mlsh_jax.rl.config import LearnerConfig


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    sizes: tuple[int, ...] = (64, 64)
    kind: Literal["ppo", "a2c"] = "ppo"

    def __post_init__(self):
        if self.rate <= 0:
            raise ConfigError("rate: must be > 0")


@dataclasses.dataclass(frozen=True)
class Outer:
    seed: int
    name: str | None = None
    flag: bool = True
    pair: tuple[int, str] = (1, "a")
    inner: Inner = Inner()


def _json(**changes):
    return to_json(Outer(0)) | changes


def test_a_config_survives_json_exactly():
    config = Outer(3, "x", False, (2, "b"), Inner(1 / 3, (), "a2c"))
    assert from_json(Outer, json.loads(json.dumps(to_json(config)))) == config


def test_a_whole_number_is_a_float():
    value = from_json(Outer, _json(inner=to_json(Inner()) | {"rate": 1})).inner.rate
    assert value == 1.0 and isinstance(value, float)


def test_a_missing_field_has_its_default():
    config = from_json(Outer, {"seed": 4, "inner": {"rate": 1.0}})
    assert config == Outer(4, inner=Inner(rate=1.0))


def test_a_missing_field_is_that_of_the_base_where_there_is_one():
    base = Outer(7, "x", False, (2, "b"), Inner(0.5, (1,), "a2c"))
    expected = dataclasses.replace(base, inner=dataclasses.replace(base.inner, rate=1.0))
    assert from_json(Outer, {"inner": {"rate": 1.0}}, base=base) == expected
    with pytest.raises(ConfigError, match=r"^inner\.rate: must be > 0"):
        from_json(Outer, {"inner": {"rate": 0.0}}, base=base)


def test_another_rule_leaves_out_what_the_base_gives_to_its_own():
    base = LearnerConfig(learning_rate=0.5, clip_epsilon=0.8, discount=0.5)
    dqn = from_json(LearnerConfig, {"rule": "dqn", "replay_size": 9}, base=base)
    assert dqn == LearnerConfig(rule="dqn", learning_rate=0.5, discount=0.5, replay_size=9)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_json(inner=to_json(Inner()) | {"rate": 10**400}), "inner.rate: expected float"),
        (_json(sed=1), "sed: unknown field"),
        (_json(inner={"rate": 1.0, "sizes": [], "kindd": "ppo"}), "inner.kindd: unknown field"),
        ({"name": "x"}, "seed: missing"),
        (_json(inner=to_json(Inner()) | {"rate": -1.0}), "inner.rate: must be > 0"),
        (_json(inner=to_json(Inner()) | {"kind": "x"}), "inner.kind: expected one of ppo, a2c"),
        (_json(inner=to_json(Inner()) | {"sizes": [1, "2"]}), "inner.sizes[1]: expected int"),
        (_json(inner=3), "inner: expected an object"),
        (_json(seed=True), "seed: expected int"),
        (_json(seed=1.5), "seed: expected int"),
        (_json(seed=None), "seed: expected int"),
        (_json(flag=1), "flag: expected bool"),
        (_json(name=3), "name: expected str"),
        (_json(pair=[1]), "pair: expected 2 values"),
        ([], "config: expected an object"),
    ],
)
def test_wrong_json_is_refused_by_the_name_of_the_field(data, message):
    with pytest.raises(ConfigError) as error:
        from_json(Outer, data)
    assert str(error.value).startswith(message)
