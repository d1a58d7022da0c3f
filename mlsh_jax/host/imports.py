"""Directories of runs are data: no code is imported from them, whatever their files name.

A configuration may name a module of one's own ("lab.tables:Table"). Python looks for it in the
working directory as well, below which runs usually are, also those that came from someone else.
What lies beside the directory of a run, or is a package around it, is taken for the user's own.
"""

import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

from mlsh_jax.errors import ConfigError
from mlsh_jax.host.paths import real_path


class ForeignCodeError(ConfigError, ImportError):
    """A module that is to be imported is in the directory of a run."""


class _Guard(MetaPathFinder):
    """Finds nothing, but refuses what would be found in one of its directories."""

    def __init__(self) -> None:
        self.directories: set[Path] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None:
            return
        # Of a package without a file the folders are known, of others the file.
        places = [spec.origin] if spec.has_location else spec.submodule_search_locations or []
        for place in places:
            for directory in self.directories:
                if place is not None and real_path(place).is_relative_to(directory):
                    raise ForeignCodeError(
                        f"{fullname}: is in the directory of a run ({directory}), from which no "
                        "code is imported; move the module elsewhere if it is yours"
                    )


_GUARD = _Guard()


def refuse_code_from(directory: Path) -> None:
    """From now on, importing a module from a directory raises a ForeignCodeError."""
    _GUARD.directories.add(real_path(directory))
    if _GUARD not in sys.meta_path:
        sys.meta_path.insert(0, _GUARD)
