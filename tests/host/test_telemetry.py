"""Every sink gets what it should, once."""

import errno
import io
import json
import re

import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto import event_pb2

from mlsh_jax.host.telemetry import Record, Telemetry, print_table, to_plain


def _record(iteration, **metrics):
    return Record(iteration, iteration * 3_000_000_000, iteration * 2.0, {"return": 1.5} | metrics)


def _telemetry(directory, output, *, stage="train", terminal=False, start=0, total=100):
    return Telemetry(
        directory,
        stage,
        num_iterations=total,
        start_iteration=start,
        describe=lambda metrics: {"return": f"{metrics['return']:.1f}", "usage": "[0.5]"},
        console=Console(file=output, force_terminal=terminal, width=120),
    )


def _lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def _events(directory):
    """Scalars of all event files as (step, tag, value), in order, with purges applied."""
    scalars = []
    for path in sorted(directory.glob("tensorboard/*/events*"), key=lambda p: p.stat().st_mtime):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            if event.session_log.status == event_pb2.SessionLog.START:
                scalars = [entry for entry in scalars if entry[0] < event.step]
            scalars += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
    return scalars


def test_metrics_are_recorded_at_every_iteration(tmp_path):
    with _telemetry(tmp_path, io.StringIO()) as telemetry:
        telemetry.log(_record(1, usage=[[0.25, 0.75]]))
        telemetry.log(_record(2, bad=float("nan"), worse=[float("inf"), 1.0]))
    first, second = _lines(tmp_path)
    assert first == {
        "stage": "train",
        "iteration": 1,
        "env_steps": 3_000_000_000,
        "wall_seconds": 2.0,
        "metrics": {"return": 1.5, "usage": [[0.25, 0.75]]},
    }
    assert second["metrics"] == {"return": 1.5, "bad": None, "worse": [None, 1.0]}
    assert _events(tmp_path) == [
        (1, "return", 1.5),
        (1, "usage/0/0", 0.25),
        (1, "usage/0/1", 0.75),
        (2, "return", 1.5),
        (2, "worse/1", 1.0),
    ]


def test_records_after_the_checkpoint_are_dropped_on_resume(tmp_path):
    with _telemetry(tmp_path, io.StringIO(), stage="before") as telemetry:
        telemetry.log(_record(9))
    with _telemetry(tmp_path, io.StringIO()) as telemetry:
        for iteration in (1, 2, 3):
            telemetry.log(_record(iteration))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "train", "iterat')
    with _telemetry(tmp_path, io.StringIO(), start=2) as telemetry:
        telemetry.log(_record(3, again=1.0))
    found = [(line["stage"], line["iteration"]) for line in _lines(tmp_path)]
    assert found == [("before", 9), ("train", 1), ("train", 2), ("train", 3)]
    assert _lines(tmp_path)[-1]["metrics"]["again"] == 1.0
    assert [step for step, tag, _ in _events(tmp_path / ".") if tag == "return"].count(3) == 1


DAMAGED = [
    b"[]",
    b'{"stage": "train"}',
    b'{"stage": 1, "iteration": 1}',
    b"[" * 100_000,
    b"\xff\x00",
]


def test_records_that_are_damaged_are_counted_and_left_out(tmp_path):
    with _telemetry(tmp_path, io.StringIO()) as telemetry:
        for iteration in (1, 2, 3):
            telemetry.log(_record(iteration))
    first, _, third = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([first, *DAMAGED, third]))
    output = io.StringIO()
    _telemetry(tmp_path, output, start=3).__exit__(None, None, None)
    told = "metrics.jsonl: the records of 1 of the 3 iterations before are missing or damaged\n"
    assert output.getvalue() == told
    assert [line["iteration"] for line in _lines(tmp_path)] == [1, 3]


