"""What stays of a checkpoint that could not be written: threads of Orbax, and what they say.

The error itself is raised where the checkpoint is saved. Meanwhile Orbax logs it with tracebacks,
and TensorStore goes on to call an event loop that has been closed.
"""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator

import absl.logging

_has_failed = False


def has_failed() -> bool:
    """Whether threads may be left that an exit would wait for."""
    return _has_failed


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Notes that what is done inside has failed."""
    global _has_failed
    try:
        yield
    except Exception:
        _has_failed = True
        raise


def silence() -> None:
    """Leaves it to the exception to say what is wrong."""
    absl.logging.set_verbosity(absl.logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited")
    sys.unraisablehook = _show


def _show(unraisable: "sys.UnraisableHookArgs") -> None:
    """What Python does with an exception in a thread that nobody waits for, but for one of them."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)
