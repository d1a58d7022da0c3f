"""The deliberate faults of `python -m tests.mutate` are still faults of this code."""

from pathlib import Path

import pytest
from faults import FAULTS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_something_that_is_there_once(fault):
    assert (ROOT / fault.path).read_text(encoding="utf-8").count(fault.old) == 1
    assert fault.new != fault.old
    for file in fault.tests:
        assert (ROOT / "tests" / file).is_file()


def test_there_are_sixty_with_names_of_their_own():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60
