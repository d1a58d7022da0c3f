"""No code comes from the directory of a run, and no database is opened for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlsh_jax.errors import ConfigError
from mlsh_jax.host import imports
from mlsh_jax.host.serialization import to_json

ROOT = Path(__file__).parents[2]
EVIL = "print('evil code ran')\nPRESETS = {}\n"


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    """A directory that gives no code, below one in which modules are looked for."""
    monkeypatch.syspath_prepend(str(tmp_path))
    guard = imports._Guard()
    monkeypatch.setattr(imports, "_GUARD", guard)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    imports.refuse_code_from(tmp_path / "runs" / "foreign")
    return tmp_path / "runs" / "foreign"


@pytest.mark.parametrize("place", ["evil.py", "deep/evil.py", "evil/__init__.py"])
@pytest.mark.parametrize("is_package", [False, True])
def test_a_module_in_the_directory_is_refused_before_anything_of_it_runs(
    guarded, place, is_package, capsys
):
    (guarded / place).parent.mkdir(parents=True, exist_ok=True)
    (guarded / place).write_text(EVIL)
    if is_package:
        (guarded / "__init__.py").write_text(EVIL)
    name = f"runs.foreign.{place.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}"
    with pytest.raises(ConfigError, match=r"^runs\.foreign: is in the directory of a run"):
        __import__(name)
    assert capsys.readouterr().out == ""


def test_a_link_into_the_directory_is_one_of_its_modules(guarded):
    guarded.mkdir(parents=True)
    (guarded / "evil.py").write_text(EVIL)
    (guarded.parents[1] / "linked.py").symlink_to(guarded / "evil.py")
    with pytest.raises(ConfigError, match="linked: is in the directory of a run"):
        __import__("linked")


def test_modules_beside_the_directory_are_imported(guarded, capsys):
    guarded.mkdir(parents=True)
    (guarded.parent / "mine.py").write_text("print('mine')")
    __import__("runs.mine")
    assert capsys.readouterr().out == "mine\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "runs.foreign.evil"}, "from which no code is imported"),
        ({"storage": "sqlite:///evil.db", "study": "x"}, "opened only where you name it"),
    ],
)
def test_a_sweep_that_came_from_someone_runs_no_code_and_opens_no_database(
    tmp_path, changes, message
):
    from experiments.sweep import PRESETS

    foreign = tmp_path / "runs" / "foreign"
    foreign.mkdir(parents=True)
    (foreign / "evil.py").write_text(EVIL)
    config = to_json(PRESETS["default"].config) | changes
    (foreign / "config.json").write_text(json.dumps(config))
    provenance = {"experiment": "sweep", "preset": "default", "sessions": []}
    (foreign / "provenance.json").write_text(json.dumps(provenance))
    command = [sys.executable, "-m", "experiments.sweep", "--resume", "runs/foreign"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=100,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert "evil code ran" not in done.stdout
    assert done.returncode == 2
    assert not list(tmp_path.rglob("evil.db"))
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert done.stderr.count("\n") == 1
