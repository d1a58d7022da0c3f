"""How things are timed here: in turns, compiled before, each kind in a process of its own."""

import dataclasses
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax

from mlsh_jax.host.compilation import Program


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


def take_turns(contenders: Sequence[Contender], rounds: int) -> dict[str, list[float]]:
    """Environment steps per second of every contender in every round, warm-up apart.

    All take part in each round, so that whatever else the machine does is shared by them.
    """
    one_round(contenders)
    by_round = [one_round(contenders) for _ in range(rounds)]
    return {contender.name: [r[contender.name] for r in by_round] for contender in contenders}


def one_round(contenders: Sequence[Contender]) -> dict[str, float]:
    """Environment steps per second of every contender, one after the other."""
    return {contender.name: contender.time() for contender in contenders}


def ratio(rates: Sequence[float], reference: Sequence[float]) -> float:
    """Median over the rounds of the ratio in a round."""
    return statistics.median(rate / other for rate, other in zip(rates, reference, strict=True))


def peak_memory(whose: int = resource.RUSAGE_SELF) -> int:
    """Bytes that this process, or the largest it has waited for, has had at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(whose).ru_maxrss * unit


def devices() -> str:
    """The devices that JAX has by default."""
    found = jax.devices()
    return f"{len(found)} x {found[0].device_kind}"


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function of some module, in a process that has done nothing else."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()
