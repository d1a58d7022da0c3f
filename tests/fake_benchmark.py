"""Benchmarks that measure nothing, for a process of their own, which imports this module."""

import os
import time

from benchmarks import measure
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


def endless(report):
    """Reports the number of its process and does not end."""
    report({"process": os.getpid()})
    while True:
        time.sleep(1)


if __name__ == "__main__":
    measure.in_new_process(endless, report=lambda row: print(row["process"], flush=True))
