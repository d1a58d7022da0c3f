"""Tasks whose lives begin at different times, as in the released code (openai/mlsh, `master.py`).

There every group of processes has a task of its own, drawn by itself, and the warmup of its first
life is so much longer than that of others that at any time some groups are in their warmup and
others in their joint phase. Sub-policies learn in every iteration, from the tasks alone that are in
their joint phase. Here each task is such a group.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax import mlsh
from mlsh_jax.agent import Agent, SubPolicies
from mlsh_jax.credit import is_paid
from mlsh_jax.learners import update_subpolicies
from mlsh_jax.metrics import Metrics, subpolicy_usage
from mlsh_jax.mlsh import Lives, MetaState
from mlsh_jax.rl.networks import choose
from mlsh_jax.tasks import sample_tasks


@struct.dataclass
class Groups:
    """What goes on from one meta-iteration to the next.

    Attributes:
        meta: φ and what improves it.
        lives: of all tasks.
        age: iterations that each life has lasted, int32 `[G]`; less than 0 in a first warmup that
            is longer.
    """

    meta: MetaState
    lives: Lives
    age: jax.Array

    @property
    def subpolicies(self) -> SubPolicies:
        """φ."""
        return self.meta.subpolicies


def init(agent: Agent, key: jax.Array) -> Groups:
    """Untrained φ and new lives, whose ends are spread evenly over the length of a life."""
    config = agent.config
    key_meta, key_lives = jax.random.split(key)
    length = config.warmup_iterations + config.joint_iterations
    age = -(jnp.arange(config.num_tasks, dtype=jnp.int32) * length // config.num_tasks)
    return Groups(mlsh.init(agent, key_meta), _new_lives(agent, key_lives), age)


def meta_iteration(agent: Agent, groups: Groups) -> tuple[Groups, Metrics]:
    """W + U iterations, in which every task's life ends once (but for first lives).

    Usage is balanced over the masters of all tasks, and the bias given to those in their joint
    phase. Which sub-policy begins anew is found from the last U iterations of every task, whatever
    phase its life is in then, so that where a life ends among them two tasks count as one.

    Returns:
        The groups after, and the metrics of the last iteration.
    """
    length = agent.config.warmup_iterations + agent.config.joint_iterations
    key, key_renewal, key_iterations = jax.random.split(groups.meta.key, 3)
    meta = mlsh.renew_needless(agent, groups.meta, key_renewal)
    groups = dataclasses.replace(groups, meta=dataclasses.replace(meta, key=key))
    groups, (metrics, usage, paid) = jax.lax.scan(
        functools.partial(_iteration, agent), groups, jax.random.split(key_iterations, length)
    )
    since = agent.config.warmup_iterations
    needless = mlsh.find_needless(agent, metrics, groups.lives.tasks, usage[since:], paid[since:])
    meta = dataclasses.replace(groups.meta, needless=needless)
    return dataclasses.replace(groups, meta=meta), jax.tree.map(lambda x: x[-1], metrics)


def _iteration(
    agent: Agent, groups: Groups, key: jax.Array
) -> tuple[Groups, tuple[Metrics, jax.Array, jax.Array]]:
    config = agent.config
    key_lives, key_masters, key_subpolicies = jax.random.split(key, 3)
    is_over = groups.age == config.warmup_iterations + config.joint_iterations
    lives = choose(is_over, _new_lives(agent, key_lives), groups.lives)
    age = jnp.where(is_over, 0, groups.age)
    acted = lives.masters
    is_joint = age >= config.warmup_iterations
    lives, rollouts, metrics = mlsh.learn_masters(
        agent, groups.meta.subpolicies, lives, key_masters, is_joint
    )
    weight = rollouts.weight * is_joint[:, None, None, None]
    subpolicies, learner, _ = update_subpolicies(
        agent,
        groups.meta.subpolicies,
        groups.meta.learner,
        dataclasses.replace(rollouts, weight=weight),
        lives.tasks,
        acted,
        key_subpolicies,
    )
    is_joint_next = age + 1 >= config.warmup_iterations
    lives = mlsh.balance_choices(agent, lives, rollouts, is_joint_next)
    meta = dataclasses.replace(groups.meta, subpolicies=subpolicies, learner=learner)
    of_tasks = subpolicy_usage(agent, rollouts), is_paid(rollouts)
    return Groups(meta, lives, age + 1), (metrics, *of_tasks)


def _new_lives(agent: Agent, key: jax.Array) -> Lives:
    config = agent.config
    key_tasks, key_lives = jax.random.split(key)
    tasks = sample_tasks(agent.env, key_tasks, config.num_tasks, stratify=False)
    return mlsh.begin_lives(agent, key_lives, tasks)
