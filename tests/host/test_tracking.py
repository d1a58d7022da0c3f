"""Weights & Biases, or what stands in for it: the same records, and never in the way."""

import json
import sys
import threading
import types

import pytest
from toy_experiment import PRESETS

from mlsh_jax.errors import ConfigError
from mlsh_jax.host import tracking
from mlsh_jax.host.launch import parse
from mlsh_jax.host.sinks import Record
from mlsh_jax.host.tracking import Tracker

FAKE = """
import json, pathlib
class Settings(dict):
    def __init__(self, **options): super().__init__(options)
class Run:
    offline = True
    def __init__(self, options):
        self.dir = options["dir"]
        self.file = pathlib.Path(self.dir, "tracked").open("a")
        self.write("init", {name: options[name] for name in ("id", "resume", "group", "config")})
    def write(self, *what): print(json.dumps(what), file=self.file, flush=True)
    def define_metric(self, name, step_metric): self.write("metric", name, step_metric)
    def log(self, entries): self.write("log", entries)
    def finish(self): self.write("finish")
def init(**options): return Run(options)
"""


@pytest.fixture
def fake_wandb(monkeypatch):
    """A module `wandb` that writes what it is told to `tracked` in the run directory."""
    module = types.ModuleType("wandb")
    exec(FAKE, module.__dict__)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def _told(directory):
    return [json.loads(line) for line in (directory / "tracked").read_text().splitlines()]


def _ids(directory):
    return [what[1]["id"] for what in _told(directory) if what[0] == "init"]


def _record(iteration):
    metrics = {"return": 1.5, "usage": [0.25, float("nan")]}
    return Record(iteration, 10 * iteration, 2.0, metrics)


def test_every_number_of_a_record_is_sent_under_its_stage(fake_wandb, tmp_path):
    tracker = Tracker(tmp_path, "toy", {"seed": 3})
    for stage in ("first", "second"):
        tracker.stage(stage).log(_record(1))
    tracker.close()
    begin, *middle, end = _told(tmp_path)
    kept = json.loads((tmp_path / "wandb.json").read_text())
    assert begin == ["init", {**kept, "resume": "allow", "group": "toy", "config": {"seed": 3}}]
    for i, stage in enumerate(("first", "second")):
        numbers = {"iteration": 1, "env_steps": 10, "wall_seconds": 2.0, "return": 1.5}
        entries = numbers | {"usage/0": 0.25}
        assert middle[2 * i] == ["metric", f"{stage}/*", f"{stage}/iteration"]
        assert middle[2 * i + 1] == ["log", {f"{stage}/{k}": v for k, v in entries.items()}]
    assert end == ["finish"]


def test_a_continued_run_keeps_its_id_and_others_have_their_own(fake_wandb, tmp_path):
    for name in ("one", "one", "other"):
        (tmp_path / name).mkdir(exist_ok=True)
        Tracker(tmp_path / name, "toy", {}).close()
    one, again = _ids(tmp_path / "one")
    (other,) = _ids(tmp_path / "other")
    assert one == again != other


@pytest.mark.parametrize("failing", ["init", "log", "finish"])
def test_a_tracker_that_fails_says_so_once_and_stops_nothing(
    fake_wandb, tmp_path, monkeypatch, capfd, failing
):
    def fail(*arguments, **options):
        raise SystemExit("the network\nis gone")

    monkeypatch.setattr(fake_wandb if failing == "init" else fake_wandb.Run, failing, fail)
    tracker = Tracker(tmp_path, "toy", {})
    sink = tracker.stage("train")
    for iteration in (1, 2, 3):
        sink.log(_record(iteration))
    sink.flush()
    sink.close()
    tracker.close()
    text = "wandb: stopped (the network is gone); the training goes on without it\n"
    assert capfd.readouterr().err.count(text) == 1


def test_a_tracker_that_hangs_is_not_waited_for(fake_wandb, tmp_path, monkeypatch, capfd):
    forever = threading.Event()
    monkeypatch.setattr(fake_wandb, "init", lambda **options: forever.wait())
    monkeypatch.setattr(tracking, "_PATIENCE_SECONDS", 0.1)
    tracker = Tracker(tmp_path, "toy", {})
    tracker.stage("train").log(_record(1))
    tracker.close()
    assert "does not answer" in capfd.readouterr().err
    forever.set()


def test_without_wandb_its_option_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"^--track: .* pip install -e '\.\[wandb\]'$") as error:
        parse("toy", PRESETS, ["--track", "wandb"])
    assert error.value.exit_code == 2


def test_a_directory_named_wandb_is_not_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", types.ModuleType("wandb"))
    with pytest.raises(ConfigError, match="--track: "):
        parse("toy", PRESETS, ["--track", "wandb"])


def test_other_trackers_are_refused():
    with pytest.raises(ConfigError, match=r"--track: must be one of .*, got 'comet'"):
        parse("toy", PRESETS, ["--track", "comet"])


@pytest.mark.whole
def test_a_run_is_tracked_over_its_stages_and_when_it_is_continued(start_toy, tmp_path):
    (tmp_path / "wandb.py").write_text(FAKE)
    options = ["--iterations", "2", "--track", "wandb", "--devices", "1"]
    output, errors = start_toy(*options, path=tmp_path).communicate(timeout=120)
    assert "--track wandb --resume " in output, errors
    (directory,) = (tmp_path / "runs" / "toy").iterdir()
    logged = [what[1] for what in _told(directory) if what[0] == "log"]
    iterations = [(name, x) for what in logged for name, x in what.items() if "iteration" in name]
    assert iterations == [(f"{s}/iteration", i) for s in ("first", "second") for i in (1, 2)]
    assert _told(directory)[-1] == ["finish"]

    resume = ["--resume", str(directory), "--track", "wandb"]
    _, errors = start_toy(*resume, path=tmp_path).communicate(timeout=120)
    assert len(_ids(directory)) == 2 and len(set(_ids(directory))) == 1
    assert errors == f"wandb: offline, in {directory}\n"
