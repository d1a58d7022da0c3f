"""The training that tests of devices and processes compare."""

import dataclasses
import functools

import jax
import numpy as np
from checks import raw
from probes import Clock, probe_agent, tiny_config, tiny_ppo

from mlsh_jax import mlsh
from mlsh_jax.host.devices import Layout

NUM_TASKS = 8


def meta_iterations(layout: Layout, count: int = 2) -> list[np.ndarray]:
    """Arrays of the state and the metrics after some meta-iterations on 8 tasks."""
    config = tiny_config(
        num_tasks=NUM_TASKS,
        num_envs=2,
        steps_per_iteration=24,
        subpolicy=tiny_ppo(num_minibatches=2, normalize_observations=True),
    )
    agent = dataclasses.replace(probe_agent(Clock(), config), num_shares=layout.num_devices)
    init = jax.jit(lambda: mlsh.init(agent, jax.random.key(0)), out_shardings=layout.replicated)
    step = jax.jit(
        functools.partial(mlsh.meta_iteration, agent, shard=layout.spread),
        out_shardings=layout.replicated,
    )
    state = init()
    for _ in range(count):
        state, metrics = step(state)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(raw((state, metrics)))]
