"""Processes meet at process 0 and see that they fit, before JAX connects them.

JAX aborts with a C++ stack, or waits for ever, where one of them says another number of processes
than the others or has the place of another. So each of them first says by a plain connection to
the coordinator's port who it is, and waits for an answer: one line of JSON in each direction.
"""

import contextlib
import json
import socket
import sys
import time
from collections.abc import Iterable

from mlsh_jax.errors import ConfigError, RunError

JOIN_SECONDS = 300
"""How long processes wait for each other at the start."""

PATIENCE_SECONDS = 5
"""After so long a process says for whom it waits."""

_POLL_SECONDS = 0.5

_LINE_BYTES = 4096

_ADVICE = "start as many as num_processes says, each with its process_id"


def meet(coordinator: str, num_processes: int, process_id: int) -> None:
    """Waits until all processes have said who they are; call in each, before JAX connects them.

    Args:
        coordinator: `host:port` of process 0.
        num_processes: how many there are.
        process_id: which of them this is, from 0.

    Raises:
        ConfigError: the three are impossible, or differ between processes: then in all that came.
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
    patience, guests = _Patience(), dict[int, socket.socket]()
    with server, contextlib.ExitStack() as connections:
        server.settimeout(_POLL_SECONDS)
        while missing := [i for i in range(1, num_processes) if not _is_open(guests.get(i))]:
            who = ", ".join(map(str, missing))
            patience.wait("the other processes", f"these have not come: {who}; {_ADVICE}")
            try:
                connection = connections.enter_context(server.accept()[0])
            except TimeoutError:
                continue
            try:
                words = json.loads(_read_line(connection, _Patience(_POLL_SECONDS)))
                number, count = int(words["process_id"]), int(words["num_processes"])
            except (OSError, RunError, ValueError, TypeError, KeyError):
                connection.close()  # somebody else: whoever belongs here calls again
                continue
            problem = _misfit(number, count, num_processes, guests)
            if problem is not None:
                _answer([*guests.values(), connection], problem)
                raise ConfigError(problem)
            guests[number] = connection
        _answer(guests.values(), None)


def _misfit(
    number: int, count: int, num_processes: int, guests: dict[int, socket.socket]
) -> str | None:
    """What is wrong with process `number`, which knows of `count` processes."""
    if count != num_processes:
        return (
            f"process {number} was started otherwise than process 0: num_processes is {count} "
            f"rather than {num_processes}"
        )
    if _is_open(guests.get(number)):
        return f"process_id: two processes were started as process {number}"
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


def _answer(guests: Iterable[socket.socket], problem: str | None) -> None:
    for connection in guests:
        with contextlib.suppress(OSError):  # it has gone, and JAX will wait for it in vain
            connection.sendall(json.dumps({"problem": problem}).encode() + b"\n")


def _report(host: str, port: int, num_processes: int, process_id: int) -> None:
    """Any other process: says who it is and waits for the answer of process 0."""
    words = json.dumps({"process_id": process_id, "num_processes": num_processes})
    patience = _Patience()
    while True:
        try:
            with socket.create_connection((host, port), timeout=PATIENCE_SECONDS) as connection:
                connection.sendall(words.encode() + b"\n")
                problem = json.loads(_read_line(connection, patience))["problem"]
                break
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            place = f"process 0 at {host}:{port}"
            patience.wait(place, f"{place} does not answer ({reason})")
            time.sleep(_POLL_SECONDS)
    if problem is not None:
        raise ConfigError(problem)


def _read_line(connection: socket.socket, patience: "_Patience") -> str:
    """The next line.

    Raises:
        OSError: the other end has closed.
        RunError: it does not come.
    """
    connection.settimeout(_POLL_SECONDS)
    line = b""
    while not line.endswith(b"\n") and len(line) < _LINE_BYTES:
        patience.wait("the other processes", f"the others have not come; {_ADVICE}")
        try:
            part = connection.recv(_LINE_BYTES)
        except TimeoutError:
            continue
        if not part:
            raise ConnectionError("it closed the connection")
        line += part
    return line.decode(errors="replace")


class _Patience:
    """Says once for whom the process waits, and ends its waiting after `seconds`."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = JOIN_SECONDS if seconds is None else seconds
        self._started = time.monotonic()
        self._said: set[str] = set()

    def wait(self, for_whom: str, problem: str) -> None:
        """Call again and again.

        Raises:
            RunError: `problem`, as it has taken too long.
        """
        waited = time.monotonic() - self._started
        if waited > PATIENCE_SECONDS and for_whom not in self._said:
            self._said.add(for_whom)
            print(f"waiting for {for_whom}", file=sys.stderr, flush=True)
        if waited > self._seconds:
            raise RunError(f"coordinator: after {waited:.0f} s {problem}")
