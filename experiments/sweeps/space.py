"""The space of a hyperparameter sweep: which fields of the algorithm vary, and how.

A space is a JSON object from names of fields (as on the command line: `master.learning_rate`,
`macro_length`) to ranges `{"low": 1e-3, "high": 1e-1, "log": true}` or to lists
`{"values": [5, 10, 20]}`.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.serialization import from_json, to_json
from mlsh_jax.population import NUMBERS
from mlsh_jax.rl.config import RULES

_LONGEST_LINE = 100_000
"""Points of a grid, all of which are put in line before the first is trained."""

SPACES: dict[str, dict[str, dict[str, Any]]] = {
    "learning-rates": {
        "master.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
        "subpolicy.learning_rate": {"low": 1e-4, "high": 3e-3, "log": True},
    },
    "ppo": {
        f"{level}.{name}": dict(scale)
        for level in ("master", "subpolicy")
        for name, scale in {
            "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
            "clip_epsilon": {"low": 0.1, "high": 0.9},
            "discount": {"low": 0.8, "high": 0.999},
            "gae_lambda": {"low": 0.8, "high": 1.0},
            "entropy_coefficient": {"low": 1e-4, "high": 0.1, "log": True},
        }.items()
    },
    "hierarchy": {
        "num_subpolicies": {"values": [2, 3, 4]},
        "macro_length": {"values": [5, 10]},
        "master.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
    },
}
"""Spaces by name."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Values of one field.

    Attributes:
        low: the smallest, where the field is a number between two others.
        high: the largest.
        log: whether orders of magnitude are equally likely.
        values: the choices, where it is one of a few.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    values: tuple[int | float | bool | str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Space:
    """A space of configurations of the algorithm.

    Attributes:
        ranges: name of a field to its values.
        base: all other fields.
    """

    ranges: Mapping[str, Range]
    base: MLSHConfig

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """The values of a trial, which the sampler chooses."""
        chosen: dict[str, Any] = {}
        for name, scale in self.ranges.items():
            if scale.values is not None:
                chosen[name] = trial.suggest_categorical(name, scale.values)
                continue
            assert scale.low is not None and scale.high is not None
            if isinstance(field_of(self.base, name), int):
                bounds = int(scale.low), int(scale.high)
                chosen[name] = trial.suggest_int(name, *bounds, log=scale.log)
            else:
                chosen[name] = trial.suggest_float(name, scale.low, scale.high, log=scale.log)
        return chosen

    def config(self, chosen: Mapping[str, Any]) -> MLSHConfig:
        """The configuration with the chosen values.

        Where the rule of a level is chosen, options that it does not have are left out.

        Raises:
            ConfigError: they do not fit together.
        """
        base = self.base
        left_out: set[str] = set()
        for level in ("master", "subpolicy"):
            rule = chosen.get(f"{level}.rule")
            if rule is not None:
                learner = getattr(base, level).with_rule(rule)
                base = dataclasses.replace(base, **{level: learner})
                left_out |= {f"{level}.{option}" for option in learner.options_of_other_rules()}
        data = to_json(base)
        for name, value in chosen.items():
            if name in left_out:
                continue
            *parents, field = name.split(".")
            nested = data
            for parent in parents:
                nested = nested[parent]
            nested[field] = json.loads(value) if value in self._lists(name) else value
        return from_json(MLSHConfig, data)

    def smallest(self) -> MLSHConfig:
        """A configuration whose sub-policies are no larger than those of any trial."""
        if not structure(self.ranges):
            return self.base
        learner = dataclasses.replace(self.base.subpolicy, hidden_sizes=())
        return dataclasses.replace(self.base, num_subpolicies=1, subpolicy=learner)

    def _lists(self, name: str) -> list[str]:
        """Which values of a field stand for lists."""
        values = self.ranges[name].values or ()
        is_list = isinstance(field_of(self.base, name), tuple)
        return [x for x in values if isinstance(x, str)] if is_list else []

    def grid(self) -> dict[str, list[Any]]:
        """All choices of every field, for a grid search.

        Raises:
            ConfigError: a field is a range.
        """
        for name, scale in self.ranges.items():
            if scale.values is None:
                raise ConfigError(f"--space: a grid needs a list of values for {name}")
        return {name: list(scale.values or ()) for name, scale in self.ranges.items()}


def read_space(text: str) -> dict[str, Any]:
    """What the space of that name or the JSON file says, to be made a `Space` of.

    Raises:
        ConfigError: there is neither.
    """
    if text in SPACES:
        return SPACES[text]
    if not Path(text).is_file():
        raise ConfigError(f"--space: no file {text!r}; known spaces: {', '.join(SPACES)}")
    try:
        return json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"--space: {text}: cannot be read ({error})") from None


