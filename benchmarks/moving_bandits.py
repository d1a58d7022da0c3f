"""moving_bandits on one core, beside a rate that the authors' released code had there once.

It was measured in one run with that code's own networks and epochs, and is not measured again.
"""

import statistics
import time

import jax

from benchmarks.config import Config
from benchmarks.measure import Case, Report, Row, pin_to_one_core
from experiments import moving_bandits
from experiments.harness import stages
from mlsh_jax import mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.host.compilation import compile_ahead

AUTHORS_STEPS_PER_SECOND = 6_100
"""Environment steps per second of whole training of https://github.com/openai/mlsh, one process on
one core of a 2-core x86 cloud machine, measured on 2026-11-20."""

_GOOD_RETURN = 41.0


TITLE = "moving_bandits on one core"


def cases(config: Config) -> list[Case]:
    """One case of all seeds."""
    seconds = 25.0 + 21.0 * config.seeds
    return [Case(f"{config.seeds} seeds", measure, (config.seeds,), seconds)]


def measure(report: Report, seeds: int) -> list[Row]:
    """The default preset, pinned to one core: speed, and the time to a return of 41."""
    pin_to_one_core()
    default = moving_bandits.PRESETS["default"].config
    training = default.training
    agent = make_agent(moving_bandits.make_env(default)(None), training.mlsh)
    states = [mlsh.init(agent, stages.training_key(seed)) for seed in range(seeds)]
    program = compile_ahead(lambda state: mlsh.meta_iteration(agent, state), states[0])
    jax.block_until_ready(program(states[0]))
    rates, seconds_to_return, last = [], [], []
    for seed, state in enumerate(states):
        started, reached = time.perf_counter(), None
        for _ in range(training.meta_iterations):
            state, metrics = program(state)
            last_return = float(metrics["return"])
            if reached is None and last_return >= _GOOD_RETURN:
                reached = time.perf_counter() - started
        seconds = time.perf_counter() - started
        steps = training.meta_iterations * training.mlsh.env_steps_per_meta_iteration
        rates.append(steps / seconds)
        seconds_to_return.append(float("inf") if reached is None else reached)
        last.append(last_return)
        report({"seed": seed, "steps/s": round(rates[-1]), "last return": last_return})
    rate = statistics.median(rates)
    return [
        {
            "seeds": seeds,
            "steps/s": round(rate),
            "of theirs, once": rate / AUTHORS_STEPS_PER_SECOND,
            f"s to {_GOOD_RETURN:.0f}": statistics.median(seconds_to_return),
            "slowest": max(seconds_to_return),
            "last return": statistics.median(last),
            "compile s": program.compile_seconds,
        }
    ]
