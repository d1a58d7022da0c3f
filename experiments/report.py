"""Learning curves and a table over seeds, of any runs: `python -m experiments.report RUN…`.

Runs that differ in nothing but their seed are a group; a group is named after what differs between
groups. Numbers are interquartile means over seeds with 95 % bootstrap intervals (Agarwal et al.
2021, arXiv 2108.13264).
"""

import csv
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.harness.comparison import SHARES, improvements, profiles, shares_of_best
from experiments.harness.recorded import Recorded, find_runs, group_runs, newest_of_each
from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host.launch import run_main
from mlsh_jax.host.options import call
from mlsh_jax.statistics import Interval, interquartile_interval

_POINTS = 100  # of a curve, where runs were not recorded at the same env steps
_CLOSING = ("adapted_return", "success_rate")
"""Numbers of `summary.json` that have a column, where any run has them."""
_INTERVALS = (*_CLOSING, "share_of_best")
"""Columns that hold an interval, where they hold anything."""
Curve = tuple[np.ndarray, list[Interval]]
"""Places `[I]` and what was measured there."""
Curves = Mapping[str, Curve]
"""By their names."""
OPTIONAL = (
    "improvement.csv", "profiles.csv", "profiles.png", "episodes.csv", "episodes.png",
)  # fmt: skip
"""Files that a report has where there is something to say in them."""
_ADAPTATION = "adaptation"
"""What the curve is called that fresh masters have when all is trained."""
_TITLES = {_ADAPTATION: "adaptation, of one task"}
_MOST_PAIRS = 30  # of groups, in report.md


def main(argv: Sequence[str] | None = None) -> None:
    """Reports on what the command line names."""
    call(report, argv, "python -m experiments.report")


