"""A standard output on which no training depends, as on a disk that is full.

Nothing here imports JAX, which may not have been imported yet.
"""

import contextlib
import errno
import io
import os
import sys
from typing import Any

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a write to a full or broken disk fails with."""


class Output(io.FileIO):
    """A file that is left alone, after a word about it, once it cannot be written.

    That nobody reads it any more, as with `| head`, is raised as ever.

    Attributes:
        has_failed: whether something of what was printed is nowhere.
    """

    has_failed = False

    def write(self, data: Any) -> int:
        """Writes, or sends nowhere what is printed from now on."""
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self.has_failed = True
            with contextlib.suppress(OSError):
                print(
                    f"error: the output cannot be written ({error.strerror}); the program goes on "
                    "without",
                    file=sys.stderr,
                    flush=True,
                )
            send_nowhere(self.fileno())
            return memoryview(data).nbytes


def replace_stdout() -> Output | None:
    """Puts an `Output` in the place of the standard output, if it is that of the process."""
    stream = sys.stdout
    if stream is not sys.__stdout__ or not isinstance(stream, io.TextIOWrapper):
        return None
    stream.flush()
    output = Output(stream.fileno(), "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    return output


def send_nowhere(descriptor: int) -> None:
    """Sends nowhere what is printed to an open file, and what could not be printed yet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
