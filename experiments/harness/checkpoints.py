"""Which checkpoint a person means: by a path, or by the name of bundled sub-policies.

Wherever an experiment takes a checkpoint, `ant_twowalk` is as good as the path of a run, unless
something of that name exists.
"""

import contextlib
import json
import shutil
from pathlib import Path

from experiments.table import BUNDLED
from mlsh_jax.agent import SubPolicies
from mlsh_jax.config import MLSHConfig
from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.errors import CheckpointError, RunError
from mlsh_jax.host import processes
from mlsh_jax.host.checkpoint import COMMITTED, TRAINER, resolve, seal
from mlsh_jax.host.foreign import require_no_links
from mlsh_jax.host.runs import Run
from mlsh_jax.transfer import restore_subpolicies


def bundled_names() -> list[str]:
    """The experiments whose sub-policies come with the code."""
    return sorted(path.name for path in BUNDLED.glob("[!.]*") if path.is_dir())


def bundled(experiment: str) -> Path:
    """The one checkpoint of an experiment that comes with the code.

    Raises:
        CheckpointError: there is none.
    """
    if experiment not in bundled_names():
        raise CheckpointError(
            f"--subpolicies: none of {experiment} come with the code; name a run of it, or its "
            "checkpoint"
        )
    return resolve(BUNDLED / experiment)


def exact_path(text: str) -> Path:
    """The one checkpoint that is meant by a path, or else by a name in `bundled_names()`.

    It is the newest of today, so that a resume does not take that of another day.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(text)
    if path.exists():
        return resolve(path)
    if text in bundled_names():
        return bundled(text)
    raise CheckpointError(
        f"{path.absolute()}: no such directory; give a run, a stage, a checkpoint, or the name of "
        f"sub-policies that come with the code: {', '.join(bundled_names()) or 'none'}"
    )


def restore_checked(path: Path, env: TaskEnvironment) -> tuple[SubPolicies, MLSHConfig]:
    """Sub-policies for use in `env`; says in a line if they are from another physics.

    Args:
        path: one checkpoint.
        env: that they are to act in.

    Raises:
        CheckpointError: they are missing, or do not fit the environment.
    """
    restored = restore_subpolicies(path, env)
    before, now = _backend(path), getattr(env, "backend", None)
    if None not in (before, now) and before != now:
        print(
            f"{path}: its sub-policies were trained with the physics {before!r}; with {now!r}, as "
            "now, the same actions may lead to nothing (--backend)",
            flush=True,
        )
    return restored


def _backend(checkpoint: Path) -> str | None:
    """The physics of the run that has made a checkpoint; None where that is not known."""
    for directory in checkpoint.absolute().parents[:3]:
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            backend: str | None = json.loads((directory / "config.json").read_text())["backend"]
            return backend
    return None


def copy_subpolicies(checkpoint: Path, directory: Path) -> Path:
    """Copies what a transfer needs of a checkpoint into a directory; returns the copy.

    Optimizer and random state stay behind, and names of directories, which are private: Orbax
    writes them into files that it needs only where a directory cannot be renamed.

    Raises:
        ConfigError: there is a link or the like in the checkpoint.
        RunError: a file cannot be copied; nothing of the copy stays.
    """
    require_no_links(checkpoint)
    unfinished, copy = directory / "unfinished", directory / checkpoint.name
    shutil.rmtree(unfinished, ignore_errors=True)
    left_behind = shutil.ignore_patterns(TRAINER, COMMITTED)
    try:
        shutil.copytree(checkpoint, unfinished, ignore=left_behind)
        seal(unfinished)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        file, reason = error.filename, error.strerror
        if isinstance(error, shutil.Error):
            file, _, reason = error.args[0][0]  # of all files that failed the first
        raise RunError(f"{file}: cannot be copied to {directory} ({reason})") from None
    return unfinished.rename(copy)


def restore_kept(
    run: Run, path: Path, env: TaskEnvironment, stage: str = "subpolicies"
) -> tuple[SubPolicies, MLSHConfig]:
    """Sub-policies that the run keeps a copy of, so that a resume needs no other run.

    Args:
        run: keeps them like those of a stage.
        path: one checkpoint, from which they are the first time.
        env: that they are to act in.
        stage: name of the stage.

    Raises:
        CheckpointError: they are missing, or do not fit the environment.
        RunError: they cannot be copied.
    """
    directory = run.directory / stage / "checkpoints"

    def keep() -> str:
        if not (directory / path.name).exists():
            copy_subpolicies(resolve(path), directory)
        return ""

    processes.from_first(keep)
    return restore_subpolicies(directory / path.name, env)
