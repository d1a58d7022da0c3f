"""Where the records of a stage go: `metrics.jsonl` and TensorBoard.

When a run continues from a checkpoint, the records after that checkpoint are dropped first, so a
finished file does not show that the run ever stopped. `mlsh_jax.host.tracking` has one more sink,
Weights & Biases, which cannot drop records: a resumed run there gets the iterations after its
checkpoint again.
"""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2, summary_pb2

from mlsh_jax.host.foreign import require_file
from mlsh_jax.host.serialization import finite_or_null

Metrics = Mapping[str, Any]
"""Name to a float or a (nested) list of floats."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What is known after one iteration.

    Attributes:
        iteration: iterations done, counted from the start of the stage.
        env_steps: environment steps of the stage so far.
        wall_seconds: time spent in the stage so far, without compilation.
        metrics: the iteration's metrics as plain floats and lists.
    """

    iteration: int
    env_steps: int
    wall_seconds: float
    metrics: Metrics


class Sink(Protocol):
    """Takes the records of one stage.

    Attributes:
        name: for a person.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    def log(self, record: Record) -> None:
        """Records one iteration."""

    def flush(self) -> None:
        """Puts everything recorded so far in safety."""

    def close(self) -> None:
        """Ends the stage."""


class JsonLines:
    """`metrics.jsonl`: every record on a line, null where a number is not finite.

    Args:
        path: the file, which several stages share.
        stage: name of the stage.
        start_iteration: the iteration to continue after; later records are dropped.

    Attributes:
        missing: how many records of the iterations before are not there, or damaged.
    """

    name = "metrics.jsonl"

    def __init__(self, path: Path, stage: str, start_iteration: int) -> None:
        """Opens the file."""
        kept = _drop_records_after(path, stage, start_iteration)
        self.missing = start_iteration - len(kept)
        self._stage = stage
        self._file = path.open("a", encoding="utf-8")

    def log(self, record: Record) -> None:
        """Appends a line."""
        line = {"stage": self._stage, **dataclasses.asdict(record)}
        self._file.write(json.dumps(finite_or_null(line), allow_nan=False) + "\n")
        self._file.flush()

    def flush(self) -> None:
        """Waits until the disk has it."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoard:
    """TensorBoard events, one scalar for each number.

    Args:
        directory: of the stage's events.
        start_iteration: the iteration to continue after; later events are not shown.
    """

    name = "TensorBoard"

    def __init__(self, directory: Path, start_iteration: int) -> None:
        """Opens an event file."""
        directory.mkdir(parents=True, exist_ok=True)
        # Without the thread of tensorboardX's SummaryWriter: it dies on a full disk, and then
        # whoever logs waits for it without end.
        self._writer = EventsWriter(str(directory / "events"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(start_iteration + 1, session_log=start)

    def log(self, record: Record) -> None:
        """Writes the finite numbers."""
        values = [
            summary_pb2.Summary.Value(tag=tag, simple_value=value)
            for tag, value in scalars(record.metrics)
        ]
        self._write(record.iteration, summary=summary_pb2.Summary(value=values))

    def flush(self) -> None:
        """Waits until the disk has it."""
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()

    def _write(self, step: int, **what: Any) -> None:
        self._writer.write_event(event_pb2.Event(wall_time=time.time(), step=step, **what))


def scalars(metrics: Metrics) -> list[tuple[str, float]]:
    """Finite entries with their tags: `tag`, `tag/0`, `tag/1/2`."""
    entries: list[tuple[str, float]] = []
    for name, value in metrics.items():
        array = np.asarray(value)
        for index in np.ndindex(array.shape):
            if np.isfinite(array[index]):
                entries.append(("/".join([name, *map(str, index)]), float(array[index])))
    return entries


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records in a `metrics.jsonl`, without lines that are none, as one cut short by a crash.

    Args:
        path: the file; there are no records where there is none.

    Raises:
        OSError: it cannot be read.
    """
    require_file(path)
    records = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if _is_record(record):
                records.append(record)
    return records


def _is_record(data: Any) -> bool:
    kinds = {"stage": str, "iteration": int, "env_steps": int, "metrics": dict}
    return isinstance(data, dict) and all(
        isinstance(data.get(name), kind) for name, kind in kinds.items()
    )


def _drop_records_after(path: Path, stage: str, iteration: int) -> set[int]:
    """Keeps what precedes the checkpoint; returns the iterations of the stage that are there."""
    kept = [
        record
        for record in read_records(path)
        if record["stage"] != stage or record["iteration"] <= iteration
    ]
    if path.exists():
        temporary = path.with_name(f".{path.name}.tmp")
        lines = (json.dumps(record) + "\n" for record in kept)
        temporary.write_text("".join(lines), encoding="utf-8")
        temporary.replace(path)
    return {record["iteration"] for record in kept if record["stage"] == stage}
