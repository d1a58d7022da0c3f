"""How a program ends that failed: one line for a person, and an exit code.

Nothing here imports JAX, which may not have been imported yet.
"""

import contextlib
import os
import select
import signal
import sys
import traceback
from typing import NoReturn

from mlsh_jax.errors import LARGE, is_out_of_memory
from mlsh_jax.host.output import NO_ROOM, send_nowhere


def exit_after(error: BaseException) -> NoReturn:
    """Ends the process after an exception.

    One that is meant for a person has an `exit_code`, is that of a file or of a full disk, or says
    that memory is out; it becomes one line. Any other one is raised again, with its traceback.
    """
    if isinstance(error, KeyboardInterrupt):
        exit_with("interrupted", 128 + signal.SIGINT, at_once=True)
    if isinstance(error, BrokenPipeError) and _has_lost_its_reader():
        sys.exit(128 + signal.SIGPIPE)
    exit_code = getattr(error, "exit_code", None)
    if exit_code is None and is_out_of_memory(error):
        reason = (str(error).splitlines() or [""])[0][:200]
        exit_with(f"error: out of memory ({reason}); lower {LARGE}", 1)
    if isinstance(error, OSError) and (error.filename is not None or error.errno in NO_ROOM):
        # A forbidden directory, a name that is too long: nothing of the program's. Where a write
        # fails that was to an open file, nobody says which.
        place = "" if error.filename is None else f"{error.filename}: "
        exit_with(f"error: {_on_one_line(f'{place}{error.strerror}')}", 1)
    if exit_code is None:
        if not are_several():
            raise error
        exit_with("".join(traceback.format_exception(error)), 1)
    label = "stopped" if exit_code > 128 else "error"
    exit_with(f"{label}: {_on_one_line(str(error))}", exit_code)


def exit_with(message: str, exit_code: int, *, at_once: bool = False) -> NoReturn:
    """Prints one line and ends the process.

    Other processes, if any, are not waited for, and neither is a compilation in the background, as
    XLA cannot be broken off and nobody needs its program any more, or threads of a checkpoint that
    could not be written.

    Args:
        message: the line.
        exit_code: of the process.
        at_once: whether a program that a device is running is not waited for either.
    """
    with contextlib.suppress(OSError):  # the terminal may be closed
        print(message, file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:  # its reader has gone; Python would say so when it ends
        send_nowhere(sys.stdout.fileno())
    compilation = sys.modules.get("mlsh_jax.host.compilation")
    saves = sys.modules.get("mlsh_jax.host.failed_saves")
    is_compiling = compilation is not None and compilation.is_compiling()
    is_writing = saves is not None and saves.has_failed()
    if are_several() or is_compiling or is_writing or at_once:
        if (tracking := sys.modules.get("mlsh_jax.host.tracking")) is not None:
            tracking.close_all()
        os._exit(exit_code)
    sys.exit(exit_code)


def are_several() -> bool:
    """Whether this process has joined others; asks nothing of JAX if it was not imported."""
    processes = sys.modules.get("mlsh_jax.host.processes")
    return processes is not None and processes.are_several()


def _on_one_line(text: str) -> str:
    """A text without what would end the line or give orders to a terminal."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)


def _has_lost_its_reader() -> bool:
    """Whether nobody reads the output any more, as with `| head`; then it is sent nowhere."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # asks of errors alone
    if not poll.poll(0):
        return False
    send_nowhere(sys.stdout.fileno())
    return True
