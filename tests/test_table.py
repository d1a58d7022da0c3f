"""The table of experiments, and their presets."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
from experiments import table
from experiments.__main__ import main as experiments_main
from mlsh_jax.host.serialization import from_json, to_json

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", [*table.names("training", "course"), "transfer", "sweep"])
def test_every_preset_survives_the_way_through_json(name):
    presets = importlib.import_module(table.module_name(name)).PRESETS
    assert {"default", "smoke"} <= presets.keys()
    assert "paper" in presets or name == "sweep"
    for preset in presets.values():
        data = json.loads(json.dumps(to_json(preset.config)))
        assert from_json(type(preset.config), data) == preset.config


def test_the_table_has_every_module_that_can_be_run():
    package = Path(experiments.__file__).parent
    modules = {path.stem for path in package.glob("*.py") if "run_main(" in path.read_text()}
    assert modules - {"__main__"} == set(table.TABLE)


@pytest.mark.parametrize("name", table.TABLE)
def test_what_the_table_says_of_a_module_is_so(name):
    module = importlib.import_module(table.module_name(name))
    assert callable(module.main)
    kind = table.TABLE[name].kind
    assert hasattr(module, "make_env") == (kind == "training")
    assert kind == "tool" or hasattr(module, "PRESETS")


@pytest.mark.parametrize("name", table.TABLE)
def test_everything_in_the_table_is_run_by_its_name(name, capsys):
    with pytest.raises(SystemExit) as stop:
        experiments_main([name, "--help"])
    assert not stop.value.code
    assert f"python -m experiments.{name}" in " ".join(capsys.readouterr().out.split())


def test_the_table_is_read_without_importing_jax():
    code = "import sys, experiments.table; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
