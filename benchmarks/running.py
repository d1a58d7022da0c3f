"""Measures the parts that were asked for, one case after another, and prints a table for each."""

import platform
import time
from collections.abc import Mapping, Sequence
from types import ModuleType

from benchmarks import ant, bodies, grids, growth, launches, measure, moving_bandits, sweep
from benchmarks.config import Config, Part
from benchmarks.measure import Case, Row
from benchmarks.records import Records
from mlsh_jax.host.devices import num_cores
from mlsh_jax.host.telemetry import print_table

PARTS: dict[Part, ModuleType] = {
    "ant": ant,
    "bodies": bodies,
    "moving_bandits": moving_bandits,
    "grids": grids,
    "sweep": sweep,
    "growth": growth,
    "launches": launches,
}
"""Each has a `TITLE`, and `cases(config)` with what is measured in processes of their own."""


def measure_parts(config: Config) -> None:
    """Measures, prints and writes.

    Raises:
        ConfigError: the output file holds something else.
    """
    records = Records(config.output)
    cases = {part: PARTS[part].cases(config) for part in config.parts or tuple(PARTS)}
    print(forecast(cases, records), flush=True)
    # In a process of its own, since an accelerator may be had by one process only.
    devices = measure.in_new_process(measure.devices)
    machine = f"{platform.machine()}, {num_cores()} cores, {devices}"
    for part, of_part in cases.items():
        rows = [row for case in of_part for row in _measure(part, case, records, machine)]
        if len(of_part) > 1:
            print_table(PARTS[part].TITLE, _without_lists(rows))
    print(f"written to {config.output}")


def forecast(cases: Mapping[Part, Sequence[Case]], records: Records) -> str:
    """One line on how long the cases will take: as long as last time, or by constants."""
    pairs = [(part, case) for part, of_part in cases.items() for case in of_part]
    known = [records.seconds(part, case.label) for part, case in pairs]
    seconds = [
        case.seconds if last is None else last for (_, case), last in zip(pairs, known, strict=True)
    ]
    if None not in known:
        basis = "as long as last time"
    elif not any(known):
        basis = "on 2 cores"
    else:
        basis = "on 2 cores, or as long as last time where a case is in the output file"
    noun = "case" if len(pairs) == 1 else "cases"
    return f"{len(pairs)} {noun}: about {_duration(sum(seconds))} {basis}"


def _measure(part: Part, case: Case, records: Records, machine: str) -> list[Row]:
    """Measures one case; every timing is printed and kept at once. Returns its table."""
    expected = records.seconds(part, case.label)
    expected = case.seconds if expected is None else expected
    print(f"{part}: {case.label} (about {_duration(expected)})", flush=True)

    def report(measured: Row) -> None:
        records.add(part, case, measured)
        print("  " + "  ".join(_named(*pair) for pair in measured.items()), flush=True)

    records.begin(part, case, machine)
    started = time.monotonic()
    rows = measure.in_new_process(case.function, *case.arguments, report=report)
    records.finish(part, case, rows, time.monotonic() - started)
    print_table(f"{PARTS[part].TITLE}\n{case.label}", _without_lists(rows))
    return rows


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _named(name: str, value: object) -> str:
    """A value with its name, where it does not say itself what it is."""
    if isinstance(value, float):
        return f"{name} {value:.1f}"
    if isinstance(value, int):
        return f"{name} {value:,}"
    return str(value) if name == "what" else f"{name} {value}"


def _without_lists(rows: Sequence[Row]) -> list[Row]:
    return [{name: x for name, x in row.items() if not isinstance(x, list)} for row in rows]
