"""What is refused in directories that come from someone else, beyond what test_runs.py has."""

import os

import pytest

from experiments.harness.checkpoints import copy_subpolicies
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.foreign import require_file, require_no_links, require_no_way_out


@pytest.fixture
def run(tmp_path):
    directory = tmp_path / "run"
    (directory / "train" / "checkpoints").mkdir(parents=True)
    (directory / "wandb" / "x").mkdir(parents=True)
    (directory / "metrics.jsonl").touch()
    (tmp_path / "precious").mkdir()
    require_no_way_out(directory)
    return directory


def test_no_way_out_leads_through_what_belongs_to_weights_and_biases(run, tmp_path):
    (run / "wandb" / "x" / "checkpoints").symlink_to(tmp_path / "precious")
    require_no_way_out(run)
    (run / "tensorboard").symlink_to("wandb/x")
    with pytest.raises(ConfigError, match=r"tensorboard: is a link"):
        require_no_way_out(run)


def test_only_the_run_s_own_wandb_is_left_to_it(run, tmp_path):
    (run / "train" / "wandb").mkdir()
    (run / "train" / "wandb" / "checkpoints").symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigError, match=r"train/wandb/checkpoints: is a link"):
        require_no_way_out(run)


@pytest.mark.parametrize("target", ["link", "nothing"])
def test_a_link_that_leads_nowhere_is_refused(run, target):
    (run / "link").symlink_to(target)
    with pytest.raises(ConfigError, match=r"run/link: is a link"):
        require_no_way_out(run)


@pytest.mark.parametrize("name", [".lock", "train/checkpoints/5"])
def test_a_pipe_in_a_run_is_not_waited_for(run, name):
    os.mkfifo(run / name)
    for require in (require_no_way_out, require_no_links):
        with pytest.raises(ConfigError, match=rf"{name}: is neither a file nor a directory"):
            require(run)
    with pytest.raises(OSError, match="is not a file"):
        require_file(run / name)


def test_what_cannot_be_listed_may_hide_a_link(run, monkeypatch):
    scandir = os.scandir

    def forbidding(path):
        if str(path).endswith("train"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidding)  # root may list everything
    with pytest.raises(ConfigError, match=r"train: cannot be listed \(Permission denied\)"):
        require_no_way_out(run)


@pytest.mark.parametrize("target", ["../precious", ".", "metrics.jsonl"])
def test_what_a_checkpoint_links_to_is_not_copied(run, tmp_path, target):
    checkpoint = run / "train" / "checkpoints"
    (checkpoint / "notes").symlink_to(target)
    with pytest.raises(ConfigError, match=r"notes: is a link, and what it leads to is not copied"):
        copy_subpolicies(checkpoint, tmp_path / "copies")
    assert not (tmp_path / "copies").exists()
