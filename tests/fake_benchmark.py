"""Benchmarks that measure nothing, for a process of their own, which imports this module."""

import time

from mlsh_jax.errors import RunError


def slow_halves(report, number):
    """Reports, takes its time, reports again; says when it ended."""
    report({"what": "half", "steps/s": number})
    time.sleep(2)
    report({"what": "half", "steps/s": 2 * number})
    return [{"ended": time.time()}]


def failing_half(report, number):
    """Reports once, then fails."""
    report({"what": "half", "steps/s": number})
    raise RunError("cut")
