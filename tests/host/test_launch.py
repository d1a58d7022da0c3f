"""The command line: presets, overrides, and one line for every mistake."""

import dataclasses
import gc
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy_experiment import PRESETS, ToyConfig, WalkConfig

from experiments.__main__ import main as experiments_main
from experiments.table import TABLE, module_name
from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host.launch import parse, run_main
from mlsh_jax.host.options import call

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).with_name("toy_experiment.py")


def _parse(*arguments):
    return parse("toy", PRESETS, list(arguments))


def test_without_arguments_the_default_preset_is_used():
    launch = _parse()
    assert (launch.preset, launch.config) == ("default", PRESETS["default"].config)
    assert (launch.run_root, launch.resume) == (Path("runs"), None)


@pytest.mark.parametrize("arguments", [("--preset", "slow"), ("--preset=slow",)])
def test_a_preset_is_where_overrides_start_from(arguments):
    launch = _parse(*arguments, "--seed", "3")
    assert (launch.preset, launch.config.seed, launch.config.iterations) == ("slow", 3, 100)


@pytest.mark.parametrize(
    ("arguments", "config"),
    [
        (("--seed=4",), ToyConfig(seed=4)),
        (("--walk.decay", "0.5"), ToyConfig(walk=WalkConfig(decay=0.5))),
        (("--walk.sizes", "1", "2", "3"), ToyConfig(walk=WalkConfig(sizes=(1, 2, 3)))),
        (("--no-fast",), ToyConfig(fast=False)),
    ],
)
def test_any_field_can_be_overridden(arguments, config):
    assert _parse(*arguments).config == config


def test_underscores_and_hyphens_mean_the_same():
    assert _parse("--run_root", "x") == _parse("--run-root", "x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sed", "3"), r"--sed: unknown option \(did you mean --seed"),
        (("--decay", "3"), r"--decay: unknown option \(did you mean --walk.decay\?"),
        (("--walk.decya=3",), r"--walk.decya: unknown option \(did you mean --walk.decay"),
        (("--seed", "x"), r"--seed: .*'x'"),
        (("--seed",), "--seed"),
        (("--walk.sizes", "1", "x"), r"--walk.sizes: .*'x'"),
        (("--devices", "two"), "--devices: must be a number or all, got 'two'$"),
        (("--devices", "0"), "--devices: must be from 1 to "),
        (("--process-id", "0"), "--coordinator: give host:port with num_processes"),
        (("--walk.decay", "-3"), r"--walk.decay: must be > 0, got -3.0$"),
        (("--iterations", "0"), "--iterations: must be at least 1, got 0$"),
        (("--fast", "maybe"), "unexpected value 'maybe'"),
        (("--preset", "slwo"), r"--preset: unknown preset 'slwo' \(did you mean slow\?\); known: "),
        (("--preset",), "--preset: unknown preset ''; known: default, slow"),
        (("--resume=None",), "--resume: must be a run directory, got None"),
        (("--resume", "r", "--seed", "1"), "--seed: cannot be given with --resume"),
        (("--preset", "slow", "--resume=r"), "--preset: cannot be given with --resume"),
    ],
)
def test_every_mistake_is_one_line_that_names_the_option(arguments, message, capfd):
    with pytest.raises(ConfigError, match=message) as error:
        _parse(*arguments)
    assert "\n" not in str(error.value) and "│" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--run", "x", "--directroy=y"],
            r"--directroy: unknown option \(did you mean --directory",
        ),
        ([], "--run: is required"),
        (["--run"], "--run: needs a value"),
        (["--run", "x", "--count", "many"], "--count: .*'many'"),
        (["--count", "1", "stray"], "unexpected value 'stray'"),
    ],
)
def test_every_mistake_with_a_tool_is_one_line_as_well(arguments, message, capfd):
    def tool(run: Path, *, directory: Path = Path(), count: int | None = 1) -> None:
        raise AssertionError("called")

    with pytest.raises(ConfigError, match=f"^{message}") as error:
        call(tool, arguments, "tool")
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", [-1, 2**32, 2**63, 10**23])
def test_a_seed_that_would_be_that_of_another_run_is_refused(seed):
    with pytest.raises(ConfigError, match=f"^--seed: must be from 0 to 4294967295, got {seed}$"):
        _parse(f"--seed={seed}")


