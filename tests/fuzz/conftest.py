"""What the fuzz tests share: a worker, and how a case is run again."""

from collections.abc import Iterator

import pytest
from fuzzing import SEED, Worker


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """Runs command lines."""
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture(autouse=True)
def _how_to_run_it_again(request: pytest.FixtureRequest) -> None:
    """Says it beside a failure; a case needs no other one before it."""
    print(f"MLSH_FUZZ_SEED={SEED} python -m pytest -n 0 -m slow '{request.node.nodeid}'")
