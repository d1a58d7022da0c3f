"""Pages of `results/` in which a command writes a table and people the rest."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict

from mlsh_jax.errors import RunError
from mlsh_jax.host.serialization import reading, write_text

_BEGIN, _END = "<!-- table -->\n", "<!-- end of table -->"


@contextlib.contextmanager
def holding(directory: Path, page: str | None = None) -> Iterator[None]:
    """Makes sure of a page and its directory before what is to be written there takes hours.

    Inside the block no other process that asks writes there.

    Args:
        directory: of the page, which is made.
        page: name of a page that has other text as well, and may be there already.

    Raises:
        RunError: the directory cannot be written, another process writes there, or the page is
            there without a place for its table.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise RunError(f"--results: {directory}: cannot be written ({error.strerror})") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"--results: {directory}: another process writes there; wait for it, or choose "
                "another directory"
            ) from None
        if page is not None and (directory / page).exists():
            _around_table(directory / page)
        yield
    finally:
        os.close(descriptor)


def write_table(path: Path, title: str, table: str) -> None:
    """Puts a table into a page, whose other text stays.

    Args:
        path: of the page, which is made if there is none.
        title: of a page that is made.
        table: lines, the last of which ends as well.

    Raises:
        RunError: the page has no place for it.
    """
    before, after = _around_table(path) if path.exists() else (f"# {title}\n\n", "\n")
    write_text(path, before + _BEGIN + table + _END + after)


def _around_table(path: Path) -> tuple[str, str]:
    """What stands before and after the table of a page."""
    with reading(path):
        before, begin, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise RunError(
            f"{path}: has no place for the table, between a line {_BEGIN.strip()} and a line {_END}"
        )
    return before, after


def measured_by(command: str, occasions: Iterable[str]) -> str:
    """What measured a table, when and on what.

    Args:
        command: the module.
        occasions: of every number (`here_and_now`); empty ones are not known.
    """
    known = sorted(set(occasions) - {""})
    when = f", {'; '.join(known)}" if known else ""
    return f"`python -m {command}`{when}"


def here_and_now() -> str:
    """When and on what numbers are measured from now on."""
    import jax  # for which --help does not wait

    device = jax.devices()[0].device_kind
    return f"{_today()}, {os.cpu_count()} cores ({device}), jax {jax.__version__}"


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
