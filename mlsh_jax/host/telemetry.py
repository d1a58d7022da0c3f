"""One logger with several sinks: the console, `metrics.jsonl` and TensorBoard.

On a terminal a progress line is kept up to date; anywhere else plain lines appear every few
seconds. The files get every iteration. When a run continues from a checkpoint, the records after
that checkpoint are dropped first, so a finished file does not show that the run ever stopped.
"""

import dataclasses
import datetime
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text
from tensorboardX import SummaryWriter

Metrics = Mapping[str, Any]
"""Name to a float or a (nested) list of floats."""

_SECONDS_BETWEEN_LINES = 5.0


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


class Telemetry:
    """Sends the records of one stage to the console, `metrics.jsonl` and TensorBoard.

    Args:
        directory: the run directory.
        stage: name of the stage.
        num_iterations: iterations that the stage will have when it is finished.
        start_iteration: the iteration to continue after; later records are dropped.
        describe: picks what the console shows of the metrics, as label to text.
        console: where to print; the standard output by default.
    """

    def __init__(
        self,
        directory: Path,
        stage: str,
        *,
        num_iterations: int,
        start_iteration: int,
        describe: Callable[[Metrics], Mapping[str, str]],
        console: Console | None = None,
    ) -> None:
        """Opens the files."""
        self._stage = stage
        self._num_iterations = num_iterations
        self._describe = describe
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._last_line: float | None = None
        path = directory / "metrics.jsonl"
        _drop_records_after(path, stage, start_iteration)
        self._file = path.open("a", encoding="utf-8")
        self._writer = SummaryWriter(
            str(directory / "tensorboard" / stage), purge_step=start_iteration + 1
        )
        self._progress: Progress | None = None
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}", markup=False),
                console=self._console,
            )
            self._task = self._progress.add_task(
                stage, total=num_iterations, completed=start_iteration, status=""
            )

    def __enter__(self) -> Self:
        """Shows the progress line."""
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leaves the last progress line standing and closes the files."""
        if self._progress is not None:
            self._progress.stop()
        self._file.close()
        self._writer.close()

    def log(self, record: Record) -> None:
        """Records one iteration everywhere."""
        line = {"stage": self._stage, **dataclasses.asdict(record)}
        self._file.write(json.dumps(_finite_or_null(line), allow_nan=False) + "\n")
        self._file.flush()
        for tag, value in _scalars(record.metrics):
            self._writer.add_scalar(tag, value, record.iteration)
        self._show(record)

    def note(self, text: str) -> None:
        """Prints a line of its own."""
        self._console.print(text, markup=False)

    def flush(self) -> None:
        """Puts everything recorded so far safely on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._writer.flush()

    def _show(self, record: Record) -> None:
        if self._progress is not None:
            self._progress.update(
                self._task, completed=record.iteration, status=self._status(record)
            )
            return
        now = time.monotonic()
        first, last = self._last_line is None, record.iteration == self._num_iterations
        if first or last or now - (self._last_line or 0.0) >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            count = f"{record.iteration}/{self._num_iterations}"
            self.note(f"{self._stage} {count}  {self._status(record)}")

    def _status(self, record: Record) -> str:
        seconds = max(record.wall_seconds, 1e-9)
        left = (self._num_iterations - record.iteration) * seconds / record.iteration
        parts = {
            "steps/s": f"{record.env_steps / seconds:,.0f}",
            **self._describe(record.metrics),
            "eta": str(datetime.timedelta(seconds=round(left))),
        }
        return "  ".join(f"{label} {text}" for label, text in parts.items())


class Silence:
    """A `Telemetry` that sends its records nowhere, for all processes but the first."""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is open."""

    def log(self, record: Record) -> None:
        """Drops it."""

    def note(self, text: str) -> None:
        """Drops it."""

    def flush(self) -> None:
        """Nothing was kept."""


def to_plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays on the host as Python floats and (nested) lists, exactly."""
    return {name: np.asarray(value).astype(np.float64).tolist() for name, value in metrics.items()}


def print_table(
    title: str, rows: Sequence[Mapping[str, object]], console: Console | None = None
) -> None:
    """Prints rows with the same keys as a table whose columns are the keys."""
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ():
        justify: Any = "right" if _is_number(rows[0][name]) else "left"
        # In a narrow window long words go on in the next line; by default they are cut off.
        table.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    (console or Console(highlight=False)).print(table)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if _is_number(value) else str(value)


def _drop_records_after(path: Path, stage: str, iteration: int) -> None:
    """Keeps what precedes the checkpoint; a line cut short by a crash goes as well."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record["stage"] != stage or record["iteration"] <= iteration:
            kept.append(line + "\n")
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)


def _finite_or_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite_or_null(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite_or_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _scalars(metrics: Metrics) -> list[tuple[str, float]]:
    """Finite entries with their TensorBoard tags: `tag`, `tag/0`, `tag/1/2`."""
    entries: list[tuple[str, float]] = []
    for name, value in metrics.items():
        array = np.asarray(value)
        for index in np.ndindex(array.shape):
            if np.isfinite(array[index]):
                entries.append(("/".join([name, *map(str, index)]), float(array[index])))
    return entries
