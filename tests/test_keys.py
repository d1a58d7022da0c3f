"""Random keys are typed throughout."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [path for name in ("mlsh_jax", "experiments") for path in (ROOT / name).rglob("*.py")]


def test_there_are_sources_to_check():
    assert ROOT / "mlsh_jax" / "mlsh.py" in SOURCES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_makes_untyped_keys(path):
    assert "PRNGKey" not in path.read_text()
