"""Pages of `results/` in which a command writes a table and people the rest."""

import os
import tempfile
import time
from pathlib import Path
from typing import TypedDict

from mlsh_jax.errors import RunError

_BEGIN, _END = "<!-- table -->\n", "<!-- end of table -->\n"


def check_writable(directory: Path) -> None:
    """Makes the directory of a page, before what is to be written there takes hours.

    Raises:
        RunError: it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise RunError(f"--results: {directory}: cannot be written ({error.strerror})") from None


def write_table(path: Path, title: str, table: str) -> None:
    """Puts a table into a page, whose other text stays.

    Args:
        path: of the page, which is made if there is none.
        title: of a page that is made.
        table: lines, the last of which ends as well.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else f"# {title}\n\n{_BEGIN}{_END}"
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    path.write_text(before + _BEGIN + table + _END + after, encoding="utf-8")


def measured_by(command: str) -> str:
    """What measured a table, when and on what."""
    import jax  # for which --help does not wait

    return (
        f"`python -m {command}`, {_today()}, {os.cpu_count()} cores "
        f"({jax.devices()[0].device_kind}), jax {jax.__version__}"
    )


class Origin(TypedDict):
    """Where a number comes from.

    Attributes:
        date: on which it was measured, as 2026-11-30.
        commit: of the code; empty where it has none, or what ran differs from it.
    """

    date: str
    commit: str


def when_and_by_what() -> Origin:
    """The day and the commit of numbers that are measured from now on.

    To be asked before the first of them is written, which may change what the commit holds.
    """
    from mlsh_jax.host.runs import code_and_versions  # with JAX, for which --help does not wait

    git = code_and_versions()["git"]
    return {"date": _today(), "commit": "" if git is None or git["dirty"] else git["commit"][:7]}


def _today() -> str:
    return time.strftime("%Y-%m-%d")
