"""Slow: meta-learning succeeds on the paper's first problem."""

import functools

import jax
import numpy as np
import pytest

import envs
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.rl.config import LearnerConfig


@pytest.mark.slow
def test_moving_bandits_is_learned_without_collapse():
    # Two sub-policies that both walk to the same point would average 22.95; the optimum is 43.76.
    config = MLSHConfig(subpolicy=LearnerConfig(epochs=2, num_minibatches=8))
    agent = make_agent(envs.make("moving_bandits"), config)
    state = jax.jit(functools.partial(mlsh.init, agent))(jax.random.key(0))
    iterate = jax.jit(functools.partial(mlsh.meta_iteration, agent))
    for _ in range(25):
        state, _ = iterate(state)

    tasks = adapt.evaluation_tasks(agent.env, jax.random.key(1), 2)
    assess = jax.jit(functools.partial(adapt.assess, agent, num_envs=200, iterations=9))
    assessment, _ = assess(state.subpolicies, tasks, jax.random.key(2))
    forced = np.asarray(assessment.forced.returns).mean(axis=-1)  # [K, G]
    own = max(np.diag(forced), np.diag(forced[::-1]), key=np.sum)
    assert assessment.adapted.returns.mean() >= 41
    assert own.min() >= 38
