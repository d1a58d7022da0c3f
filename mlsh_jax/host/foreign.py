"""Directories that may come from someone else: what in them is no data is refused.

`mlsh_jax.host.imports` sees to it that none of their code is imported.
"""

import errno
import os
import stat
from pathlib import Path

from mlsh_jax.errors import ConfigError
from mlsh_jax.host.paths import real_path

_WANDB = "wandb"
"""The directory in a run that Weights & Biases writes to: it makes links there, also to elsewhere,
replaces them by new ones and writes to new files."""


def require_no_way_out(run: Path) -> None:
    """Refuses a run that would be written to elsewhere, or that reading or writing would wait for.

    Links from one place of it to another are fine, and those of Weights & Biases.

    Raises:
        ConfigError: a link below it leads out of it or to nothing, or a file in it is a pipe or the
            like, or a directory cannot be listed.
    """
    own = real_path(run)
    for path in _below(run, own_affair=_WANDB):
        if not path.is_symlink():
            continue
        target = real_path(path)
        is_inside = target.is_relative_to(own) and not target.is_relative_to(own / _WANDB)
        if not is_inside or not target.exists():
            raise ConfigError(f"{path}: is a link, and a run may not write elsewhere; remove it")


def require_no_links(directory: Path) -> None:
    """Refuses a directory whose copy would hold more than what lies below it.

    Raises:
        ConfigError: there is a link below it, or what `require_no_way_out` refuses.
    """
    for path in _below(directory):
        if path.is_symlink():
            raise ConfigError(f"{path}: is a link, and what it leads to is not copied; remove it")


def require_file(path: Path) -> None:
    """Refuses what would be read without an end, or waited for, such as a pipe.

    Raises:
        OSError: something is there that is neither a file nor a directory.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "is not a file", str(path))


def _below(directory: Path, own_affair: str | None = None) -> list[Path]:
    """All that is below a directory, links included and not followed.

    Args:
        directory: whose name may be a link itself.
        own_affair: name of a directory in it whose contents are left out.

    Raises:
        ConfigError: something is neither a file nor a directory, or cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise ConfigError(f"{error.filename}: cannot be listed ({error.strerror})")

    found = []
    for folder, subfolders, files in os.walk(directory, onerror=refuse):
        for path in (Path(folder, name) for name in (*subfolders, *files)):
            try:
                kind = path.lstat().st_mode
            except FileNotFoundError:
                continue  # another process of the run had it for a moment
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)):
                raise ConfigError(f"{path}: is neither a file nor a directory; remove it")
            found.append(path)
        if Path(folder) == directory and own_affair in subfolders:
            subfolders.remove(own_affair)
    return found
