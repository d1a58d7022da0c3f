"""Configurations to and from JSON: nested frozen dataclasses, strictly.

Reading is as strict as the command line: an unknown field, or a value of another type, is a
`ConfigError` that names the field by its path (`master.learning_rate`). A missing field has its
default. What older code wrote stays readable as long as the default of a new field is what the
code did without it.
"""

import contextlib
import dataclasses
import json
import math
import os
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from mlsh_jax.errors import ConfigError, MlshError, RunError
from mlsh_jax.host.foreign import require_file
from mlsh_jax.rl.config import LearnerConfig

ConfigT = TypeVar("ConfigT")


def to_json(config: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON values: tuples become lists, dataclasses objects."""
    return {
        field.name: _value_to_json(getattr(config, field.name))
        for field in dataclasses.fields(config)
    }


def from_json(
    cls: type[ConfigT], data: Any, path: str = "", base: ConfigT | None = None
) -> ConfigT:
    """Builds a `cls` from what `to_json` wrote; its `__post_init__` validates it again.

    Args:
        cls: a dataclass whose annotations use dataclasses, `Literal`, `Optional`, `tuple`,
            `list`, `dict` (of anything), `int`, `float`, `str` and `bool`.
        data: the decoded JSON object.
        path: where the object stands, for messages; empty at the top.
        base: has the fields that are missing; None for their defaults. If the object names another
            update rule than the base has, without the options that this rule does not have.

    Raises:
        ConfigError: naming the first field that is unknown, missing or impossible.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path or 'config'}: expected an object, got {data!r}")
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    names = [field.name for field in fields]
    for name in data:
        if name not in names:
            raise ConfigError(f"{_join(path, name)}: unknown field; known: {', '.join(names)}")
    if isinstance(base, LearnerConfig) and isinstance(data.get("rule"), str):
        base = base.with_rule(data["rule"])
    for field in fields if base is None else ():
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and field.name not in data:
            raise ConfigError(f"{_join(path, field.name)}: missing")
    values = {} if base is None else {name: getattr(base, name) for name in names}
    for name, value in data.items():
        values[name] = _value_from_json(hints[name], value, _join(path, name), values.get(name))
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(_join(path, str(error))) from None


def _value_to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, tuple | list):
        return [_value_to_json(item) for item in value]
    return value


def _value_from_json(hint: Any, value: Any, path: str, base: Any = None) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _value_from_json(arguments[0], value, path, base)
    if origin in (Union, types.UnionType):
        return _union_from_json(arguments, value, path)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, path, base)
    if origin is tuple:
        return _tuple_from_json(arguments, value, path)
    if origin is list:
        return list(_tuple_from_json((*arguments, ...), value, path))
    if origin is Literal:
        matches = any(value == choice and type(value) is type(choice) for choice in arguments)
        expected = f"one of {', '.join(map(str, arguments))}"
    elif hint is float:
        matches = isinstance(value, int | float) and not isinstance(value, bool)
        matches = matches and abs(value) <= sys.float_info.max
        expected = "float"
        value = float(value) if matches else value
    else:
        hint = origin or hint  # a dict's entries may be anything
        matches = type(value) is hint
        expected = getattr(hint, "__name__", str(hint))
    if not matches:
        raise ConfigError(f"{path}: expected {expected}, got {value!r}")
    return value


def _union_from_json(arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and types.NoneType in arguments:
        return None
    last_error = ConfigError(f"{path}: must not be null")
    for argument in arguments:
        if argument is types.NoneType:
            continue
        try:
            return _value_from_json(argument, value, path)
        except ConfigError as error:
            last_error = error
    raise last_error


def _tuple_from_json(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{path}: expected a list, got {value!r}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        hints = arguments[:1] * len(value)
    else:
        hints = arguments
    if len(hints) != len(value):
        raise ConfigError(f"{path}: expected {len(hints)} values, got {len(value)}")
    return tuple(
        _value_from_json(hint, item, f"{path}[{i}]")
        for i, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested JSON objects by their dotted names, in order."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        nested = isinstance(value, Mapping)
        found |= leaves(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        RunError: it cannot be read, or holds something else.
    """
    with reading(path):
        require_file(path)
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise TypeError("holds no JSON object")
        return data


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Says in one line that a file does not hold what belongs there.

    Raises:
        RunError: what is done with the file's content inside the block fails.
    """
    try:
        yield
    except MlshError:
        raise
    except KeyError as error:
        raise RunError(f"{path}: cannot be read (has no {error})") from None
    except (
        OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError,
    ) as error:  # fmt: skip
        raise RunError(f"{path}: cannot be read ({error})") from None


def experiment_of(provenance: Any) -> Any:
    """The experiment that a run says to be of, None if it says nothing."""
    return provenance.get("experiment") if isinstance(provenance, dict) else None


def write_json(path: Path, data: Any) -> None:
    """Replaces a file with an object (`write_text`)."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replaces a file in one step, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def finite_or_null(value: Any) -> Any:
    """What JSON has no word for, a number that is not finite, as null."""
    if isinstance(value, dict):
        return {name: finite_or_null(item) for name, item in value.items()}
    if isinstance(value, list):
        return [finite_or_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
