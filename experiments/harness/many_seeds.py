"""Many seeds of one configuration as one program, for tables that compare configurations."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.wrappers import EpisodeWrapper
from experiments.harness import staggered
from experiments.harness.results import SeedResult
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import Agent, make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import RunError
from mlsh_jax.host.compilation import compile_ahead
from mlsh_jax.host.devices import default_layout, for_each

_EPISODES = 2000


class Schedule(NamedTuple):
    """When lives begin.

    Attributes:
        init: `(agent, key) -> state`, which has φ as its `subpolicies`.
        meta_iteration: `(agent, state) -> (state, metrics)`.
    """

    init: Callable[[Agent, jax.Array], Any]
    meta_iteration: Callable[[Agent, Any], tuple[Any, mlsh.Metrics]]


TOGETHER = Schedule(mlsh.init, mlsh.meta_iteration)
"""All lives begin at the same time."""
STAGGERED = Schedule(staggered.init, staggered.meta_iteration)
"""As in the released code (`experiments.harness.staggered`)."""


def train_many(
    env: EpisodeWrapper,
    config: MLSHConfig,
    meta_iterations: int,
    measured: MLSHConfig,
    seeds: Sequence[int],
    best: np.ndarray,
    masters_per_task: int,
    num_envs: int,
    schedule: Schedule = TOGETHER,
    idle_return: float = 0.0,
) -> list[SeedResult]:
    """Trains and measures seeds in one program, in which every core has seeds of its own.

    Args:
        env: with finitely many tasks.
        config: of the training.
        meta_iterations: of the training.
        measured: with which fresh masters adapt afterwards, for `warmup_iterations`.
        seeds: which.
        best: returns that are possible, `[M]`.
        masters_per_task: P, fresh masters for each task.
        num_envs: episodes per master and behavior.
        schedule: of the training.
        idle_return: of an episode in which nothing is done for the task.

    Raises:
        RunError: a seed came to numbers that are not finite.
    """
    agent, closing_agent = make_agent(env, config), make_agent(env, measured)
    tasks = adapt.evaluation_tasks(env, jax.random.key(0), masters_per_task * len(env.task_names))

    def one(key: jax.Array) -> tuple[jax.Array, ...]:
        key_init, key_assess = jax.random.split(key)

        def iterate(state: Any, _: None) -> tuple[Any, jax.Array]:
            state, metrics = schedule.meta_iteration(agent, state)
            return state, metrics.get("divergence", jnp.zeros(0))

        state, divergence = jax.lax.scan(
            iterate, schedule.init(agent, key_init), length=meta_iterations
        )
        assessment, _ = adapt.assess(
            closing_agent,
            state.subpolicies,
            tasks,
            key_assess,
            num_envs,
            measured.warmup_iterations,
        )
        of_masters = (len(env.task_names), masters_per_task)
        adapted = assessment.adapted.returns.mean(axis=-1).reshape(of_masters)
        forced = assessment.forced.returns.mean(axis=-1).reshape((-1, *of_masters))
        return adapted, forced.mean(axis=-1), divergence[-1]

    layout = default_layout().largest_even(len(seeds))
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    train = layout.per_device(for_each(one))
    results = jax.device_get(compile_ahead(train, keys)(keys))
    for seed, *numbers in zip(seeds, *results, strict=True):
        if not all(np.isfinite(each).all() for each in numbers):
            raise RunError(f"seed {seed}: numbers are not finite; try a lower learning rate")
    idle = [idle_return] * len(best) if idle_return else []
    return [
        SeedResult(
            seed,
            adapted.tolist(),
            forced.tolist(),
            best.tolist(),
            divergence.tolist(),
            idle_returns=idle,
        )
        for seed, adapted, forced, divergence in zip(seeds, *results, strict=True)
    ]


def returns_of_best_actions(env: EpisodeWrapper) -> np.ndarray:
    """The mean return of a policy that knows the task and takes the best action, `[M]`.

    Args:
        env: whose class says which action is best (`best_action(observation, task)`).
    """
    unlimited: Any = env.unwrapped

    def episode(key: jax.Array, task: jax.Array) -> jax.Array:
        def step(state: Any, _: None) -> tuple[Any, jax.Array]:
            state = env.step(state, unlimited.best_action(state.obs, task))
            return state, state.reward

        first = env.reset_to_task(key, task)
        return jax.lax.scan(step, first, length=env.episode_length)[1].sum()

    keys = jax.random.split(jax.random.key(0), _EPISODES)
    of_task = jax.vmap(episode, in_axes=(0, None))
    return np.asarray(jax.jit(jax.vmap(lambda task: of_task(keys, task).mean()))(env.all_tasks()))