def make_space(data: Any, base: MLSHConfig) -> Space:
    """The space that a JSON object describes.

    Raises:
        ConfigError: a field or a range is impossible.
    """
    if not isinstance(data, dict) or not data:
        raise ConfigError("--space: must be an object of fields and their ranges")
    try:
        space = Space({name: _range(name, scale) for name, scale in data.items()}, base)
        for name, scale in space.ranges.items():
            _check(space, name, scale)
    except ConfigError as error:
        raise ConfigError(f"--space: {error}") from None
    return space


def require_grid(space: Space, num_trials: int) -> None:
    """Refuses a grid of which more is to be tried than can be put in line.

    Raises:
        ConfigError: or a field of the space is a range.
    """
    size = math.prod(map(len, space.grid().values()))
    if min(size, num_trials) > _LONGEST_LINE:
        raise ConfigError(
            f"--trials: {min(size, num_trials)} of the {size} points of the grid are to be tried, "
            f"and at most {_LONGEST_LINE} can be put in line; use another --sampler"
        )


def structure(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the values that decides on shapes or loops, and so on the compiled program."""
    return {name: value for name, value in chosen.items() if name not in NUMBERS}


def _range(name: str, data: Any) -> Range:
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: must be an object with low and high or with values")
    if isinstance(data.get("values"), list):
        # Optuna stores choices that are no lists: sizes of layers stand as text.
        values = [json.dumps(x) if isinstance(x, list) else x for x in data["values"]]
        data = data | {"values": values}
    scale = from_json(Range, data, name)
    if not all(math.isfinite(end) for end in (scale.low, scale.high) if end is not None):
        raise ConfigError(f"{name}: low and high must be finite")
    if scale.values == ():
        raise ConfigError(f"{name}: values must not be empty")
    if (scale.values is None) == (scale.low is None or scale.high is None):
        raise ConfigError(f"{name}: give either low and high or values")
    if scale.values is None and not scale.low < scale.high:  # type: ignore[operator]
        raise ConfigError(f"{name}: low must be below high")
    if scale.log and (scale.low is None or scale.low <= 0):
        raise ConfigError(f"{name}: log needs a low above 0")
    return scale


def field_of(config: MLSHConfig, name: str) -> Any:
    """The value of a field by its name in a space.

    Raises:
        ConfigError: there is no such field, or it is a configuration of its own.
    """
    value: Any = config
    for part in name.split("."):
        known = [field.name for field in dataclasses.fields(value)]
        if part not in known:
            raise ConfigError(f"{name}: unknown field; known: {', '.join(known)}")
        value = getattr(value, part)
        if dataclasses.is_dataclass(value) and part == name.rpartition(".")[2]:
            raise ConfigError(f"{name}: is not a single value")
        if not dataclasses.is_dataclass(value) and part != name.rpartition(".")[2]:
            raise ConfigError(f"{name}: {part} has no fields")
    return value


def _check(space: Space, name: str, scale: Range) -> None:
    """Refuses a range whose ends are no possible values of the field."""
    value = field_of(space.base, name)
    if scale.values is None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{name}: is no number; give values")
        ends: tuple[Any, ...] = (scale.low, scale.high)
        if isinstance(value, int):
            if any(end % 1 or abs(end) >= 2**31 for end in ends):
                raise ConfigError(f"{name}: low and high must be whole numbers of 31 bits")
            ends = tuple(map(int, ends))
    else:
        ends = scale.values
        for text in space._lists(name):
            if not isinstance(_from_text(text), list):
                raise ConfigError(f"{name}: {text!r} is no list")
        for end in ends:
            if isinstance(value, bool | str) and type(end) is not type(value):
                raise ConfigError(f"{name}: {end!r} is no {type(value).__name__}")
            if name.endswith(".rule") and end not in RULES:
                raise ConfigError(f"{name}: {end!r} is none of {', '.join(RULES)}")
    if name in NUMBERS:
        for end in ends:
            space.config({name: end} | _rule_with(space, name))


def _from_text(text: str) -> Any:
    """What a text means as JSON, None if nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _rule_with(space: Space, name: str) -> dict[str, Any]:
    """A choice of the space for the rule of a level that has this option of it, if there is one."""
    level, _, option = name.rpartition(".")
    for rule in getattr(space.ranges.get(f"{level}.rule"), "values", None) or ():
        if rule in RULES and option in RULES[rule].options:
            return {f"{level}.rule": rule}
    return {}