def report(
    runs: tyro.conf.Positional[tuple[Path, ...]],
    out: Path = Path("report"),
    metric: str = "return",
) -> None:
    """Writes `report.md`, `report.csv`, `curves.csv` and `curves.png`.

    And `improvement.csv` where there are several groups of a world, `profiles.csv` and
    `profiles.png` where it is known what is possible, `episodes.csv` and `episodes.png` where
    masters have adapted.

    Args:
        runs: run directories, or directories that hold them.
        out: the directory to write into.
        metric: of `metrics.jsonl`, for the curves; an entry of a vector is `divergence/0`.

    Raises:
        ConfigError: there are no runs, or none has the metric.
        RunError: a run cannot be read, or nothing can be written.
    """
    if not runs:
        raise ConfigError("RUN: name at least one run directory, such as runs/moving_bandits")
    kept, left_out = newest_of_each(find_runs(runs))
    groups = group_runs(kept)
    curves = {label: curves_of(group, metric) for label, group in groups.items()}
    if not any(curves.values()):
        raise ConfigError(f"--metric: no run has recorded {metric!r}; {_recorded_metrics(kept)}")
    by_episodes = {label: c for label, group in groups.items() if (c := by_episodes_of(group))}
    rows = [{"group": label} | row_of(group) for label, group in groups.items()]
    pairs, shares = improvements(groups), profiles(groups)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write_csv(out / "report.csv", [_numbers_of(row) for row in rows])
        _write_csv(out / "curves.csv", list(_points_of(curves)))
        for name in OPTIONAL:  # of a report that was here before
            (out / name).unlink(missing_ok=True)
        if by_episodes:
            _write_csv(out / "episodes.csv", list(_lines_of(by_episodes, "episodes")))
            _draw(out / "episodes.png", {_TITLES[_ADAPTATION]: by_episodes}, "episodes", "return")
        _draw(out / "curves.png", _panels_of(curves), "env steps", metric)
        if pairs:
            _write_csv(out / "improvement.csv", [_numbers_of(pair) for pair in pairs])
        if shares:
            panel = {label: (SHARES, intervals) for label, intervals in shares.items()}
            _write_csv(out / "profiles.csv", list(_lines_of(panel, "share_of_best")))
            title = "of the best possible return"
            _draw(out / "profiles.png", {title: panel}, "share of it", "share of runs and tasks")
        figures = {"Return by episodes of a task": "episodes.png"} if by_episodes else {}
        figures |= {"Share of runs and tasks": "profiles.png"} if shares else {}
        text = markdown(rows, pairs, figures, kept, left_out, metric)
        (out / "report.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"--out: {out}: cannot be written ({error.strerror})") from None
    print(text)
    print(f"report: {out / 'report.md'}")


def row_of(group: Sequence[Recorded]) -> dict[str, Any]:
    """A line of the table: numbers and intervals over the seeds of a group.

    Columns that no run of the group has are None. Costs are medians over finished runs. A mean of
    the middle half hides seeds that failed, so that there is the lowest of all as well: of the
    returns, of the returns on the worst task, and of how far sub-policies are apart.
    """
    finished = [run for run in group if run.summary is not None]
    shares = shares_of_best(finished)

    def closing(name: str) -> list[float]:
        return [x for run in finished if (x := run.closing(name)) is not None]

    def over_seeds(name: str) -> Interval | None:
        values = closing(name)
        return interquartile_interval(values) if values else None

    def median(name: str) -> int | None:
        values = closing(name)
        return round(float(np.median(values))) if values else None

    def lowest(values: Iterable[float | None]) -> float | None:
        return min((value for value in values if value is not None), default=None)

    return {
        "seeds": len(group),
        "finished": len(finished),
        **{name: over_seeds(name) for name in _CLOSING},
        "share_of_best": None if shares is None else interquartile_interval(shares),
        "lowest_return": lowest(closing("adapted_return")),
        "lowest_task_return": lowest(run.lowest_task_return for run in finished),
        "least_nats_apart": lowest(n for run in finished for n in run.divergence if n < math.inf),
        "env_steps": median("env_steps"),
        "wall_seconds": median("wall_seconds"),
    }


def curves_of(group: Sequence[Recorded], metric: str) -> dict[str, Curve]:
    """Env steps and a metric over the seeds of a group, by stage.

    A curve goes as far as every run of the group has come in that stage. The return has one of the
    adaptation as well, by the env steps that a task has had.
    """
    stages = dict.fromkeys(stage for run in group for stage in run.records)
    of_runs = {stage: [run.curve(stage, metric) for run in group] for stage in stages}
    if metric == "return":
        of_runs[_ADAPTATION] = [run.adaptation("env_steps") for run in group]
    curves = {stage: _over_runs(of_stage) for stage, of_stage in of_runs.items()}
    return {stage: curve for stage, curve in curves.items() if curve is not None}


def by_episodes_of(group: Sequence[Recorded]) -> Curve | None:
    """Episodes that a task has had and the return of the adaptation, over the seeds of a group."""
    return _over_runs([run.adaptation("episodes") for run in group])


def _over_runs(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> Curve | None:
    """Curves of R runs as one, as far as all go; None where none has one."""
    points = [(places, values) for places, values in curves if len(places)]
    if not points:
        return None
    places = _common_places([places for places, _ in points])
    if not len(places):
        return None
    values = np.stack([np.interp(places, *curve) for curve in points])  # [R, I]
    return places, [interquartile_interval(column) for column in values.T]


def markdown(
    rows: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    figures: Mapping[str, str],
    runs: Sequence[Recorded],
    left_out: Sequence[Recorded],
    metric: str,
) -> str:
    """The table, the figure and where they come from."""
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    lines = [
        "# Report",
        "",
        "Interquartile means over seeds with 95 % bootstrap intervals; of the share of the best "
        "possible return over seeds and tasks. The lowest return is that "
        "of the worst seed, the lowest task return that on the worst task of any seed, and the "
        "least nats apart are how little any two sub-policies of a seed differ. Env steps and "
        "seconds are medians of the finished runs, compilation included.",
        "",
        f"| {' | '.join(name.replace('_', ' ') for name in columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(_cell(row[name]) for name in columns)} |" for row in rows),
        "",
        f"![{metric}](curves.png)",
        "",
        *_warnings_of(runs),
        *_pairs_in_words(pairs),
        *(line for title, name in figures.items() for line in (f"![{title}]({name})", "")),
        f"{len(runs)} runs:",
        "",
        *(f"- `{run.directory}`" for run in runs),
    ]
    if left_out:
        lines += [
            "",
            "Left out, as a later run has the same configuration and seed:",
            "",
            *(f"- `{run.directory}`" for run in left_out),
        ]
    return "\n".join(lines) + "\n"


def _warnings_of(runs: Sequence[Recorded]) -> list[str]:
    lines = [f"- `{run.directory}`: {line}" for run in runs for line in run.warnings]
    return ["What runs have warned of:", "", *lines, ""] if lines else []


def _pairs_in_words(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    if not pairs:
        return []
    if len(pairs) > _MOST_PAIRS:
        return [f"How {len(pairs)} pairs of groups compare is in `improvement.csv`.", ""]
    return [
        "How probable it is that a run of a group does better on a task than one of another (95 % "
        "bootstrap intervals; 0.5 is no difference):",
        "",
        "| group | than | tasks | probability |",
        "|---|---|---|---|",
        *(f"| {' | '.join(map(_cell, pair.values()))} |" for pair in pairs),
        "",
    ]


def _common_places(places: Sequence[np.ndarray]) -> np.ndarray:
    """Env steps or episodes at which the curves of some runs are compared."""
    first, last = max(x[0] for x in places), min(x[-1] for x in places)
    if last <= first:  # in one place or in none
        return np.asarray([last] if last == first else [])
    shortest = min(places, key=len)
    if all(np.array_equal(x[: len(shortest)], shortest) for x in places):
        return shortest
    return np.linspace(first, last, _POINTS)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def _numbers_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the table with an interval in three columns."""
    numbers: dict[str, Any] = {}
    for name, value in row.items():
        if name in _INTERVALS or isinstance(value, Interval):
            estimate, low, high = value or (None, None, None)
            numbers |= {name: estimate, f"{name}_low": low, f"{name}_high": high}
        else:
            numbers[name] = value
    return numbers


def _points_of(
    curves: Mapping[str, Curves],
) -> Iterator[dict[str, Any]]:
    """Every point of every curve, as lines of a table."""
    for label, stages in curves.items():
        for stage, (steps, intervals) in stages.items():
            for step, interval in zip(steps, intervals, strict=True):
                place = {"group": label, "stage": stage, "env_steps": int(step)}
                yield place | interval._asdict()


def _lines_of(curves: Curves, column: str) -> Iterator[dict[str, Any]]:
    """Every point of the curves of one panel, as lines of a table; places in a column."""
    for label, (places, intervals) in curves.items():
        for place, interval in zip(places.tolist(), intervals, strict=True):
            yield {"group": label, column: round(place, 2)} | interval._asdict()


def _panels_of(
    curves: Mapping[str, Curves],
) -> dict[str, dict[str, Curve]]:
    """Curves by stage and group, of which each stage has a panel."""
    panels: dict[str, dict[str, Curve]] = {}
    for label, stages in curves.items():
        for stage, curve in stages.items():
            panels.setdefault(_TITLES.get(stage, stage), {})[label] = curve
    return panels


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _draw(
    path: str | os.PathLike[str],
    panels: Mapping[str, Curves],
    x_label: str,
    y_label: str,
) -> None:
    """A panel for every title, a line with its band for every label."""
    # Imported with all of matplotlib, for which --help does not wait.
    from mlsh_jax.viz import curves

    lines = {
        title: [
            curves.Curve(label, x, *np.asarray(intervals).T) for label, (x, intervals) in of.items()
        ]
        for title, of in panels.items()
    }
    curves.plot_curves(path, lines, x_label=x_label, y_label=y_label)


def _recorded_metrics(runs: Sequence[Recorded]) -> str:
    """What could have been asked for; of a vector its first entry."""

    def tag(name: str, value: Any) -> str:
        return tag(f"{name}/0", value[0]) if isinstance(value, list) and value else name

    names = {
        tag(name, value)
        for run in runs
        for records in run.records.values()
        for record in records[:1]
        for name, value in record["metrics"].items()
    }
    return f"they have {', '.join(sorted(names))}" if names else "they have recorded nothing yet"


if __name__ == "__main__":
    run_main(main)
