"""How things are timed here: in turns, compiled before, each kind in a process of its own."""

import dataclasses
import multiprocessing
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax

from mlsh_jax.host.compilation import Program

_POLL_SECONDS = 0.2

Row = dict[str, Any]
Report = Callable[[Row], None]
"""Takes what was just measured, so that it is printed and kept at once."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured in a process of its own.

    Attributes:
        label: what is measured, and how often.
        function: takes a `Report` and the arguments; returns the rows of a table.
        arguments: of the function.
        seconds: about how long it takes on 2 cores.
    """

    label: str
    function: Callable[..., list[Row]]
    arguments: tuple[Any, ...]
    seconds: float


@dataclasses.dataclass
class Contender:
    """A compiled program that is timed again and again, each time from where it ended before.

    Attributes:
        name: of the row in the table.
        program: takes its state and returns the next one.
        state: of the program.
        env_steps: environment steps in one call.
    """

    name: str
    program: Program
    state: Any
    env_steps: int

    def time(self) -> float:
        """Environment steps per second of one call."""
        started = time.perf_counter()
        self.state = jax.block_until_ready(self.program(self.state))
        return self.env_steps / (time.perf_counter() - started)


def take_turns(
    contenders: Sequence[Contender], rounds: int, report: Report
) -> dict[str, list[float]]:
    """Environment steps per second of every contender in every round, warm-up apart.

    All take part in each round, so that whatever else the machine does is shared by them.
    """
    warm_up(contenders)
    by_round = [one_round(contenders, number, report) for number in range(1, rounds + 1)]
    return {contender.name: [r[contender.name] for r in by_round] for contender in contenders}


def warm_up(contenders: Sequence[Contender]) -> None:
    """Calls every contender once, which does not count."""
    for contender in contenders:
        contender.time()


def one_round(contenders: Sequence[Contender], number: int, report: Report) -> dict[str, float]:
    """Environment steps per second of every contender, one after the other, reported as it comes.

    Args:
        contenders: who takes part.
        number: of the round, from 1.
        report: told each rate.
    """
    rates = {}
    for contender in contenders:
        rates[contender.name] = contender.time()
        report(timing(contender.name, number, rates[contender.name]))
    return rates


def timing(name: str, number: int, rate: float) -> Row:
    """What is reported of one contender in one round."""
    return {"round": number, "what": name, "steps/s": round(rate)}


def ratio(rates: Sequence[float], reference: Sequence[float]) -> float:
    """Median over the rounds of the ratio in a round."""
    return statistics.median(rate / other for rate, other in zip(rates, reference, strict=True))


def peak_memory(whose: int = resource.RUSAGE_SELF) -> int:
    """Bytes that this process, or the largest it has waited for, has had at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(whose).ru_maxrss * unit


def pin_to_one_core() -> None:
    """Keeps this process on one core of the CPU; call it before anything is computed."""
    jax.config.update("jax_platforms", "cpu")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before XLA counts the cores


def devices() -> str:
    """The devices that JAX has by default."""
    found = jax.devices()
    return f"{len(found)} x {found[0].device_kind}"


def in_new_process(
    function: Callable[..., Any], *arguments: Any, report: Report | None = None
) -> Any:
    """The result of a function of some module, in a process that has done nothing else.

    Args:
        function: what to call there.
        *arguments: of the function.
        report: told here, at once, what the function reports there; with one, the function's
            first argument is the `Report` to use.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    if report is not None:
        arguments = (sender.send, *arguments)
    with ProcessPoolExecutor(1, mp_context=context, initializer=_end_with_parent) as pool:
        future = pool.submit(function, *arguments)
        # What was sent arrives before the process is known to be done.
        while not future.done() or receiver.poll():
            if receiver.poll(_POLL_SECONDS) and report is not None:
                report(receiver.recv())
        return future.result()


def _end_with_parent() -> None:
    """Ends this process as soon as the one that started it is gone, however it was ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
