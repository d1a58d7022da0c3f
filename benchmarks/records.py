"""The file in which benchmarks keep what they measured, while they measure it.

It holds `{part: {label of a case: entry}}`. An entry has what was measured on the way
("measured": one record for each timing), the rows of its table once it is done, the machine, the
date, and how long the case took. Whatever ends a benchmark, the other cases are still there.
"""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Case, Row
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.serialization import write_json


class Records:
    """What a file holds, written anew after each addition.

    Args:
        path: JSON file; made, with directories around it, where there is none.

    Raises:
        ConfigError: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        """Reads what is there; writes nothing."""
        self.path = path
        self.parts: dict[str, dict[str, Any]] = _read(path) if path.exists() else {}

    def seconds(self, part: str, label: str) -> float | None:
        """How long a case took when it was last measured to its end, None if it never was."""
        return self.parts.get(part, {}).get(label, {}).get("seconds")

    def begin(self, part: str, case: Case, machine: str) -> None:
        """Replaces what there is of a case, but for how long it took."""
        self.parts.setdefault(part, {})[case.label] = {
            "date": datetime.date.today().isoformat(),
            "machine": machine,
            "seconds": self.seconds(part, case.label),
            "measured": [],
            "rows": [],
        }
        self._write()

    def add(self, part: str, case: Case, measured: Row) -> None:
        """Keeps one timing."""
        self.parts[part][case.label]["measured"].append(measured)
        self._write()

    def finish(self, part: str, case: Case, rows: Sequence[Row], seconds: float) -> None:
        """Keeps the table of a case that is done, and how long it took."""
        self.parts[part][case.label] |= {"rows": list(rows), "seconds": round(seconds, 1)}
        self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self.parts)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        entries = [entry for cases in parts.values() for entry in cases.values()]
        if all({"seconds", "measured", "rows"} <= entry.keys() for entry in entries):
            return parts
    except (OSError, ValueError, AttributeError):
        pass
    raise ConfigError(f"--output: {path}: holds no benchmarks of this version; name another file")
