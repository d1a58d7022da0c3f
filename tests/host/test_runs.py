"""Run directories are made once, opened by one process, and say what they are."""

import dataclasses
import json
import os
import shlex
import subprocess

import pytest

from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host import runs
from mlsh_jax.host.runs import create_run, digest_of_code, open_run


@dataclasses.dataclass(frozen=True)
class Config:
    rate: float = 0.5


def _create(root, seed=0):
    command = ["python", "-m", "mine.toy"]
    return create_run(root, "toy", "default", seed, Config(0.25), command=command)


def test_a_run_directory_records_configuration_and_provenance(tmp_path):
    run = _create(tmp_path / "a" / "b", seed=7)
    assert run.directory.parent == tmp_path / "a" / "b" / "toy"
    assert run.directory.name.endswith("-default-s7")
    assert json.loads((run.directory / "config.json").read_text()) == {"rate": 0.25}
    provenance = json.loads((run.directory / "provenance.json").read_text())
    assert provenance["experiment"] == "toy" and provenance["seed"] == 7
    (session,) = provenance["sessions"]
    assert session["packages"]["jax"] and session["devices"] and session["argv"]
    assert {"git", "python", "started"} <= session.keys()


def test_runs_started_in_the_same_second_do_not_share_a_directory(tmp_path):
    directories = {_create(tmp_path).directory for _ in range(4)}
    assert len(directories) == 4


def test_a_run_is_opened_with_its_configuration_and_notes_the_resume(tmp_path):
    run = _create(tmp_path)
    run.close()
    opened, config = open_run(run.directory, "toy", Config)
    assert config == Config(0.25)
    assert len(json.loads((opened.directory / "provenance.json").read_text())["sessions"]) == 2


def test_a_configuration_that_was_changed_meanwhile_is_told(tmp_path, capsys):
    directory = _create(tmp_path).directory
    for _ in range(2):
        open_run(directory, "toy", Config)[0].close()
    assert capsys.readouterr().out == ""
    (directory / "config.json").write_text('{"rate": 0.75}')
    for _ in range(2):
        open_run(directory, "toy", Config)[0].close()
    line = f"{directory / 'config.json'}: rate is 0.75 now, 0.25 in the last session\n"
    assert capsys.readouterr().out == line


def test_a_run_in_use_cannot_be_opened(tmp_path):
    run = _create(tmp_path)
    with pytest.raises(RunError, match="another process is writing this run"):
        open_run(run.directory, "toy", Config)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "not a run directory"),
        (lambda d: (d / "config.json").write_text("{"), "cannot be read"),
        (lambda d: (d / "config.json").write_text('{"rat": 1}'), "rat: unknown field"),
        (lambda d: (d / "config.json").write_text("[" * 100_000), "cannot be read"),
        (lambda d: (d / "provenance.json").write_text("[]"), "holds no JSON object"),
        (lambda d: (d / "provenance.json").write_text("{}"), "is a run of None"),
        (
            lambda d: (d / "provenance.json").write_text('{"experiment": "toy", "preset": ""}'),
            "provenance.json: cannot be read .has no 'sessions'",
        ),
    ],
)
def test_what_is_not_a_run_is_refused_by_its_path(tmp_path, break_it, message):
    run = _create(tmp_path)
    run.close()
    break_it(run.directory)
    with pytest.raises((ConfigError, RunError), match=message) as error:
        open_run(run.directory, "toy", Config)
    assert str(run.directory) in str(error.value)


def test_how_to_continue_can_be_pasted_into_a_shell(tmp_path):
    root = tmp_path / "a b" / "$(exit 3)" / "c'"
    run = _create(root)
    words = shlex.split(run.how_to_continue.removeprefix("continue with: "))
    assert words == ["python", "-m", "mine.toy", "--resume", str(run.directory)]


