"""An environment as a command line names it: its name and the options of its class."""

import ast
from collections.abc import Sequence
from typing import Any

import envs
from experiments.harness.config import MakeEnv
from mlsh_jax.errors import ConfigError


def named_env(name: str, options: Sequence[str], backend: str | None) -> MakeEnv:
    """Makes environments of a name.

    Args:
        name: that `envs.make` knows, or "module:Class".
        options: of its class, "NAME=VALUE" each. A value that reads as a number, a tuple, True,
            False or None is that, and any other one a word.
        backend: physics of Brax; None for the environment's default.

    Raises:
        ConfigError: an option is no such pair, or was given before.
    """
    read: dict[str, Any] = {} if backend is None else {"backend": backend}
    for option in options:
        key, equals, value = option.partition("=")
        if not (equals and key.isidentifier()):
            raise ConfigError(f"env_options: must be NAME=VALUE each, got {option!r}")
        if key in read:
            raise ConfigError(f"env_options: {key} was given before")
        read[key] = _value(value)
    return lambda length: envs.make(name, episode_length=length, **read)


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
