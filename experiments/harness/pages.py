"""Pages of `results/` in which a command writes a table and people the rest."""

import os
import tempfile
import time
from pathlib import Path

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
        f"`python -m {command}`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores "
        f"({jax.devices()[0].device_kind}), jax {jax.__version__}"
    )
