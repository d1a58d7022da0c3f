"""Random command lines: each works, or is refused with one line, and none writes elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_lines import command_line
from fuzzing import QUICK, ROOT, Worker, files_below, generator
from launches import TINY, run_directories

CASES, PROCESSES = 300, 15

REQUIRED = {"report": "RUN", "transfer": "--env", "baseline": "--env", "bundle": "--run"}
"""The argument that a program names if it is missing; others need none."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of moving_bandits."""
    directory = tmp_path_factory.mktemp("finished")
    arguments = [*TINY, "--meta-iterations", "1", "--run-root", "root"]
    outcome = worker.run("experiments.moving_bandits", arguments, directory)
    assert outcome.exit_code == 0, outcome
    (run,) = run_directories(directory / "root")
    return run


@pytest.fixture(scope="module")
def files(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files and directories that an option may be given."""
    directory = tmp_path_factory.mktemp("files")
    contents = {
        "empty.json": b"",
        "object.json": b"{}",
        "list.json": b"[]",
        "number.json": b"1e999",
        "nan.json": b'{"seed": NaN}',
        "deep.json": b"[" * 100_000,
        "deep object.json": b'{"training": ' * 20_000,
        "wide.json": b'{"seed": ' + b"9" * 5000 + b"}",
        "binary.json": bytes(range(256)),
        "unknown.json": '{"ä\u202e\\u001b[31m": 1}'.encode(),
        "seed.json": b'{"seed": 3}',
    }
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    (directory / "empty").mkdir()
    other = shutil.copytree(finished, directory / "of another experiment")
    provenance = json.loads((other / "provenance.json").read_text())
    (other / "provenance.json").write_text(json.dumps(provenance | {"experiment": "ant_maze"}))
    bare = directory / "without configuration"
    bare.mkdir()
    shutil.copy(finished / "provenance.json", bare)
    locked = directory / "loop"
    locked.symlink_to(locked)
    made = [directory / name for name in contents]
    made += [directory / "empty", other, other / "config.json", bare, locked, directory / "missing"]
    return [*made, finished / "config.json", finished / "train", Path("/dev/null")]


@pytest.fixture
def here(tmp_path: Path, finished: Path) -> Path:
    """The directory that a command line is typed in, with a copy of a run and a file."""
    directory = tmp_path / "here"
    shutil.copytree(finished, directory / "root" / "run")
    (directory / "kept").write_text("kept")
    return directory


@pytest.mark.parametrize("number", range(CASES))
def test_every_command_line_works_or_is_refused_with_one_line(
    number, worker: Worker, files, finished, here
):
    line = command_line(generator("command line", number), files, finished)
    before = files_below(finished), [files_below(file) for file in files]
    outcome = worker.run(f"experiments.{line.name}", line.arguments, here, is_trained=False)
    outcome.assert_readable()
    assert before == (files_below(finished), [files_below(file) for file in files]), outcome
    if line.root:  # an empty one is this directory
        made = {path.name for path in here.iterdir()}
        assert made <= {"kept", "root", Path(line.root).parts[0]}, (made, outcome)
    assert (here / "kept").read_text() == "kept"
    if outcome.exit_code:
        # Of what has to be there nothing may be.
        is_missing = outcome.last_line.startswith(f"error: {REQUIRED.get(line.name)}: ")
        assert is_missing or names_something(outcome.last_line, line.arguments), outcome


@pytest.mark.parametrize("number", range(PROCESSES))
def test_a_process_of_its_own_says_the_same(number, worker: Worker, files, finished, here):
    rng, is_quick = generator("process", number), False
    while not is_quick:
        line = command_line(rng, files, finished)
        module = f"experiments.{line.name}"
        expected = worker.run(module, line.arguments, here, is_trained=False)
        is_quick = expected.exit_code > 0 or line.name in ("report", "bundle")
    done = subprocess.run(
        [sys.executable, "-m", module, *line.arguments],
        cwd=here,
        env=os.environ | QUICK | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (expected.exit_code, expected.stderr), expected


def names_something(message: str, arguments: list[str]) -> bool:
    """Whether a message has an option, a field or a value of the command line in it."""
    words = [part for argument in arguments for part in argument.split("=", 1)]
    words += [word.rpartition(".")[2] for word in words]
    said = plain(message)
    if any(not argument.strip() and repr(argument) in message for argument in arguments):
        return True
    return any(
        (plain(word) and plain(word) in said) or message.startswith(f"error: {word}: ")
        for word in words
        if word
    )


def plain(text: str) -> str:
    """A text in which options and fields look alike, and nothing gives orders to a terminal."""
    text = "".join(c if c.isprintable() or c.isspace() else ascii(c)[1:-1] for c in text)
    return " ".join(text.replace("_", "-").strip("-").split())
