"""Many seeds of moving_bandits under one configuration, for tables that compare configurations."""

import functools
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np

import envs
from experiments.harness.pages import here_and_now
from experiments.harness.results import Result
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.compilation import compile_ahead
from mlsh_jax.host.devices import default_layout


def train_seeds(
    config: MLSHConfig,
    measured: MLSHConfig,
    meta_iterations: int,
    seeds: Sequence[int],
    num_tasks: int,
    num_envs: int,
) -> Iterator[Result]:
    """Trains and measures seeds one after the other, compiling once.

    Args:
        config: of the training.
        measured: with which fresh masters adapt afterwards, for `warmup_iterations`.
        meta_iterations: of the training.
        seeds: which.
        num_tasks: fresh masters.
        num_envs: episodes per master and behavior.
    """
    layout = default_layout().largest_even(config.num_tasks)
    env = envs.make("moving_bandits")
    agent = make_agent(env, config, num_shares=layout.num_devices)
    closing_agent = make_agent(env, measured)
    tasks = adapt.evaluation_tasks(env, jax.random.key(0), num_tasks)

    def measure(state: mlsh.MetaState, key: jax.Array) -> adapt.Assessment:
        iterations = measured.warmup_iterations
        return adapt.assess(closing_agent, state.subpolicies, tasks, key, num_envs, iterations)[0]

    init = jax.jit(functools.partial(mlsh.init, agent), out_shardings=layout.replicated)
    key = layout.replicate(jax.random.key(0))
    step = compile_ahead(
        functools.partial(mlsh.meta_iteration, agent, shard=layout.spread),
        init(key),
        out_shardings=layout.replicated,
    )
    closing = compile_ahead(measure, init(key), key, out_shardings=layout.replicated)
    for seed in seeds:
        key_init, key_assess = jax.random.split(layout.replicate(jax.random.key(seed)))
        state = init(key_init)
        started = time.monotonic()
        returns = []
        for _ in range(meta_iterations):
            state, metrics = step(state)
            returns.append(float(metrics["return"]))
        seconds = (time.monotonic() - started) / meta_iterations
        assessment = jax.device_get(closing(state, key_assess))
        forced = assessment.forced.returns.mean(axis=-1)  # [K, G]
        kinds = np.asarray(tasks.index)
        own = [float(forced[:, kinds == m].mean(axis=1).max()) for m in range(kinds.max() + 1)]
        adapted = float(assessment.adapted.returns.mean())
        yield Result(seed, adapted, own, returns, seconds, here_and_now())
