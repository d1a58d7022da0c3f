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
    own = ("name", "episode_length")  # that nobody gives to a class
    read: dict[str, Any] = {} if backend is None else {"backend": backend}
    for option in options:
        key, equals, value = option.partition("=")
        if not (equals and key.isidentifier()) or key in own:
            raise ConfigError(
                f"env_options: must be NAME=VALUE each, of the environment's class, got {option!r}"
            )
        if key in read:
            raise ConfigError(f"env_options: {key} was given before")
        read[key] = _value(value)

    def make(length: int | None) -> Any:
        try:
            return envs.make(name, episode_length=length, **read)
        except envs.EnvError:
            raise
        except (TypeError, ValueError) as error:
            if not options:
                raise
            words = " ".join(options)
            raise ConfigError(f"env_options: {name} refuses {words} ({error})") from error

    return make


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
