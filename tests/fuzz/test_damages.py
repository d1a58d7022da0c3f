"""Run directories that were damaged: what cannot go on says so, and what does ends the same."""

import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fuzzing import Outcome, Worker, arrays_of, files_below, generator, records_of, summary_of
from launches import TINY, run_directories

CASES = 100
TOYS = 80
"""Of the cases, those of the toy experiment; the others are of moving_bandits."""

COMMANDS = {
    "toy_experiment": ["--iterations", "7"],
    "experiments.moving_bandits": [*TINY, "--meta-iterations", "3", "--checkpoint-every", "1"],
}
IMPORTANT = ["config.json", "provenance.json", "metrics.jsonl", "summary.json"]
OUTSIDE = "outside"
"""A directory beside the run, in which nothing may be written."""

TEXTS = [
    b"",
    b"[]",
    b"{}",
    b"null",
    b"NaN",
    b"[" * 100_000,
    b'{"a": ' * 50_000,
    b"\xff\x00{",
    b"1e999",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[bool, Path]]:
    """Of each experiment a run that has finished, and the same as it was before its last stage."""
    made = {}
    for module, options in COMMANDS.items():
        directory = tmp_path_factory.mktemp("made")
        outcome = worker.run(module, [*options, "--run-root", "root"], directory)
        assert outcome.exit_code == 0, outcome
        (finished,) = run_directories(directory / "root")
        interrupted = shutil.copytree(finished, directory / "interrupted")
        (interrupted / "summary.json").unlink()
        shutil.rmtree(interrupted / "second", ignore_errors=True)
        stage = "first" if module == "toy_experiment" else "train"
        saved = sorted((interrupted / stage / "checkpoints").iterdir(), key=lambda p: int(p.name))
        shutil.rmtree(saved[-1])
        made[module] = {True: finished, False: interrupted}
    return made


@pytest.mark.parametrize("number", range(CASES))
def test_a_damage_is_told_or_changes_nothing(number, worker: Worker, runs, tmp_path):
    rng = generator("damage", number)
    module = list(COMMANDS)[number >= TOYS]
    whole, directory = runs[module], tmp_path / "here"
    run = directory / "run"
    shutil.copytree(whole[rng.random() < 0.3], run)
    (directory / OUTSIDE).mkdir()
    (directory / OUTSIDE / "kept").touch()
    damage = damaged(rng, run)
    print(damage)
    before = files_below(run)
    is_transferred_or_told(worker, directory, whole[True], damage)
    outcome = worker.run("experiments.report", ["run", "--out", "report"], directory)
    outcome.assert_readable()
    assert outcome.exit_code == 0 or "run" in outcome.last_line, outcome
    assert files_below(run) == before, "reading changes nothing"
    outcome = worker.run(module, ["--resume", "run"], directory)
    outcome.assert_readable()
    assert [path.name for path in (directory / OUTSIDE).iterdir()] == ["kept"], outcome
    if outcome.exit_code:
        assert re.search(r"\brun[:/]", outcome.last_line), outcome
    # Where another value is still a possible one, it is told.
    elif not (damage.endswith(" config.json") and "config.json: " in outcome.stdout):
        is_the_same(whole[True], run, damage, outcome)


def is_transferred_or_told(worker: Worker, directory: Path, whole: Path, damage: str) -> None:
    """Masters get sub-policies as they were saved, or none."""
    arguments = ["--preset", "smoke", "--checkpoint", "run", "--env", "moving_bandits"]
    outcome = worker.run(
        "experiments.transfer", [*arguments, "--run-root", "root"], directory, is_trained=False
    )
    outcome.assert_readable()
    if outcome.exit_code:
        assert str(directory / "run") in outcome.last_line, outcome
        return
    (made,) = run_directories(directory / "root")
    (copy,) = (made / "subpolicies" / "checkpoints").iterdir()
    expected = arrays_of(whole / "train" / "checkpoints" / copy.name / "subpolicies")
    found = arrays_of(copy / "subpolicies")
    assert found.keys() == expected.keys(), (damage, outcome)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=f"{damage}, {name}\n{outcome}")


def is_the_same(whole: Path, run: Path, damage: str, outcome: Outcome) -> None:
    """A run has ended in the same states and with the same numbers."""
    for checkpoints in whole.glob("*/checkpoints"):
        last = max(checkpoints.iterdir(), key=lambda path: int(path.name)) / "trainer"
        expected, found = arrays_of(last), arrays_of(run / last.relative_to(whole))
        assert found.keys() == expected.keys(), (damage, outcome)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=f"{damage}, {name}")
    assert summary_of(run) == summary_of(whole), (damage, outcome)
    if "metrics.jsonl" not in damage + outcome.stdout:
        assert records_of(run) == records_of(whole), (damage, outcome)


def damaged(rng: random.Random, run: Path) -> str:
    """Damages one thing in a run directory; says what was done to which."""
    paths = sorted(run.rglob("*"))
    important = [run / name for name in IMPORTANT if (run / name).exists()]
    important += [path for path in paths if path.name == "checksums.json"]
    newest = [max(d.iterdir(), key=lambda p: int(p.name)) for d in run.glob("*/checkpoints")]
    in_newest = [path for path in paths if any(path.is_relative_to(each) for each in newest)]
    path = rng.choice(rng.choice([important, paths, in_newest]))
    damages: list[Callable[[random.Random, Path], object]] = [
        delete, replace_by_directory, replace_by_link, replace_by_loop, replace_by_text, forbid
    ]  # fmt: skip
    if path.is_file() and path.stat().st_size:
        damages += [truncate, zero, flip_a_bit, flip_a_bit, add_garbage, scramble]
    damage = rng.choice(damages)
    damage(rng, path)
    return f"{damage.__name__} {path.relative_to(run)}"


def delete(rng: random.Random, path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def replace_by_directory(rng: random.Random, path: Path) -> None:
    delete(rng, path)
    path.mkdir()


def replace_by_link(rng: random.Random, path: Path) -> None:
    delete(rng, path)
    outside = next(folder for folder in path.parents if folder.name == "run").with_name(OUTSIDE)
    path.symlink_to(rng.choice(["/dev/null", "nowhere", outside, "."]))


def replace_by_loop(rng: random.Random, path: Path) -> None:
    delete(rng, path)
    path.symlink_to(path.name)


def replace_by_text(rng: random.Random, path: Path) -> None:
    delete(rng, path)
    path.write_bytes(rng.choice(TEXTS))


def forbid(rng: random.Random, path: Path) -> None:
    path.chmod(0)  # which root does not mind


def truncate(rng: random.Random, path: Path) -> None:
    os.truncate(path, rng.choice([0, path.stat().st_size // 2, rng.randrange(path.stat().st_size)]))


def zero(rng: random.Random, path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip_a_bit(rng: random.Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def add_garbage(rng: random.Random, path: Path) -> None:
    path.write_bytes(path.read_bytes() + rng.choice([rng.randbytes(20), b"\n", b"{}\n", b"[]\n"]))


def scramble(rng: random.Random, path: Path) -> None:
    path.write_bytes(rng.randbytes(path.stat().st_size))
