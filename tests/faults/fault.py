"""What a deliberate fault is."""

from typing import NamedTuple


class Fault(NamedTuple):
    """One deliberate fault.

    Attributes:
        name: what goes wrong.
        path: of the file, from the root of the repository.
        old: what is there, exactly once.
        new: what takes its place.
        tests: files of `tests/`, one of which has to fail.
    """

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]
