"""Rollouts made by hand, and what learns from them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from probes import Clock, probe_agent, tiny_config, tiny_ppo

from mlsh_jax.learners import init_master, init_subpolicies, update_master, update_subpolicies
from mlsh_jax.rollout import Rollout
from mlsh_jax.tasks import sample_tasks

G, S, N, E, K = 3, 4, 3, 2, 2
CONFIG = tiny_config(
    task_critic=False,
    credit="subpolicy",
    equal_tasks=False,
    macro_length=N,
    num_envs=E,
    steps_per_iteration=S * N * E,
    reward_scale=0.5,
    master=tiny_ppo(discount=0.8, gae_lambda=0.7),
    subpolicy=tiny_ppo(discount=0.9, gae_lambda=0.6, num_minibatches=3, learning_rate=1e-2),
)
AGENT = probe_agent(Clock(), CONFIG, episode_length=9)
TASKS = sample_tasks(AGENT.env, jax.random.key(0), G, stratify=True)


def updating(agent):
    """`update_subpolicies` of an agent on the tasks that all data here is of, compiled."""
    return jax.jit(lambda phi, learner, data, key: update_subpolicies(
        agent, phi, learner, data, TASKS, None, key
    ))  # fmt: skip


update_phi = updating(AGENT)
update_theta = jax.jit(functools.partial(update_master, AGENT))


def make_rollout(rng, subpolicy=None) -> Rollout:
    """Random data of all tasks `[G, S, N, E, ...]` in which one slice in four terminates."""
    end = np.where(rng.random((G, S, 1, E)) < 0.25, rng.integers(0, N, (G, S, 1, E)), N)
    step = np.arange(N)[None, None, :, None]
    weight = (step <= end).astype(np.float32)
    if subpolicy is None:
        subpolicy = rng.integers(0, K, (G, S, E))
    terminated = step >= end
    return Rollout(
        observation=jnp.asarray(rng.normal(size=(G, S, N, E, 3)), jnp.float32),
        action=jnp.asarray(rng.integers(0, 2, (G, S, N, E)), jnp.int32),
        reward=jnp.asarray(rng.normal(size=(G, S, N, E)) * weight, jnp.float32),
        weight=jnp.asarray(weight),
        terminated=jnp.asarray(terminated),
        truncated=jnp.asarray((rng.random((G, S, E)) < 0.3) & ~terminated[:, :, -1]),
        failed=jnp.zeros((G, S, E), bool),
        subpolicy=jnp.asarray(subpolicy, jnp.int32),
        imposed=jnp.zeros((G, S, E), bool),
        next_observation=jnp.asarray(rng.normal(size=(G, S, E, 3)), jnp.float32),
        env_metrics={},
    )


def new_phi():
    """φ and its learner, after one update with data of both sub-policies."""
    subpolicies, learner = jax.jit(functools.partial(init_subpolicies, AGENT))(jax.random.key(0))
    data = make_rollout(np.random.default_rng(3))
    return update_phi(subpolicies, learner, data, jax.random.key(0))[:2]


def new_theta():
    """A master."""
    return jax.jit(functools.partial(init_master, AGENT))(jax.random.key(1))
