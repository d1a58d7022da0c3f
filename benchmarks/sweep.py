"""Many trials of moving_bandits as one program, against one trial after another."""

import dataclasses
import functools
import statistics
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import growth
from benchmarks.config import Config
from benchmarks.measure import Case, Contender, Report, Row, ratio, take_turns
from experiments import moving_bandits
from mlsh_jax import mlsh, population
from mlsh_jax.agent import Agent, make_agent
from mlsh_jax.host.compilation import compile_ahead
from mlsh_jax.host.devices import Layout, default_layout, split_cpu

_ALONE = "one after another"
_NUMBERS = {"master.learning_rate": 1e-2, "subpolicy.learning_rate": 3e-4}


TITLE = "moving_bandits: trials as one program and one after another"


def cases(config: Config) -> list[Case]:
    """One case of all numbers of trials."""
    label = f"{', '.join(map(str, config.parallel))} trials at once, rounds: {config.rounds}"
    meta_iterations = (config.rounds + 1) * (1 + sum(config.parallel))
    seconds = 15.0 + 12.0 * (1 + len(config.parallel)) + 0.5 * meta_iterations
    return [Case(label, measure, (config.parallel, config.rounds), seconds)]


def measure(report: Report, parallel: tuple[int, ...], rounds: int) -> list[Row]:
    """Meta-training of one trial alone, and of populations, in turns.

    What runs alone is spread over devices by its tasks, as in an experiment; a population is by
    its trials, as in a sweep.
    """
    split_cpu()
    default = moving_bandits.PRESETS["default"].config
    agent = make_agent(moving_bandits.make_env(default)(None), default.training.mlsh)
    layout = default_layout()
    alone_layout = layout.largest_even(agent.config.num_tasks)
    alone_agent = dataclasses.replace(agent, num_shares=alone_layout.num_devices)
    contenders = [Contender(_ALONE, *growth.training(alone_agent, alone_layout))]
    contenders += [_population(agent, layout.largest_even(count), count) for count in parallel]
    rates = take_turns(contenders, rounds, report)
    return [
        {
            "trials": contender.name,
            "steps/s": round(statistics.median(rates[contender.name])),
            "of one after another": ratio(rates[contender.name], rates[_ALONE]),
            "compile s": contender.program.compile_seconds,
        }
        for contender in contenders
    ]


def _population(agent: Agent, layout: Layout, count: int) -> Contender:
    init = jax.jit(functools.partial(population.init, agent), out_shardings=layout.by_task)
    keys = jnp.broadcast_to(jax.random.key(0), (count, 1))
    numbers = {name: jnp.full(count, value) for name, value in _NUMBERS.items()}
    one_by_one = jax.default_backend() == "cpu"

    def share(states: mlsh.MetaState, numbers: Any, active: jax.Array) -> mlsh.MetaState:
        train = functools.partial(population.meta_iteration, one_by_one=one_by_one)
        return train(agent, states, numbers, active)[0]

    def meta_iteration(states: mlsh.MetaState) -> mlsh.MetaState:
        return layout.per_device(share)(states, numbers, jnp.ones(count, bool))

    states = init(keys)
    program = compile_ahead(meta_iteration, states, out_shardings=layout.by_task, donate=True)
    steps = count * agent.config.env_steps_per_meta_iteration
    return Contender(f"{count} at once", program, states, steps)
