"""Several processes as one program: JAX's multi-controller runtime, and who writes files.

Every process runs the same program on its own devices. Process 0 alone prints and writes logs and
figures; checkpoints are written by all of them, to a directory that all of them can see.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host.rendezvous import JOIN_SECONDS, PATIENCE_SECONDS, meet
from mlsh_jax.host.signals import signal_handlers

AUTOMATIC = "auto"
"""Value of `coordinator` that leaves it to JAX to find the other processes."""

_HEARTBEAT_SECONDS = 150
"""After so long without a sign of life a process counts as lost, and all others end. There is one
in every half of it, so that a process may always be asleep for a minute. One that was killed is
mostly noticed at once, when a connection breaks."""


def connect(coordinator: str | None, num_processes: int | None, process_id: int | None) -> bool:
    """Joins the other processes, if there are any; call before anything else is done with JAX.

    Args:
        coordinator: `host:port` of process 0; "auto" where JAX can find out by itself, as on TPU
            pods and under SLURM and Open MPI; None for one process, unless the environment shows
            that SLURM or a TPU pod started several.
        num_processes: how many there are; only with `host:port`.
        process_id: which of them this is, from 0; only with `host:port`.

    Returns:
        Whether there are others.

    Raises:
        ConfigError: the three do not fit together, are impossible, or differ between processes.
        RunError: the processes did not find each other. Where JAX waits in vain for one ("auto", or
            one that was lost at that moment), the process ends instead, with a line, since nothing
            ends JAX's waiting but its abort.
    """
    given = num_processes is not None, process_id is not None
    if coordinator in (None, AUTOMATIC):
        if any(given):
            raise ConfigError("coordinator: give host:port with num_processes and process_id")
        if coordinator is None and not _started_in_a_group():
            return False
        coordinator = None
    elif num_processes is None or process_id is None:
        raise ConfigError("coordinator: needs num_processes and process_id beside it")
    else:
        meet(coordinator, num_processes, process_id)
    # It would take SIGTERM away from `mlsh_jax.host.signals`, after which a run saves and stops.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        with _waiting():
            jax.distributed.initialize(
                coordinator,
                num_processes,
                process_id,
                # Beside host:port SLURM and Open MPI would still be asked for the GPUs: one each.
                cluster_detection_method=None if coordinator is None else "deactivate",
                initialization_timeout=2 * JOIN_SECONDS,
                heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            )
    except (RuntimeError, ValueError) as error:
        raise RunError(f"coordinator: cannot join the other processes ({error})") from error
    if not is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    return True


@contextlib.contextmanager
def _waiting() -> Iterator[None]:
    """Says that the process waits for the others inside, and ends it when they do not come.

    JAX would print a stack and abort. Ctrl-C ends the process directly, as Python cannot hear it
    meanwhile.
    """
    lock, has_joined = threading.Lock(), False

    def tell(message: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be closed
            print(message, file=sys.stderr, flush=True)

    def give_up() -> None:
        with lock:
            if has_joined:
                return
            tell(f"error: coordinator: the other processes did not come within {JOIN_SECONDS} s")
            os._exit(1)

    timers = (
        threading.Timer(PATIENCE_SECONDS, tell, ["waiting for the other processes"]),
        threading.Timer(JOIN_SECONDS, give_up),
    )
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        with signal_handlers({signal.SIGINT: signal.SIG_DFL}):
            yield
    finally:
        with lock:
            has_joined = True
        for timer in timers:
            timer.cancel()


def require_alike(facts: Mapping[str, Any]) -> None:
    """Refuses processes that were not started alike, of which some would wait for ever.

    Args:
        facts: a JSON object that has to be the same in all of them.

    Raises:
        ConfigError: in every process, naming what differs where.
    """
    if not are_several():
        return
    first, *others = (_flat(json.loads(text)) for text in _gather(json.dumps(facts)))
    for number, other in enumerate(others, start=1):
        for name in first | other:
            if (there := other.get(name)) != (here := first.get(name)):
                raise ConfigError(
                    f"process {number} was started otherwise than process 0: {name} is {there!r} "
                    f"rather than {here!r}"
                )


def is_first() -> bool:
    """Whether this process writes logs and figures."""
    return jax.process_index() == 0


def are_several() -> bool:
    """Whether there are other processes."""
    return jax.process_count() > 1


def from_first(make: Callable[[], str]) -> str:
    """What `make` returns in process 0, in every process; if it raises there, all raise.

    Raises:
        RunError: in the other processes, if `make` raised in process 0, which raises the error.
    """
    if not are_several():
        return make()
    if not is_first():
        answer = json.loads(_broadcast(""))
        if answer["failed"]:
            raise RunError(f"process 0: {answer['text']}")
        return answer["text"]
    try:
        text = make()
    except Exception as error:
        _broadcast(json.dumps({"failed": True, "text": str(error)}))
        raise
    _broadcast(json.dumps({"failed": False, "text": text}))
    return text


def largest(value: int) -> int:
    """The largest `value` that any process has."""
    if not are_several():
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested objects by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _gather(text: str) -> list[str]:
    """The texts of all processes, in their order."""
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(data.size))).reshape(-1)
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: data.size] = data
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]


def _broadcast(text: str) -> str:
    """The text of process 0."""
    data = np.frombuffer(text.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(data.size)))
    padded = np.zeros(size, np.uint8)
    padded[: data.size] = data if is_first() else 0
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded), np.uint8)).decode()


def _started_in_a_group() -> bool:
    """Whether SLURM or a TPU pod started this process as one of several."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    workers = os.environ.get("TPU_WORKER_HOSTNAMES", "")
    return tasks not in ("", "1") or "," in workers