def test_runs_of_older_code_do_not_say_how_they_were_started(tmp_path):
    run = _create(tmp_path)
    run.close()
    path = run.directory / "provenance.json"
    provenance = json.loads(path.read_text())
    del provenance["sessions"][0]["command"]
    path.write_text(json.dumps(provenance))
    with pytest.raises(ConfigError, match=r"is a run of toy, not of bandits$"):
        open_run(run.directory, "bandits", Config)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ([".venv/bin/python", "-m", "experiments.toy", "--devices", "2"], "; use python -m exp"),
        (["sh", "-c", "experiments.toy; evil"], "$"),
        (["python", "-m", "pip", "install", "evil"], "$"),
        ([1, 2, 3], "$"),
        (None, "$"),
    ],
)
def test_a_run_gives_nobody_a_command_of_its_own_to_type(tmp_path, command, hint):
    run = _create(tmp_path)
    run.close()
    path = run.directory / "provenance.json"
    provenance = json.loads(path.read_text())
    provenance["sessions"][0]["command"] = command
    path.write_text(json.dumps(provenance))
    with pytest.raises(ConfigError, match=f"is a run of toy, not of bandits{hint}"):
        open_run(run.directory, "bandits", Config)


def test_code_that_is_in_no_commit_is_said_not_to_be(tmp_path, monkeypatch):
    code = tmp_path / "runs.py"
    code.write_text("x = 1\n")

    def git(*arguments):
        name = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *name, *arguments], check=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(runs, "__file__", str(code))
    clean = runs.code_and_versions()["git"]
    assert len(clean["commit"]) == 40 and not clean["dirty"]
    code.write_text("x = 2\n")
    assert runs.code_and_versions()["git"] == clean | {"dirty": True}
    git("commit", "-q", "-a", "-m", "second")
    assert not runs.code_and_versions()["git"]["dirty"]
    (tmp_path / "more.py").write_text("")
    assert runs.code_and_versions()["git"]["dirty"]


def test_copies_of_the_code_are_told_apart(tmp_path):
    assert digest_of_code() == digest_of_code()
    (tmp_path / "envs").mkdir()
    seen = [digest_of_code(tmp_path)]
    for name, text in (("a.py", "x = 1"), ("a.py", "x = 2"), ("b.py", "")):
        (tmp_path / "envs" / name).write_text(text)
        seen.append(digest_of_code(tmp_path))
    assert len(set(seen)) == 4
    (tmp_path / "envs" / "c.txt").write_text("no code")
    assert digest_of_code(tmp_path) == seen[-1]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (".lock", "precious/file"),
        ("metrics.jsonl", "precious/file"),
        ("train/metrics.jsonl", "precious/file"),
        ("train", "precious"),
        ("train/checkpoints", "precious"),
        ("train/checkpoints", ".."),
        ("trials/3/train/checkpoints", "precious"),
        ("train/checkpoints", "nowhere"),
        ("wandb", "precious"),
    ],
)
def test_a_run_writes_through_no_link(tmp_path, name, target):
    run = _create(tmp_path)
    run.close()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    link = run.directory / name
    link.parent.mkdir(exist_ok=True, parents=True)
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / target)
    with pytest.raises(ConfigError, match=f"{name}: is a link"):
        open_run(run.directory, "toy", Config)
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["file"]
    assert (tmp_path / "precious" / "file").read_text() == "mine"


def test_a_run_may_be_linked_to_and_have_its_own_links_and_those_of_weights_and_biases(tmp_path):
    run = _create(tmp_path)
    run.close()
    newest = run.directory / "wandb" / "run-3"
    newest.mkdir(parents=True)
    (newest / "debug.log").symlink_to(tmp_path / "cache of wandb")
    (run.directory / "wandb" / "latest-run").symlink_to("run-3")
    (run.directory / "best").symlink_to("config.json")
    (tmp_path / "link").symlink_to(run.directory)
    run, _ = open_run(tmp_path / "link", "toy", Config)
    run.close()


def test_a_missing_run_or_one_of_another_experiment_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such run directory"):
        open_run(tmp_path / "nope", "toy", Config)
    run = _create(tmp_path)
    run.close()
    with pytest.raises(ConfigError, match=r"is a run of toy, not of bandits"):
        open_run(run.directory, "bandits", Config)


def test_a_root_that_checkpoints_cannot_be_read_from_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^run_root: .* below a name with \["):
        _create(tmp_path / "runs [old]")
    assert not list(tmp_path.iterdir())


def test_an_unusable_run_root_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"^run_root: .*: cannot be written"):
        _create(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_run_root_is_reported(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Permission denied"):
        _create(tmp_path)


def test_the_summary_replaces_the_one_before(tmp_path):
    run = _create(tmp_path)
    run.write_summary({"a": 1})
    run.write_summary({"b": 2})
    assert json.loads((run.directory / "summary.json").read_text()) == {"b": 2}
    assert not list(run.directory.glob("*.tmp"))