def test_a_file_changes_the_preset(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"seed": 5, "walk": {"decay": 0.5}}')
    launch = _parse("--preset", "slow", "--config", str(file), "--walk.decay", "0.25")
    slow = PRESETS["slow"].config
    expected = dataclasses.replace(slow, seed=5, walk=WalkConfig(0.25, slow.walk.sizes))
    assert (launch.preset, launch.config) == ("mine", expected)


def test_a_file_that_is_no_configuration_of_this_experiment_is_refused(tmp_path):
    file = tmp_path / "config.json"
    for text, words in (
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"sede": 5}', "sede: unknown field"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=f"^--config: .*config.json: {words}"):
            _parse("--config", str(file))
    file.write_text("{}")
    assert _parse("--config", str(file)).config == PRESETS["default"].config
    (tmp_path / "provenance.json").write_text('{"experiment": "game"}')
    with pytest.raises(ConfigError, match=r"is the configuration of game, not of toy$"):
        _parse("--config", str(file))


def test_a_link_that_leads_to_itself_is_no_configuration(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(ConfigError, match=r"^--config: .*link: cannot be read .*symbolic links"):
        _parse("--config", str(link))


def test_help_lists_presets_and_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        _parse("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "python -m experiments.toy" in text
    for name, preset in PRESETS.items():
        assert re.search(rf"{name} +{preset.description}", text)
    for option in ("--preset", "--resume", "--run-root", "--seed", "--walk.decay", "--no-fast"):
        assert option in text
    assert "how much of the position is kept" in text


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (ConfigError("seed: too\nlong"), 2, "error: seed: too long\n"),
        (RunError("diverged"), 1, "error: diverged\n"),
        (ConfigError("x: got \x1b[31mred\u202e"), 2, "error: x: got \\x1b[31mred\\u202e\n"),
        (OSError(36, "File name too long", "x" * 9), 1, "error: xxxxxxxxx: File name too long\n"),
    ],
)
def test_errors_for_a_person_are_one_line_and_an_exit_code(error, exit_code, line, capsys):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as stop:
        run_main(main)
    assert stop.value.code == exit_code
    assert capsys.readouterr().err == line


