"""Processes meet at process 0 and see that they fit, before JAX connects them.

JAX aborts with a C++ stack, or waits for ever, where one of them says another number of processes
than the others or has the place of another. So each of them first says by a plain connection to
the coordinator's port who it is, and waits for an answer: one line of JSON in each direction. Who
comes when the others have met already is not heard any more, and ends after `JOIN_SECONDS`.
"""

import contextlib
import json
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

from mlsh_jax.errors import ConfigError, MlshError, RunError

JOIN_SECONDS = 300
"""How long processes wait for each other at the start."""

PATIENCE_SECONDS = 5
"""After so long a process says for whom it waits."""

_POLL_SECONDS = 0.5

_LINE_BYTES = 4096

_ADVICE = "start as many as num_processes says, each with its process_id"

_OTHERS = "the other processes"


class _NoAnswerError(Exception):
    """What was said is not what a process of this program says."""


def meet(coordinator: str, num_processes: int, process_id: int) -> None:
    """Waits until all processes have said who they are; call in each, before JAX connects them.

    Args:
        coordinator: `host:port` of process 0.
        num_processes: how many there are.
        process_id: which of them this is, from 0.

    Raises:
        ConfigError: the three are impossible, or differ between processes: then in all that have
            come so far.
        RunError: the port is taken, or some did not come.
    """
    host, port = _address(coordinator)
    if num_processes < 1:
        raise ConfigError(f"num_processes: must be at least 1, got {num_processes}")
    if not 0 <= process_id < num_processes:
        raise ConfigError(f"process_id: must be from 0 to {num_processes - 1}, got {process_id}")
    if process_id == 0:
        _receive(port, num_processes)
    else:
        _report(host, port, num_processes, process_id)


def _address(coordinator: str) -> tuple[str, int]:
    """Host and port of `host:port`, also of an IPv6 address in brackets."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"coordinator: must be host:port, got {coordinator!r}")
    return host.strip("[]"), int(port)


def _receive(port: int, num_processes: int) -> None:
    """Process 0: hears from all others, then answers them."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        server = socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise RunError(
            f"coordinator: process 0 cannot listen at port {port} of this machine "
            f"({error.strerror}); choose another one"
        ) from None
    limit = _Limit(JOIN_SECONDS)
    others: dict[int, socket.socket] = {}
    heard: list[socket.socket] = []  # of two with one place both
    with server, contextlib.ExitStack() as opened:
        server.settimeout(_POLL_SECONDS)
        try:
            while missing := [i for i in range(1, num_processes) if not _is_open(others.get(i))]:
                who = ", ".join(map(str, missing))
                limit.check(_OTHERS, f"these processes have not come: {who}; {_ADVICE}")
                if (connection := _accept(server)) is None:
                    continue
                opened.enter_context(connection)
                try:
                    words = _read_words(connection, _Limit(PATIENCE_SECONDS, is_silent=True))
                    number, count = words["process_id"], words["num_processes"]
                    if not (type(number) is type(count) is int and 0 < number < count):
                        raise _NoAnswerError
                except (OSError, KeyError, RunError, _NoAnswerError):
                    connection.close()  # another program's: whoever belongs here calls again
                    continue
                heard.append(connection)
                if count != num_processes:
                    raise ConfigError(
                        f"process {number} was started otherwise than process 0: num_processes is "
                        f"{count} rather than {num_processes}"
                    )
                if _is_open(others.get(number)):
                    raise ConfigError(f"process_id: two processes were started as {number}")
                others[number] = connection
        except MlshError as error:
            _answer(heard, error)
            raise
        _answer(heard, None)


def _accept(server: socket.socket) -> socket.socket | None:
    """The next connection, if there is one."""
    try:
        return server.accept()[0]
    except TimeoutError:
        return None
    except OSError:  # it has gone already, or this process has too many files open
        time.sleep(_POLL_SECONDS)
        return None


def _is_open(connection: socket.socket | None) -> bool:
    """Whether the process at the other end, which has nothing more to say, is still there."""
    if connection is None:
        return False
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _answer(connections: Iterable[socket.socket], error: MlshError | None) -> None:
    """Tells the other processes that they may go on, or with which error to end."""
    problem = None if error is None else str(error)
    said = {"problem": problem, "is_usage": isinstance(error, ConfigError)}
    for connection in connections:
        with contextlib.suppress(OSError):  # it has gone, and JAX will wait for it in vain
            connection.sendall(json.dumps(said).encode() + b"\n")


def _report(host: str, port: int, num_processes: int, process_id: int) -> None:
    """Any other process: says who it is and waits for the answer of process 0."""
    own_words = json.dumps({"process_id": process_id, "num_processes": num_processes})
    place = f"process 0 at {host}:{port}"
    limit = _Limit(JOIN_SECONDS)
    while True:
        try:
            with socket.create_connection((host, port), timeout=PATIENCE_SECONDS) as connection:
                connection.sendall(own_words.encode() + b"\n")
                # Process 0 gives up first then, and says why.
                answer = _read_words(connection, _Limit(JOIN_SECONDS + 2 * PATIENCE_SECONDS))
                problem, is_usage = answer["problem"], answer["is_usage"]
                break
        except (OSError, KeyError, UnicodeError, _NoAnswerError) as error:
            reason = getattr(error, "strerror", None) or "it is no process of this program"
            limit.check(place, f"{place} does not answer ({reason})")
            time.sleep(_POLL_SECONDS)
    if problem is not None:
        raise ConfigError(str(problem)) if is_usage else RunError(str(problem))


def _read_words(connection: socket.socket, limit: "_Limit") -> dict[str, Any]:
    """The JSON object in the next line.

    Raises:
        OSError: the other end has closed.
        RunError: nothing comes.
        _NoAnswerError: it is something else.
    """
    connection.settimeout(_POLL_SECONDS)
    line = b""
    while not line.endswith(b"\n"):
        limit.check(
            _OTHERS,
            "the other processes have not come, or have begun with another num_processes; "
            f"{_ADVICE}",
        )
        try:
            part = connection.recv(_LINE_BYTES)
        except TimeoutError:
            continue
        if not part:
            raise ConnectionError(0, "it closed the connection")
        line += part
        if len(line) > _LINE_BYTES:
            raise _NoAnswerError
    try:
        words = json.loads(line)
    except (ValueError, RecursionError):
        raise _NoAnswerError from None
    if not isinstance(words, dict):
        raise _NoAnswerError
    return words


class _Limit:
    """How long something is waited for.

    Attributes:
        seconds: until it is given up.
        is_silent: whether nobody is told of it before.
    """

    def __init__(self, seconds: float, *, is_silent: bool = False) -> None:
        self.seconds, self.is_silent = seconds, is_silent
        self._started = time.monotonic()

    def check(self, for_whom: str, problem: str) -> None:
        """Says after a while for whom the process waits, and in the end what is wrong.

        Raises:
            RunError: `problem`, as it has taken too long.
        """
        waited = time.monotonic() - self._started
        if waited > PATIENCE_SECONDS and not self.is_silent:
            self.is_silent = True
            print(f"waiting for {for_whom}", file=sys.stderr, flush=True)
        if waited > self.seconds:
            raise RunError(f"coordinator: after {waited:.0f} s {problem}")
