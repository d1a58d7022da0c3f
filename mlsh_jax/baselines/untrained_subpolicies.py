"""Fresh masters on sub-policies that know nothing: what the hierarchy is worth without φ.

The masters of MLSH, their choices held for N steps, over K random networks that stay as they are.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax import adapt
from mlsh_jax.adapt import AdaptationState, Episodes
from mlsh_jax.agent import Agent, SubPolicies, make_agent
from mlsh_jax.baselines.method import Method, Setting
from mlsh_jax.errors import ConfigError
from mlsh_jax.learners import init_subpolicies
from mlsh_jax.mlsh import Metrics
from mlsh_jax.tasks import Tasks


@struct.dataclass
class UntrainedState:
    """Masters that learn, and what they choose among.

    Attributes:
        subpolicies: φ, at random and for good.
        adaptation: of the masters, `[G, ...]`.
    """

    subpolicies: SubPolicies
    adaptation: AdaptationState


def make_method(setting: Setting) -> Method[UntrainedState]:
    """The masters as a method; the setting's learner is theirs.

    Raises:
        ConfigError: the learner does not suit the batches of a task.
    """
    try:
        config = dataclasses.replace(
            setting.config,
            master=setting.learner,
            subpolicy=dataclasses.replace(setting.config.subpolicy, num_minibatches=1),
        )
    except ConfigError as error:
        raise ConfigError(str(error).replace("master.", f"{setting.option}.", 1)) from None
    agent, full_agent = (make_agent(env, config) for env in (setting.env, setting.full_env))
    num_tasks = setting.tasks.index.shape[0]
    return Method(
        name="untrained_subpolicies",
        init=functools.partial(init, agent, tasks=setting.tasks),
        iteration=functools.partial(iteration, agent),
        adapt=lambda state, key: state,
        play=lambda state, key: evaluate(full_agent, state, key, setting.num_episodes),
        env_steps=num_tasks * config.steps_per_iteration,
        num_tasks=num_tasks,
        spread=("adaptation.lives",),
    )


def init(agent: Agent, key: jax.Array, tasks: Tasks) -> UntrainedState:
    """Random sub-policies, and untrained masters at the start of episodes of `tasks`."""
    key_subpolicies, key_masters = jax.random.split(key)
    subpolicies, _ = init_subpolicies(agent, key_subpolicies)
    return UntrainedState(subpolicies, adapt.init_adaptation(agent, key_masters, tasks))


def iteration(agent: Agent, state: UntrainedState) -> tuple[UntrainedState, Metrics]:
    """Collects D steps of each task and improves its master from these."""
    masters, metrics = adapt.adapt(agent, state.subpolicies, state.adaptation, 1)
    state = dataclasses.replace(state, adaptation=masters)
    return state, {name: values[0] for name, values in metrics.items()}


def evaluate(agent: Agent, state: UntrainedState, key: jax.Array, num_envs: int) -> Episodes:
    """Plays whole episodes of every task with its master."""
    lives = state.adaptation.lives
    by_master = jnp.full(lives.tasks.index.shape, -1)
    return adapt.evaluate(
        agent, state.subpolicies, lives.masters, lives.tasks, by_master, key, num_envs
    )
