"""Paths as they are on the disk."""

import os
from pathlib import Path


def real_path(path: Path | str) -> Path:
    """Where links lead to; `Path.resolve` raises an error where they lead to each other."""
    return Path(os.path.realpath(path))
