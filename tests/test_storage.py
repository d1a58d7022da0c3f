"""Databases of studies: secrets stay out of runs, and runs name none."""

import dataclasses
import json

import optuna
import pytest
import sqlalchemy

from experiments.sweep import PRESETS
from experiments.sweeps.storage import open_storage, require_named
from experiments.sweeps.sweeping import sweep
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.launch import parse
from mlsh_jax.host.serialization import to_json

ALONE = PRESETS["smoke"].config
SHARED = dataclasses.replace(ALONE, storage="sqlite:///x.db", study="rates")


def test_a_password_comes_from_the_environment_and_is_never_shown(monkeypatch):
    opened = []

    def open_and_fail(url):
        opened.append(sqlalchemy.make_url(url).password)
        raise ValueError(f"no answer from {url}")

    monkeypatch.setattr(optuna.storages, "get_storage", open_and_fail)
    monkeypatch.setenv("SECRET", "a1b2@c")
    urls = [f"postgresql://me:{place}@host/studies" for place in ("$SECRET", "${SECRET}")]
    for url in [*urls, "postgresql://me@host/studies?sslpassword=$SECRET&timeout=3"]:
        with pytest.raises(ConfigError, match="cannot be opened") as error:
            open_storage(url)
        assert url in str(error.value)
        assert "a1b2" not in str(error.value)
    assert opened == ["a1b2@c"] * 2 + [None]
    for url, words in (
        ("postgresql://me:$NOTHING@host/studies", "the variable NOTHING is not set"),
        ("postgresql://me:a1b2@host/studies", "a password in it would be kept"),
        ("postgresql://host/studies?password=a1b2", "a password in it would be kept"),
        ("postgresql://host/studies?passwd=a1b2&timeout=3", "a password in it would be kept"),
        ("postgresql://me:a1b2@host:port/studies", "is no URL of a database"),
    ):
        with pytest.raises(ConfigError, match=words) as error:
            open_storage(url)
        assert "a1b2" not in str(error.value)
    assert len(opened) == 3


@pytest.mark.parametrize(
    ("asked", "kept", "message"),
    [
        (ALONE, SHARED, r"add --storage sqlite:///x.db --study rates if"),
        (dataclasses.replace(SHARED, study="other"), SHARED, "opened only where you name it"),
        (dataclasses.replace(SHARED, storage="sqlite:///y.db"), SHARED, "a run may come from"),
        (SHARED, ALONE, "keeps its study in its own directory"),
        (dataclasses.replace(ALONE, study="x"), ALONE, "keeps its study in its own directory"),
        (
            ALONE,
            dataclasses.replace(SHARED, storage="sqlite:///x'$(evil)"),
            r"""'sqlite:///x'"'"'\$\(evil\)' --study""",
        ),
    ],
)
def test_a_run_opens_no_database_that_the_command_line_does_not_name(asked, kept, message):
    with pytest.raises(ConfigError, match=f"^--storage: .*{message}"):
        require_named(asked, kept)
    require_named(dataclasses.replace(kept, trials=9), kept)


@pytest.mark.parametrize(
    ("kept", "typed"),
    [
        ("sqlite:///x.db", "postgresql://me:a1b2@host/studies"),
        ("postgresql://me:a1b2@host/studies", "sqlite:///x.db"),
        ("postgresql://me:a1b2@host/studies", "postgresql://me:a1b2@host/studies"),
        ("sqlite:///x.db", "sqlite:///y.db"),
    ],
)
def test_a_sweep_that_may_not_be_continued_notes_and_shows_nothing(kept, typed, tmp_path, capfd):
    provenance = {"experiment": "sweep", "preset": "smoke", "sessions": []}
    config = to_json(dataclasses.replace(SHARED, storage=kept))
    for name, data in (("config", config), ("provenance", provenance)):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    asked = ["--resume", str(tmp_path), "--storage", typed, "--study", "rates"]
    with pytest.raises(ConfigError, match=r"^--storage: ") as error:
        sweep(parse("sweep", PRESETS, asked))
    shown = "".join(capfd.readouterr()) + str(error.value)
    assert "a1b2" not in shown
    assert json.loads((tmp_path / "provenance.json").read_text()) == provenance


def test_a_configuration_names_no_database_either(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(to_json(SHARED)))
    with pytest.raises(ConfigError, match=r"storage: only the command line sets it: add --storage"):
        parse("sweep", PRESETS, ["--config", str(file)])
    typed = ["--storage", "sqlite:///y.db", "--study", "z"]
    launch = parse("sweep", PRESETS, ["--config", str(file), *typed])
    assert (launch.config.storage, launch.config.study) == ("sqlite:///y.db", "z")
    parse("sweep", PRESETS, ["--resume", str(tmp_path), *typed])