@pytest.fixture(autouse=True)
def process_as_before(monkeypatch):
    """Takes back what `run_main` does to the process."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1"))
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_a_screen_without_our_letters_shows_others():
    command = [sys.executable, "-m", "experiments.moving_bandits", "--help"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, cwd=ROOT, env=environment, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--meta-iterations" in done.stdout and "gamma, per transition" in done.stdout
    assert done.stdout.isascii() and "?" not in done.stdout


def test_other_errors_keep_their_traceback():
    def main(argv):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        run_main(main)


def test_success_is_exit_code_zero():
    with pytest.raises(SystemExit) as stop:
        run_main(lambda argv: None)
    assert stop.value.code == 0


def test_a_mistake_ends_the_process_with_one_line(start_toy, tmp_path):
    process = start_toy("--sed", "3")
    assert process.communicate() == (
        "",
        "error: --sed: unknown option (did you mean --seed?); see --help\n",
    )
    assert process.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("start", [["my toy.py"], ["-m", "mine.toy"], ["-m", "mine"]])
def test_the_command_that_continues_a_run_is_how_it_was_started(start, tmp_path):
    here = tmp_path / "a $(exit 3) 'b'"
    (here / "mine").mkdir(parents=True)
    for copy in ("my toy.py", "mine/toy.py", "mine/__main__.py"):
        shutil.copy(TOY, here / copy)
    (here / "mine" / "__init__.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(command, **options):
        result = subprocess.run(
            command, cwd=here, env=environment, capture_output=True, text=True, **options
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    options = ["--iterations", "1", "--run-root", "my runs", "--devices", "1"]
    output = run([sys.executable, *start, *options])
    (line,) = (line for line in output.splitlines() if "continue with: " in line)
    again = run(line.partition("continue with: ")[2], shell=True)
    assert output.partition("digest")[2].split()[0] in again
    assert " --devices 1 --resume " in line and line in again


def test_a_call_from_python_is_continued_as_an_experiment():
    command = _parse("--devices", "all").command
    assert command[1:] == ("-m", "experiments.toy", "--devices", "all")


def test_help_does_not_wait_for_jax():
    modules = [*map(module_name, TABLE), "benchmarks.__main__"]
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        importlib.import_module(name).main(['--help'])\n"
        "    except SystemExit:\n"
        "        slow = {'jax', 'brax', 'flax', 'optuna', 'matplotlib'} & set(sys.modules)\n"
        "        print('imported for', name, sorted(slow))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program, *modules],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert output.stdout.count("usage: python -m ") == len(modules)
    imported = [line for line in output.stdout.splitlines() if line.startswith("imported for")]
    assert imported == [f"imported for {module} []" for module in modules]


def test_experiments_are_listed_and_unknown_ones_refused(capsys):
    experiments_main([])
    text = capsys.readouterr().out
    for name, entry in TABLE.items():
        assert f"{name} " in text and entry.description in text
    with pytest.raises(ConfigError, match="nope: unknown experiment"):
        experiments_main(["nope"])


def test_mujoco_does_not_talk_about_its_optional_backend():
    pytest.importorskip("mujoco.mjx")
    assert _print_of("import envs.base, mujoco.mjx as mjx; print(mjx.Model.__name__)") == "Model"


@pytest.mark.whole
@pytest.mark.parametrize(
    "first",
    [
        "import mlsh_jax.mlsh, envs.wrappers, envs",
        pytest.param("import envs", marks=pytest.mark.slow),
    ],
)
def test_making_an_ant_prints_nothing_even_with_programs_from_the_cache(first, tmp_path):
    program = (
        f"{first}, jax; env = envs.make('ant_twowalk'); "
        "print(jax.jit(lambda key: env.sample_task(key))(jax.random.key(0)))"
    )
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    assert [_print_of(program, **cache) for _ in range(2)] == ["[0. 1.]", "[0. 1.]"]
    assert any(tmp_path.iterdir())


def test_the_modules_of_experiments_leave_the_process_as_it_is():
    program = (
        "import gc, os, sys; before = gc.get_threshold(), dict(os.environ), list(sys.meta_path); "
        "import experiments; print(before == (gc.get_threshold(), dict(os.environ), sys.meta_path))"
    )
    assert _print_of(program) == "True"


def _print_of(program, **environment):
    """What a program prints that must print one line and nothing on stderr."""
    inherited = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    return result.stdout.rstrip()


def test_a_limit_in_which_jax_could_not_start_is_one_line(tmp_path):
    experiment = f"{sys.executable} -m experiments.moving_bandits --run-root {tmp_path}"
    done = subprocess.run(
        f"ulimit -v 2000000; {experiment}", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    words = r"error: the memory of this process is limited to 2\.05 GB .* raise the limit\n"
    assert re.fullmatch(words, done.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [MemoryError("no room"), RuntimeError("RESOURCE_EXHAUSTED: no room\nat 3")]
)
def test_memory_that_is_out_is_one_line_that_says_what_to_lower(error, capsys):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as stop:
        run_main(main)
    assert stop.value.code == 1
    assert re.fullmatch(
        r"error: out of memory \(.*no room\); lower num_envs .*\n", capsys.readouterr().err
    )
