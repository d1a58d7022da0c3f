"""Many trainings with different numbers as one program.

A population is P trials with S seeds each. Their states have leading axes `[P, S, ...]`, the
numbers in which trials differ `[P]`; they are arrays of the program, so that one compilation serves
every trial. All else, such as the sizes of networks, is the same for the whole population.
"""

import copy
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mlsh_jax import mlsh
from mlsh_jax.agent import Agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.metrics import Metrics
from mlsh_jax.mlsh import MetaState

_LEARNER_NUMBERS = (
    "learning_rate",
    "clip_epsilon",
    "discount",
    "gae_lambda",
    "entropy_coefficient",
    "kl_limit",
    "final_exploration",
)
NUMBERS = (
    "reward_scale",
    *(f"{level}.{name}" for level in ("master", "subpolicy") for name in _LEARNER_NUMBERS),
)
"""Fields of `MLSHConfig` that may differ within a population; others decide on shapes or loops."""


def with_numbers(config: MLSHConfig, numbers: Mapping[str, jax.Array]) -> MLSHConfig:
    """The configuration with numbers that are arrays; they were validated as floats before.

    Args:
        config: all the rest.
        numbers: by their names in `NUMBERS`, float scalars.
    """
    config = copy.copy(config)
    for name, value in numbers.items():
        level, _, field = name.rpartition(".")
        if level:
            nested = copy.copy(getattr(config, level))
            object.__setattr__(nested, field, value)
            object.__setattr__(config, level, nested)
        else:
            object.__setattr__(config, field, value)
    return config


def init(agent: Agent, keys: jax.Array) -> MetaState:
    """Untrained φ for every trial and seed: `[P, S, ...]` from keys `[P, S]`.

    A key gives the training that it gives alone (`mlsh.init`).
    """
    return jax.vmap(jax.vmap(functools.partial(mlsh.init, agent)))(keys)


def restart(agent: Agent, states: MetaState, keys: jax.Array, which: jax.Array) -> MetaState:
    """Replaces the trials of which `which` (bool `[P]`) is true by untrained ones."""

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(which.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

    # Orthogonal matrices are slow to make, and trials seldom begin.
    return jax.lax.cond(
        which.any(),
        lambda: jax.tree.map(choose, init(agent, keys), states),
        lambda: states,
    )


def meta_iteration(
    agent: Agent,
    states: MetaState,
    numbers: Mapping[str, jax.Array],
    active: jax.Array,
    *,
    one_by_one: bool = False,
) -> tuple[MetaState, Metrics]:
    """`mlsh.meta_iteration` of every trial and seed.

    Args:
        agent: the functions.
        states: `[P, S, ...]`.
        numbers: by their names in `NUMBERS`, `[P]`.
        active: which trials count; what becomes of the others is not said, bool `[P]`.
        one_by_one: whether to train one after another within the program instead of all in step.
            A core of a CPU is faster like that, since what it works on stays in its cache, and
            trials that do not count cost nothing.

    Returns:
        The states after the iteration, and metrics `[P, S, ...]`.
    """

    def one(numbers: Mapping[str, jax.Array], state: MetaState) -> tuple[MetaState, Metrics]:
        config = with_numbers(agent.config, numbers)
        return mlsh.meta_iteration(dataclasses.replace(agent, config=config), state)

    if not one_by_one:
        return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(dict(numbers), states)

    def seeds(numbers: Mapping[str, jax.Array], states: MetaState) -> tuple[MetaState, Metrics]:
        return jax.lax.map(functools.partial(one, numbers), states)

    def trial(inputs: tuple[Any, ...]) -> tuple[MetaState, Metrics]:
        numbers, states, is_active = inputs
        metrics = jax.eval_shape(seeds, numbers, states)[1]
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)
        return jax.lax.cond(is_active, seeds, lambda _, s: (s, nothing), numbers, states)

    return jax.lax.map(trial, (dict(numbers), states, active))
