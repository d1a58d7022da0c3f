"""What SIGINT, SIGTERM and SIGHUP do: end a run after its iteration, with everything saved."""

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import jax

_POLL_SECONDS = 0.001


@dataclasses.dataclass
class StopRequest:
    """Whether this process has been asked to stop.

    Attributes:
        signal: the number of the signal that asked, 0 if none did.
    """

    signal: int = 0


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """The first SIGINT, SIGTERM or SIGHUP is remembered, the second ends the process at once.

    SIGHUP, that nobody is at the terminal any more, is not heard where it was to be ignored, as
    under `nohup`.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if request.signal:
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), b"\x1b[?25h\n")  # show the cursor again
            os._exit(128 + number)
        request.signal = number
        # Not print: the signal may have interrupted one. Perhaps nobody reads it.
        with contextlib.suppress(OSError):
            os.write(2, b"\nfinishing this iteration, then saving; once more to abort\n")

    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heard.append(signal.SIGHUP)
    with signal_handlers(dict.fromkeys(heard, handle)):
        yield request


def wait_for(output: jax.Array) -> None:
    """Waits in Python rather than in the runtime, so that signals are noticed meanwhile."""
    while not output.is_ready():  # type: ignore[attr-defined]
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def signal_handlers(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    """Installs signal handlers for a while; only the main thread has any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
