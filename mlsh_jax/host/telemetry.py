"""What a run shows and keeps: the console, and sinks such as `metrics.jsonl` and TensorBoard.

On a terminal a progress line is kept up to date, of as many lines as its width takes; anywhere
else plain lines appear every few seconds. The sinks get every iteration.
"""

import contextlib
import datetime
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rich.box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mlsh_jax.host.sinks import JsonLines, Metrics, Record, Sink, TensorBoard

_SECONDS_BETWEEN_LINES = 5.0
_BOX = rich.box.SIMPLE_HEAD


class _Console(Console):
    """A console whose reader may go, as with `| head`; that counts as a closed terminal does."""

    def __init__(self) -> None:
        """Prints lines as they are."""
        super().__init__(highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Prints nowhere from now on, and raises SIGHUP."""
        with contextlib.suppress(SystemExit):  # what Rich would do
            super().on_broken_pipe()
        signal.raise_signal(signal.SIGHUP)


class Telemetry:
    """Sends the records of one stage to the console and to all sinks.

    Args:
        directory: the run directory; None where nothing but the console is to know.
        stage: name of the stage.
        num_iterations: iterations that the stage will have when it is finished.
        start_iteration: the iteration to continue after; later records are dropped.
        describe: picks what the console shows of the metrics, as label to text.
        console: where to print; the standard output by default.
        more_sinks: beside `metrics.jsonl` and TensorBoard.
    """

    def __init__(
        self,
        directory: Path | None,
        stage: str,
        *,
        num_iterations: int,
        start_iteration: int,
        describe: Callable[[Metrics], Mapping[str, str]],
        console: Console | None = None,
        more_sinks: Sequence[Sink] = (),
    ) -> None:
        """Opens the files."""
        self._stage = stage
        self._num_iterations = num_iterations
        self._describe = describe
        self._console = console or _Console()
        self._last_line: float | None = None
        self._sinks: list[Sink] = list(more_sinks)
        if directory is not None:
            self._open_files(directory, start_iteration)
        self._iteration = start_iteration
        self._figures: dict[str, str] = {}
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._progress, console=self._console)

    def __enter__(self) -> Self:
        """Shows the progress line."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leaves the last progress line standing and closes the sinks."""
        if self._live is not None:
            self._live.stop()
        self._all_sinks(lambda sink: sink.close())

    def log(self, record: Record) -> None:
        """Records one iteration everywhere."""
        self._all_sinks(lambda sink: sink.log(record))
        self._show(record)

    def note(self, text: str) -> None:
        """Prints a line of its own."""
        self._console.print(text, markup=False)

    def flush(self) -> None:
        """Puts everything recorded so far safely on disk."""
        self._all_sinks(lambda sink: sink.flush())

    def _open_files(self, directory: Path, start_iteration: int) -> None:
        """Opens the sinks of a run directory that can be opened."""
        with self._going_on_without(JsonLines.name):
            lines = JsonLines(directory / "metrics.jsonl", self._stage, start_iteration)
            self._sinks.append(lines)
            if lines.missing:
                lost = f"{lines.missing} of the {start_iteration} iterations before"
                self.note(f"{lines.name}: the records of {lost} are missing or damaged")
        with self._going_on_without(TensorBoard.name):
            events = directory / "tensorboard" / self._stage
            self._sinks.append(TensorBoard(events, start_iteration))

    @contextlib.contextmanager
    def _going_on_without(self, name: str) -> Iterator[None]:
        """Says that a sink cannot be written: no training ends for that."""
        try:
            yield
        except OSError as error:
            self._sinks = [sink for sink in self._sinks if sink.name != name]
            self.note(f"{name}: stopped ({error.strerror}); the training goes on without")

    def _all_sinks(self, call: Callable[[Sink], None]) -> None:
        """Leaves out from then on what cannot be written."""
        for sink in list(self._sinks):
            with self._going_on_without(sink.name):
                call(sink)

    def _show(self, record: Record) -> None:
        self._iteration, self._figures = record.iteration, self._figures_of(record)
        if self._live is not None:
            return  # it looks several times a second
        now = time.monotonic()
        first, last = self._last_line is None, record.iteration == self._num_iterations
        if first or last or now - (self._last_line or 0.0) >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            figures = "  ".join(f"{label} {text}" for label, text in self._figures.items())
            self.note(f"{self._stage} {record.iteration}/{self._num_iterations}  {figures}")

    def _figures_of(self, record: Record) -> dict[str, str]:
        seconds = max(record.wall_seconds, 1e-9)
        left = (self._num_iterations - record.iteration) * seconds / record.iteration
        return {
            "steps/s": f"{record.env_steps / seconds:,.0f}",
            **self._describe(record.metrics),
            "eta": str(datetime.timedelta(seconds=round(left))),
        }

    def _progress(self) -> RenderableType:
        """Bar, count and the time left, then the figures: beside them, or below where narrow."""
        eta = f"eta {self._figures['eta']}" if self._figures else ""
        parts = [f"{name} {text}" for name, text in self._figures.items() if name != "eta"]
        head: list[RenderableType] = [
            Text(self._stage, style="bold"),
            ProgressBar(total=self._num_iterations, completed=self._iteration, width=20),
            Text(f"{self._iteration}/{self._num_iterations}"),
            Text(eta),
        ]
        in_one = _in_a_row([*head, Text("  ".join(parts))])
        width = self._console.width
        boundless = self._console.options.update(max_width=10_000)
        if Measurement.get(self._console, boundless, in_one).maximum <= width:
            return in_one
        return Group(_in_a_row(head), *map(Text, _fill(parts, width)))


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
    """Prints rows with the same keys as a table whose columns are the keys.

    Where the window is too narrow for it, headings go on in the next line between words, and then
    columns go on in further tables, each with the first column.
    """
    console = console or Console(highlight=False)
    names = list(rows[0]) if rows else []
    cells = {name: [_cell(row[name]) for row in rows] for name in names}
    widths = {name: max(map(len, [*name.split(), *cells[name]])) for name in names}
    as_it_is = {name: max(widths[name], len(name)) for name in names}
    if _width(list(as_it_is.values())) <= console.width:
        widths = as_it_is
    for i, group in enumerate(_groups(widths, console.width)):
        table = Table(title=None if i else title, title_justify="left", box=_BOX, pad_edge=False)
        # What is too wide even alone is broken; by default it would be cut off.
        is_broken = _width([widths[name] for name in group]) > console.width
        for name in group:
            justify: Any = "right" if _is_number(rows[0][name]) else "left"
            width = None if is_broken else widths[name]
            table.add_column(name, justify=justify, overflow="fold", width=width)
        for row in zip(*(cells[name] for name in group), strict=True):
            table.add_row(*map(Text, row))
        console.print(table)


def _width(columns: Sequence[int]) -> int:
    """Of a table with columns of these widths: 3 spaces between two of them, one at each edge."""
    return sum(columns) + 3 * (len(columns) - 1) + 2


def _groups(widths: Mapping[str, int], width: int) -> list[list[str]]:
    """Columns that fit beside each other, the first one in every group."""
    if not widths:
        return [[]]
    first, *others = widths
    groups = [[first]]
    for name in others:
        if len(groups[-1]) > 1 and _width([widths[n] for n in [*groups[-1], name]]) > width:
            groups.append([first])
        groups[-1].append(name)
    return groups


def _in_a_row(parts: Sequence[RenderableType]) -> Table:
    grid = Table.grid(padding=(0, 1))
    for _ in parts:
        grid.add_column(no_wrap=True)
    grid.add_row(*parts)
    return grid


def _fill(parts: Sequence[str], width: int) -> list[str]:
    """Lines of whole parts, as many in each as fit."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += "  " + part
        else:
            lines.append(part)
    return lines


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if _is_number(value) else str(value)
