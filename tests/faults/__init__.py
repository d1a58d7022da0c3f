"""Deliberate faults that the tests have to notice; `python -m tests.mutate` tries them.

Every fault is a change of a few words that still runs: what a slip while editing would leave.
"""

from . import acting, environments, learning, measuring, reporting
from .fault import Fault

__all__ = ["FAULTS", "Fault"]

FAULTS = (
    *acting.FAULTS,
    *learning.FAULTS,
    *measuring.FAULTS,
    *reporting.FAULTS,
    *environments.FAULTS,
)
