"""Masters on sub-policies that have learned nothing: what is left of the hierarchy without φ.

The masters of MLSH, whose choices hold for N steps, over K networks as meta-training begins with
and that stay as they are. Their last layers are small, so that all of them act nearly at random and
alike (or hardly at all, with `deterministic_when_frozen`), and there is little to choose between.
With the masters' rule as learner, and K and N as theirs, it is MLSH but for the training of φ.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from mlsh_jax import adapt
from mlsh_jax.adapt import Episodes, FrozenState
from mlsh_jax.agent import Agent, make_agent
from mlsh_jax.baselines.method import Method, Setting
from mlsh_jax.errors import ConfigError
from mlsh_jax.learners import init_subpolicies
from mlsh_jax.tasks import Tasks


def make_method(setting: Setting) -> Method[FrozenState]:
    """The masters as a method; the setting's learner is theirs.

    Raises:
        ConfigError: the learner does not suit the batches of a task.
    """
    try:
        config = dataclasses.replace(setting.config, master=setting.learner)
    except ConfigError as error:
        raise ConfigError(str(error).replace("master.", f"{setting.option}.", 1)) from None
    agent, full_agent = (make_agent(env, config) for env in (setting.env, setting.full_env))
    num_tasks = setting.tasks.index.shape[0]
    return Method(
        name="untrained_subpolicies",
        init=functools.partial(init, agent, tasks=setting.tasks),
        iteration=functools.partial(adapt.iteration, agent),
        adapt=lambda state, key: state,
        play=lambda state, key: evaluate(full_agent, state, key, setting.num_episodes),
        env_steps=num_tasks * config.steps_per_iteration,
        num_tasks=num_tasks,
        spread=("adaptation.lives",),
    )


def init(agent: Agent, key: jax.Array, tasks: Tasks) -> FrozenState:
    """New sub-policies, and untrained masters at the start of episodes of `tasks`."""
    key_subpolicies, key_masters = jax.random.split(key)
    subpolicies, _ = init_subpolicies(agent, key_subpolicies)
    return FrozenState(subpolicies, adapt.init_adaptation(agent, key_masters, tasks))


def evaluate(agent: Agent, state: FrozenState, key: jax.Array, num_envs: int) -> Episodes:
    """Plays whole episodes of every task with its master."""
    lives = state.adaptation.lives
    by_master = jnp.full(lives.tasks.index.shape, -1)
    return adapt.evaluate(
        agent, state.subpolicies, lives.masters, lives.tasks, by_master, key, num_envs
    )
