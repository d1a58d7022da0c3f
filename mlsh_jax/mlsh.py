"""Algorithm 1 of "Meta Learning Shared Hierarchies" (Frans et al. 2017, section 4).

    initialize φ                                                        init
    repeat                                                              meta_iteration
        sample G tasks, initialize θ_g for each                         begin_lives
        for W iterations                                                warmup_and_joint
            collect D steps per task with π_{φ,θ_g}                     learn_masters
            update θ_g from the macro view
        for U iterations
            collect, update θ_g as before
            update φ from the step view of all tasks together           update_subpolicies

Everything here is a pure function of explicit state and knows neither files nor devices. Arrays
of all tasks carry a leading axis G, arrays of all environments `[G, E, ...]`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mlsh_jax.agent import Agent, Master, SubPolicies, all_policies, hierarchy, master_policy
from mlsh_jax.credit import is_paid
from mlsh_jax.learners import (
    SubPolicyLearner,
    init_master,
    init_subpolicies,
    renew_subpolicies,
    update_master,
    update_subpolicies,
)
from mlsh_jax.metrics import Metrics, behavior_metrics, subpolicy_usage
from mlsh_jax.rollout import Rollout, before_episodes, rollout_all
from mlsh_jax.tasks import Tasks, sample_tasks, task_mean
from mlsh_jax.usage import balancing_bias, nearest_divergence, needless_subpolicy


@struct.dataclass
class MetaState:
    """What survives from one meta-iteration to the next; masters do not.

    Attributes:
        subpolicies: φ.
        learner: what improves φ.
        needless: which sub-policy begins anew when the next meta-iteration begins, bool `[K]`
            (`MLSHConfig.renew_subpolicies`).
        key: typed PRNG key.
    """

    subpolicies: SubPolicies
    learner: SubPolicyLearner
    needless: jax.Array
    key: jax.Array


@struct.dataclass
class Lives:
    """An agent's life on each of G tasks: a master and E environments per task.

    Attributes:
        tasks: the tasks, `[G, ...]`.
        masters: θ_g, `[G, ...]`.
        env_states: where the environments are, `[G, E, ...]`.
    """

    tasks: Tasks
    masters: Master
    env_states: Any


def init(agent: Agent, key: jax.Array) -> MetaState:
    """Untrained φ."""
    key, key_subpolicies = jax.random.split(key)
    subpolicies, learner = init_subpolicies(agent, key_subpolicies)
    needless = jnp.zeros(agent.config.num_subpolicies, bool)
    return MetaState(subpolicies=subpolicies, learner=learner, needless=needless, key=key)


def init_masters(agent: Agent, key: jax.Array, num_tasks: int) -> Master:
    """Untrained masters, `[G, ...]`."""
    return jax.vmap(functools.partial(init_master, agent))(jax.random.split(key, num_tasks))


def begin_lives(agent: Agent, key: jax.Array, tasks: Tasks) -> Lives:
    """New masters for the given tasks, whose first rollout starts new episodes."""
    return Lives(
        tasks=tasks,
        masters=init_masters(agent, key, tasks.index.shape[0]),
        env_states=before_episodes(agent.env, key, tasks, agent.config.num_envs),
    )


def collect(
    agent: Agent,
    subpolicies: SubPolicies,
    lives: Lives,
    key: jax.Array,
    starts: jax.Array | None = None,
) -> tuple[Lives, Rollout]:
    """D environment steps on every task, in S slices of N steps: `[G, S, N, E, ...]`.

    `starts` (int32 `[G, S, E]`) are sub-policies that act at the start of episodes (`rollout`).
    """
    env_states, _, rollouts = rollout_all(
        agent.env,
        functools.partial(hierarchy, agent, subpolicies),
        lives.masters,
        key,
        lives.tasks,
        lives.env_states,
        starts=starts,
        num_slices=agent.config.num_slices,
        macro_length=agent.config.macro_length,
        restart_within_slices=agent.config.restart_within_slices,
    )
    return dataclasses.replace(lives, env_states=env_states), rollouts


def update_masters(
    agent: Agent, lives: Lives, rollouts: Rollout, key: jax.Array
) -> tuple[Lives, Metrics]:
    """Every master learns from the macro view of its own task."""
    keys = jax.random.split(key, lives.tasks.index.shape[0])
    masters, metrics = jax.vmap(lambda *args: update_master(agent, *args))(
        lives.masters, rollouts, keys
    )
    return dataclasses.replace(lives, masters=masters), jax.tree.map(jnp.mean, metrics)


def learn_masters(
    agent: Agent,
    subpolicies: SubPolicies,
    lives: Lives,
    key: jax.Array,
    is_joint: jax.Array | None = None,
) -> tuple[Lives, Rollout, Metrics]:
    """What both phases do in every iteration: collect, and update the masters.

    In the joint phase (bool scalar, or `[G]` for each task) some episodes begin with choices that
    are random (`MLSHConfig.random_starts`).
    """
    starts = None
    if agent.config.random_starts and is_joint is not None:
        key, key_starts = jax.random.split(key)
        starts = random_starts(agent, lives, key_starts, is_joint)
    key_collect, key_masters = jax.random.split(key)
    lives, rollouts = collect(agent, subpolicies, lives, key_collect, starts)
    lives, master_metrics = update_masters(agent, lives, rollouts, key_masters)
    metrics = behavior_metrics(agent, lives.tasks, rollouts)
    if agent.config.num_subpolicies > 1:
        seen = rollouts.observation[:, :, 0]  # [G, S, E, O], at the start of slices
        metrics["divergence"] = nearest_divergence(all_policies(agent, subpolicies, seen))
    return lives, rollouts, metrics | _prefix("master", master_metrics)


def random_starts(agent: Agent, lives: Lives, key: jax.Array, is_joint: jax.Array) -> jax.Array:
    """Sub-policies drawn at random for the start of a share of the episodes of the joint phase.

    Returns:
        int32 `[G, S, E]`, -1 where masters choose.
    """
    config = agent.config
    shape = lives.tasks.index.shape[0], config.num_slices, config.num_envs
    key_which, key_choice = jax.random.split(key)
    is_random = jax.random.bernoulli(key_which, config.random_starts, shape)
    is_random &= jnp.reshape(is_joint, (-1, 1, 1))
    choice = jax.random.randint(key_choice, shape, 0, config.num_subpolicies)
    return jnp.where(is_random, choice, -1)


def warmup(
    agent: Agent, subpolicies: SubPolicies, lives: Lives, key: jax.Array, iterations: int
) -> tuple[Lives, Metrics]:
    """Iterations that update the masters only; metrics are `[W, ...]`."""

    def iteration(lives: Lives, key: jax.Array) -> tuple[Lives, Metrics]:
        lives, _, metrics = learn_masters(agent, subpolicies, lives, key)
        return lives, metrics

    return jax.lax.scan(iteration, lives, jax.random.split(key, iterations))


def warmup_and_joint(
    agent: Agent,
    state: MetaState,
    lives: Lives,
    key: jax.Array,
    warmup_iterations: int,
    joint_iterations: int,
) -> tuple[MetaState, Lives, Metrics]:
    """W iterations that update the masters only, then U that update the masters and φ.

    Both phases are one scan whose last U iterations go on to update φ from the same data. A
    scan for each would compile the physics twice, which is most of the time to compile. W and
    U are static, so that also under `jax.vmap` warmup iterations skip the update of φ.

    Returns:
        φ and which sub-policy is needless, the masters after both phases, and metrics
        `[W + U, ...]`; `task_gradient`, of each kind of task the mean over its copies in the batch
        of the norm of their parts of φ's gradient, is 0 but in the last iteration.
    """
    num_kinds = len(agent.env.task_names)

    @jax.jit  # traced once for both of its uses below
    def learn_subpolicies(
        state: MetaState, rollouts: Rollout, masters: Master, key: jax.Array, is_last: jax.Array
    ):
        subpolicies, learner, metrics = update_subpolicies(
            agent,
            state.subpolicies,
            state.learner,
            rollouts,
            lives.tasks,
            masters,
            key,
            is_last if num_kinds else None,
        )
        of_tasks = {}
        if num_kinds:
            gradient = metrics.pop("task_gradient")
            of_tasks["task_gradient"] = task_mean(gradient, lives.tasks.index, num_kinds)
        state = dataclasses.replace(state, subpolicies=subpolicies, learner=learner)
        return state, _prefix("subpolicy", metrics) | of_tasks

    def iteration(carry: tuple[MetaState, Lives], inputs: tuple[jax.Array, ...]):
        (state, lives), (key, is_joint, is_joint_next, is_last) = carry, inputs
        key_masters, key_subpolicies = jax.random.split(key)
        acted = lives.masters
        lives, rollouts, metrics = learn_masters(
            agent, state.subpolicies, lives, key_masters, is_joint
        )
        learned = jax.eval_shape(
            learn_subpolicies, state, rollouts, acted, key_subpolicies, is_last
        )
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), learned[1])
        state, subpolicy_metrics = jax.lax.cond(
            is_joint,
            learn_subpolicies,
            lambda state, *_: (state, nothing),
            state,
            rollouts,
            acted,
            key_subpolicies,
            is_last,
        )
        lives = balance_choices(agent, lives, rollouts, is_joint_next)
        # What was drawn at random says nothing of who is needed where.
        served = subpolicy_usage(agent, rollouts, ~rollouts.imposed), is_paid(rollouts)
        return (state, lives), (metrics | subpolicy_metrics, served)

    iterations = warmup_iterations + joint_iterations
    is_joint = jnp.arange(iterations) >= warmup_iterations
    is_joint_next = jnp.append(is_joint[1:], False)
    is_last = jnp.arange(iterations) == iterations - 1
    keys = jax.random.split(key, iterations)
    (state, lives), (metrics, (usage, paid)) = jax.lax.scan(
        iteration, (state, lives), (keys, is_joint, is_joint_next, is_last)
    )
    joint = slice(warmup_iterations, None)
    needless = find_needless(agent, metrics, lives.tasks, usage[joint], paid[joint])
    return dataclasses.replace(state, needless=needless), lives, metrics


def find_needless(
    agent: Agent, metrics: Metrics, tasks: Tasks, usage: jax.Array, paid: jax.Array
) -> jax.Array:
    """Which sub-policy should begin anew, bool `[K]` (`MLSHConfig.renew_subpolicies`).

    Args:
        agent: the functions.
        metrics: of all iterations.
        tasks: of the masters.
        usage: share of the slices for which it was chosen that each sub-policy had in each task in
            the iterations of the joint phase, `[U, G, K]`.
        paid: whether each task paid at all then, bool `[U, G]`. One that did in any of them counts
            as paid: it may be on the way to being learned.
    """
    if not _renews(agent):
        return jnp.zeros(agent.config.num_subpolicies, bool)
    is_here = jnp.zeros(len(agent.env.task_names), bool).at[tasks.index].set(True)
    return needless_subpolicy(
        metrics["divergence"][-1], usage.mean(axis=0), paid.any(axis=0), is_here.all()
    )


def renew_needless(agent: Agent, state: MetaState, key: jax.Array) -> MetaState:
    """Lets the sub-policy begin anew that was needless in the meta-iteration before.

    It does when the next one begins, so that φ is never handed over with an untrained one in it.
    """
    if not _renews(agent):
        return state
    subpolicies, learner = jax.lax.cond(
        state.needless.any(),
        functools.partial(renew_subpolicies, agent),
        lambda subpolicies, learner, *_: (subpolicies, learner),
        state.subpolicies,
        state.learner,
        state.needless,
        key,
    )
    return dataclasses.replace(state, subpolicies=subpolicies, learner=learner)


def _renews(agent: Agent) -> bool:
    """Whether sub-policies may begin anew.

    Of tasks that are drawn and never come back some may pay nothing in every meta-iteration. They
    are not one that nobody serves, and sub-policies would begin anew for ever.
    """
    config = agent.config
    return config.renew_subpolicies and config.num_subpolicies > 1 and bool(agent.env.task_names)


def balance_choices(agent: Agent, lives: Lives, rollouts: Rollout, is_on: jax.Array) -> Lives:
    """Biases masters as `MLSHConfig.balance_usage` says.

    Args:
        agent: the functions.
        lives: of all tasks.
        rollouts: what they have seen last, `[G, S, N, E, ...]`.
        is_on: if not, their choices are their own; bool scalar, or `[G]` for each.
    """
    if not agent.config.balance_usage:
        return lives
    masters = dataclasses.replace(lives.masters, bias=jnp.zeros_like(lives.masters.bias))
    seen = rollouts.observation[:, :, 0]  # [G, S, E, O]
    logits = jax.vmap(functools.partial(master_policy, agent))(masters, seen).logits
    bias = balancing_bias(logits.reshape(len(logits), -1, logits.shape[-1]))  # [K]
    bias = jnp.broadcast_to(jnp.where(is_on[..., None], bias, 0.0), masters.bias.shape)
    return dataclasses.replace(lives, masters=dataclasses.replace(masters, bias=bias))


def meta_iteration(
    agent: Agent, state: MetaState, shard: Callable[[Any], Any] = lambda tree: tree
) -> tuple[MetaState, Metrics]:
    """New tasks and masters, a warmup, and a joint phase that improves φ.

    Args:
        agent: the functions.
        state: before the iteration.
        shard: says where arrays `[G, ...]`, tasks and new lives, are to be kept.

    Returns:
        The state after the iteration, and the metrics of its last iteration, scalars and small
        vectors, with the return of the first as `return_start`, and the usage `[K]` of the last in
        which masters chose freely as `usage_free`; failures are those of all.
    """
    config = agent.config
    key, key_renewal, key_tasks, key_lives, key_learn = jax.random.split(state.key, 5)
    state = renew_needless(agent, state, key_renewal)
    tasks = sample_tasks(agent.env, key_tasks, config.num_tasks, stratify=config.stratify_tasks)
    lives = begin_lives(agent, key_lives, shard(tasks))
    state, _, metrics = warmup_and_joint(
        agent,
        state,
        shard(lives),
        key_learn,
        config.warmup_iterations,
        config.joint_iterations,
    )
    last = {name: values[-1] for name, values in metrics.items()}
    last["return_start"] = metrics["return"][0]
    # With balanced usage or random starts that of the joint phase does not say who is needed.
    is_free = not (config.balance_usage or config.random_starts)
    free = -1 if is_free else max(config.warmup_iterations - 1, 0)
    last["usage_free"] = metrics["usage"][free]
    last["physics_failures"] = metrics["physics_failures"].sum()
    return dataclasses.replace(state, key=key), last


def _prefix(prefix: str, metrics: Metrics) -> Metrics:
    return {f"{prefix}/{name}": value for name, value in metrics.items()}
