"""Databases of studies: what a URL may say, and who may name one.

A run keeps its configuration and says how to continue it, so no password is in the URL. And a run
may come from someone else: its files open no database, only a command line does.
"""

import os
import re
import shlex
from typing import TYPE_CHECKING

import optuna
import sqlalchemy

from mlsh_jax.errors import ConfigError

if TYPE_CHECKING:
    from experiments.sweep import Config

_IS_SECRET = re.compile("passw|pwd|secret|token|key|auth|cred|odbc_connect", re.IGNORECASE)


def require_named(asked: "Config", kept: "Config") -> None:
    """Refuses to continue a sweep whose database the command line does not name.

    Args:
        asked: what the command line says.
        kept: the configuration of the run.

    Raises:
        ConfigError: they differ.
    """
    if kept.storage is None and (asked.storage, asked.study) != (None, None):
        raise ConfigError("--storage: this sweep keeps its study in its own directory")
    if kept.storage is not None and (asked.storage, asked.study) != (kept.storage, kept.study):
        require_no_secret(kept.storage)
        named = shlex.join(["--storage", kept.storage, "--study", str(kept.study)])
        raise ConfigError(
            "--storage: a run may come from someone else, so its database is opened only where you "
            f"name it: add {named} if you know it"
        )


def require_no_secret(url: str) -> None:
    """Raises `ConfigError` for a URL of a database that is none, or that has a password in it."""
    for text in _secrets(_parsed(url)).values():
        _variable_name(text)


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Opens a database of studies.

    Args:
        url: of the database. In the place of a password it has the name of a variable of the
            environment, as in `postgresql://me:$PASSWORD@host/studies`, since a run keeps its
            configuration and says how to continue it.

    Raises:
        ConfigError: it cannot be opened, or has a password in it.
    """
    parsed = _parsed(url)
    values = {place: _variable(text) for place, text in _secrets(parsed).items()}
    query = {name: values.get(name, value) for name, value in parsed.query.items()}
    opened = parsed.set(password=values.get(None), query=query).render_as_string(
        hide_password=False
    )
    try:
        return optuna.storages.get_storage(opened)
    except Exception as error:
        reason = str(error).splitlines()[0].replace(opened, url)
        for secret in values.values():
            if secret:
                reason = reason.replace(secret, "***")
        raise ConfigError(f"--storage: {url}: cannot be opened ({reason})") from None


def _parsed(url: str) -> sqlalchemy.URL:
    try:
        return sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise ConfigError("--storage: is no URL of a database") from None  # perhaps a secret in it


def _secrets(url: sqlalchemy.URL) -> dict[str | None, str]:
    """What stands in the places of passwords, by the name in the query, None for the user's."""
    secrets: dict[str | None, str] = {} if url.password is None else {None: str(url.password)}
    return secrets | {name: str(v) for name, v in url.query.items() if _IS_SECRET.search(name)}


def _variable(text: str) -> str:
    """The value of the variable of the environment that `$NAME` or `${NAME}` stands for."""
    name = _variable_name(text)
    value = os.environ.get(name)
    if value is None:
        raise ConfigError(f"--storage: the variable {name} is not set")
    return value


def _variable_name(text: str) -> str:
    """The name in `$NAME` or `${NAME}`."""
    name = re.fullmatch(r"\$(?:(\w+)|\{(\w+)\})", text)
    if name is None:
        raise ConfigError(
            "--storage: a password in it would be kept with the run; put it into a variable of the "
            "environment and name that, as in 'postgresql://me:$PASSWORD@host/studies'"
        )
    return name[1] or name[2]