def test_a_training_goes_on_without_files_that_cannot_be_opened(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    (tmp_path / "tensorboard").touch()
    output = io.StringIO()
    with _telemetry(tmp_path, output) as telemetry:
        telemetry.log(_record(1))
    for name in ("metrics.jsonl: stopped (Is a directory)", "TensorBoard: stopped ("):
        assert output.getvalue().count(name) == 1


class FullDisk:
    """A sink that cannot be written from some call on."""

    name = "full"

    def __init__(self, failing: str):
        self.failing, self.calls = failing, []

    def _call(self, what: str):
        self.calls.append(what)
        if what == self.failing:
            raise OSError(errno.ENOSPC, "No space left on device")

    def log(self, record):
        self._call("log")

    def flush(self):
        self._call("flush")

    def close(self):
        self._call("close")


@pytest.mark.parametrize(
    ("failing", "calls"),
    [
        ("log", ["log"]),
        ("flush", ["log", "log", "flush"]),
        ("close", ["log", "log", "flush", "close"]),
    ],
)
def test_a_sink_that_fails_is_left_out_and_named_once(tmp_path, failing, calls):
    sink, output = FullDisk(failing), io.StringIO()
    telemetry = _telemetry(tmp_path, output)
    telemetry._sinks.insert(0, sink)
    with telemetry:
        telemetry.log(_record(1))
        telemetry.log(_record(2))
        telemetry.flush()
    assert sink.calls == calls
    line = "full: stopped (No space left on device); the training goes on without"
    assert output.getvalue().splitlines().count(line) == 1
    assert [line["iteration"] for line in _lines(tmp_path)] == [1, 2]


def test_plain_lines_are_the_first_the_last_and_few_between(tmp_path):
    output = io.StringIO()
    with _telemetry(tmp_path, output) as telemetry:
        for iteration in range(1, 101):
            telemetry.log(_record(iteration))
    first, last = output.getvalue().splitlines()
    assert first == ("train 1/100  steps/s 1,500,000,000  return 1.5  usage [0.5]  eta 0:03:18")
    assert last.startswith("train 100/100 ") and last.endswith("eta 0:00:00")


def test_a_terminal_gets_a_progress_line(tmp_path):
    output = io.StringIO()
    with _telemetry(tmp_path, output, terminal=True, total=2) as telemetry:
        telemetry.log(_record(1))
        telemetry.log(_record(2))
    text = output.getvalue()
    assert "2/2" in text and "return 1.5  usage [0.5]" in text
    assert text.rstrip("\n").count("\n") <= 1


def test_host_metrics_are_exact():
    values = np.float32([0.1, 1e-45, 3e38])
    plain = to_plain({"v": values, "n": np.int32(2**31 - 1), "flag": np.bool_(True)})
    assert np.float32(plain["v"]).tobytes() == values.tobytes()
    assert plain["n"] == 2**31 - 1 and plain["flag"] == 1.0


def test_a_table_shows_its_rows():
    output = io.StringIO()
    rows = [{"name": "a [b]", "steps": 12345, "return": 0.123456}]
    print_table("title", rows, Console(file=output, width=80))
    text = output.getvalue()
    assert "title" in text
    assert "a [b]" in text and "12,345" in text and "0.1235" in text


def test_a_narrow_table_hides_nothing():
    output = io.StringIO()
    print_table("title", [{"subpolicy": 1.0, "master": "right"}], Console(file=output, width=20))
    assert "…" not in output.getvalue()
    assert "subpolicy" in output.getvalue() and "right" in output.getvalue()


@pytest.mark.parametrize(
    ("num_subpolicies", "tasks"),
    [(2, ["point_0", "point_1"]), (3, [f"training_maze_{m}" for m in range(13)])],
)
def test_closing_tables_are_readable_in_80_columns(num_subpolicies, tasks):
    alone = [f"sub-policy {k} alone" for k in range(num_subpolicies)]
    rows = [
        {"task": task, "initial return": -12.345678, "adapted return": 1234.5678}
        | dict.fromkeys(alone, 43.761)
        | {"success rate": "100% → 100%", "at end": "100%"}
        | {"usage": " ".join(["0.33"] * num_subpolicies)}
        for task in tasks
    ]
    output = io.StringIO()
    print_table("title", rows, Console(file=output, width=80, force_terminal=True))
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in output.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    words = [word for line in lines for word in line.split()]
    for name in rows[0]:  # whole words, and every value in each row
        assert set(name.split()) <= set(words)
    for value in ("-12.35", "1235", "100% → 100%", " ".join(["0.33"] * num_subpolicies)):
        assert sum(value in line for line in lines) == len(rows)
    assert words.count("43.76") == len(rows) * num_subpolicies
    assert all(task in words for task in tasks)


@pytest.mark.parametrize("width", [80, 160])
def test_progress_shows_its_bar_count_and_time_left_first(tmp_path, width):
    output = io.StringIO()
    figures = {
        "return": "12.34 → 43.76",
        "usage": "[0.50 0.50] [0.50 0.50]",
        "by task": "[1.5 2.5]",
    }
    telemetry = Telemetry(
        tmp_path,
        "train",
        num_iterations=25,
        start_iteration=0,
        describe=lambda metrics: figures,
        console=Console(file=output, force_terminal=True, width=width, color_system=None),
    )
    with telemetry:
        telemetry.log(_record(2))
    shown = re.split(r"\x1b\[[0-9;?]*[A-Za-z]|\r", output.getvalue())
    text = "".join(shown).rstrip()
    lines = text[text.rindex("train ") :].splitlines()
    assert re.match(r"train +[━╺╸ ]+ +2/25 +eta 0:00:46", lines[0])
    assert max(map(len, lines)) <= width and (len(lines) > 1) == (width == 80)
    for name, value in figures.items():
        assert any(f"{name} {value}" in line for line in lines)


def test_an_empty_table_is_only_a_title():
    output = io.StringIO()
    print_table("title", [], Console(file=output, width=80))
    assert output.getvalue().strip() in ("", "title")
