"""Which checkpoint a person means: by a path, or by the name of bundled sub-policies.

Wherever an experiment takes a checkpoint, `ant_twowalk` is as good as the path of a run, unless
something of that name exists.
"""

from pathlib import Path

from mlsh_jax.errors import CheckpointError
from mlsh_jax.host.checkpoint import resolve

BUNDLED = Path(__file__).parent.parent / "bundled"
"""Trained sub-policies that come with the code, one directory per experiment (`bundle`)."""


def bundled_names() -> list[str]:
    """The experiments whose sub-policies come with the code."""
    return sorted(path.name for path in BUNDLED.glob("*") if path.is_dir())


def bundled(experiment: str) -> Path:
    """The one checkpoint of an experiment that comes with the code.

    Raises:
        CheckpointError: there is none.
    """
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
        f"{path.resolve()}: no such directory; give a run, a stage, a checkpoint, or the name of "
        f"sub-policies that come with the code: {', '.join(bundled_names()) or 'none'}"
    )
