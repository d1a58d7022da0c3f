"""How the two levels of the hierarchy learn, each from its own view of a rollout.

A `SubPolicyLearner` holds the critics and optimizers that train φ. Which update rule a level
learns by says its configuration (`mlsh_jax.rl.config.RULES`).

Statistics absorb a rollout before it is learned from, and the probabilities that are compared
with are computed under the new statistics: a master, whose first rollout is all it knows of the
scale of its observations, learns from well-scaled inputs at once.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mlsh_jax.agent import Agent, Master, SubPolicies
from mlsh_jax.credit import advantages, is_paid, slice_ends, standardized, units_of_returns
from mlsh_jax.rl import updates
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.distributions import Gaussian
from mlsh_jax.rl.losses import Batch, Means, make_batch
from mlsh_jax.rl.networks import Params, choose, for_all, init_stack, select
from mlsh_jax.rl.normalization import (
    RunningStatistics,
    init_statistics,
    normalize,
    update_statistics,
)
from mlsh_jax.rl.rules import Transitions, get_rule, subpolicy_loss
from mlsh_jax.rollout import Rollout, macro_view
from mlsh_jax.tasks import Tasks

# Rows of a task of which its part of the gradient is measured.
_MEASURED_ROWS = 1000


@struct.dataclass
class SubPolicyLearner:
    """What improves φ and is not needed to act.

    Attributes:
        critics: parameters of the value functions of the K sub-policies, `[K, ...]`.
        statistics: of what the critics see.
        opt_state: of the optimizers of a sub-policy and its critic, `[K, ...]`.
    """

    critics: Params
    statistics: RunningStatistics
    opt_state: optax.OptState


def init_subpolicies(agent: Agent, key: jax.Array) -> tuple[SubPolicies, SubPolicyLearner]:
    """Untrained φ, and what improves it."""
    params = init_stack(agent.subpolicy_network, key, agent.config.num_subpolicies)
    opt_state = jax.vmap(updates.make_optimizer(agent.config.subpolicy).init)(params)
    critics = {"value": params.pop("value")}
    return (
        SubPolicies(params, init_statistics(len(agent.subpolicy_indices))),
        SubPolicyLearner(critics, init_statistics(agent.critic_size), opt_state),
    )


def init_master(agent: Agent, key: jax.Array) -> Master:
    """An untrained θ for one task, whose update rule and statistics know of nothing."""
    config = agent.config.master
    params = agent.master_network.init(key)
    return Master(
        params=params,
        opt_state=get_rule(config).init(config, params, len(agent.master_indices)),
        statistics=init_statistics(len(agent.master_indices)),
        bias=jnp.zeros(agent.config.num_subpolicies),
    )


def update_master(
    agent: Agent, master: Master, rollout: Rollout, key: jax.Array
) -> tuple[Master, Means]:
    """Improves θ of one task from the macro view of a rollout of that task.

    Args:
        agent: the functions.
        master: θ before.
        rollout: `[S, N, E, ...]`.
        key: for what is random in the update rule.

    Returns:
        θ after, and the metrics of the rule.
    """
    config = agent.config.master
    macro = macro_view(rollout)
    transitions = Transitions(
        observation=agent.master_view(macro.observation),
        action=macro.action,
        reward=macro.reward * agent.config.reward_scale,
        next_observation=agent.master_view(macro.next_observation),
        terminated=macro.terminated,
        last=macro.truncated,
    )
    weight = jnp.ones_like(macro.reward)
    statistics = _absorb(config, master.statistics, transitions.observation, weight)
    params, opt_state, metrics = get_rule(config).update(
        agent.master_network,
        config,
        master.params,
        master.opt_state,
        transitions,
        functools.partial(normalize, statistics),
        key,
    )
    master = dataclasses.replace(master, params=params, opt_state=opt_state, statistics=statistics)
    return master, metrics


def update_subpolicies(
    agent: Agent,
    subpolicies: SubPolicies,
    learner: SubPolicyLearner,
    rollout: Rollout,
    tasks: Tasks,
    masters: Master | None,
    key: jax.Array,
    measured: jax.Array | None = None,
) -> tuple[SubPolicies, SubPolicyLearner, Means]:
    """Improves φ from the step view of the rollouts of all tasks.

    Each sub-policy learns from the slices for which it was chosen and from no others; the
    parameters of one that never was stay as they are. What steps are worth is in
    `mlsh_jax.credit`.

    Args:
        agent: the functions.
        subpolicies: φ before.
        learner: what improves it.
        rollout: of all tasks, `[G, S, N, E, ...]`.
        tasks: `[G, ...]`.
        masters: that chose in the rollout, `[G, ...]`; None where there are none.
        key: for minibatches.
        measured: whether the norms of the tasks' parts of the gradient are wanted (bool scalar).

    Returns:
        φ and its learner after, and the metrics of the loss, averaged over the sub-policies that
        were active; of continuous actions also `deviation` `[K]`, the mean standard deviation of
        theirs; with `measured` also `task_gradient` `[G]` (`task_gradients`), 0 if false.
    """
    config = agent.config.subpolicy
    network = agent.subpolicy_network
    shape = rollout.reward.shape  # [G, S, N, E]
    k = jnp.broadcast_to(rollout.subpolicy[:, :, None], shape)
    seen = agent.subpolicy_view(rollout.observation)
    statistics = _absorb(config, subpolicies.statistics, seen, rollout.weight)
    observation = normalize(statistics, seen)
    # A critic that sees what its sub-policy sees shares its input, so that it is made once.
    critic_statistics, critic_observation = statistics, observation
    if agent.config.task_critic:
        seen = agent.critic_view(rollout.observation, tasks)
        critic_statistics = _absorb(config, learner.statistics, seen, rollout.weight)
        critic_observation = normalize(critic_statistics, seen)
    last_observation = normalize(
        critic_statistics, agent.critic_view(rollout.next_observation, tasks)
    )

    value = select(for_all(network.value, learner.critics, critic_observation), k)
    last_values = for_all(network.value, learner.critics, last_observation)  # [K, G, S, E]
    following, goes_on = slice_ends(agent, rollout, last_values, masters)
    unit, spread = units_of_returns(config, rollout)  # [G], [G]
    scale = 1.0 / unit if agent.config.equal_tasks else agent.config.reward_scale
    reward = rollout.reward * jnp.broadcast_to(scale, shape[:1])[:, None, None, None]
    advantage = advantages(config, rollout, reward, value, following, goes_on)
    batch = make_batch(
        select(for_all(network.policy, subpolicies.params, observation), k),
        observation,
        critic_observation,
        rollout.action,
        value,
        advantage,
        rollout.weight * ~rollout.imposed[:, :, None],
    )
    # [G, S, N, E, ...] -> [G, B, ...]
    batch, k = jax.tree.map(lambda x: x.reshape((shape[0], -1, *x.shape[4:])), (batch, k))
    paid = is_paid(rollout)
    advantage = standardized(agent, batch.advantage, batch.weight, k, spread, paid)
    batch = dataclasses.replace(batch, advantage=advantage)
    params = subpolicies.params | learner.critics
    task_metrics = {}
    if measured is not None:
        norms = functools.partial(task_gradients, agent)
        nothing = jnp.zeros(shape[0])
        of_tasks = jax.lax.cond(measured, norms, lambda *_: nothing, params, batch, k)
        task_metrics["task_gradient"] = of_tasks
    params, opt_state, metrics = updates.update_owners(
        network,
        config,
        subpolicy_loss(config),
        params,
        learner.opt_state,
        batch,
        k,
        key,
        agent.num_shares,
    )
    critics = {"value": params.pop("value")}
    # The deviation is the same at every observation.
    policies = for_all(network.policy, params, jnp.zeros((1, observation.shape[-1])))  # [K, 1]
    if isinstance(policies, Gaussian):
        metrics = metrics | {"deviation": jnp.exp(policies.log_std).mean(axis=(1, 2))}
    return (
        SubPolicies(params, statistics),
        SubPolicyLearner(critics, critic_statistics, opt_state),
        metrics | task_metrics,
    )


def task_gradients(agent: Agent, params: Params, batch: Batch, k: jax.Array) -> jax.Array:
    """Norm of each task's part of the gradient that the policies of φ are about to follow, `[G]`.

    A sub-policy's gradient is the mean over its rows, those of all tasks; the part of a task is
    what its rows contribute. It tells which task decides what sub-policies become.

    Args:
        agent: the functions.
        params: of the K sub-policies and their critics, `[K, ...]`.
        batch: `[G, B, ...]`.
        k: the sub-policy that a row belongs to, int32 `[G, B]`.
    """
    config = agent.config.subpolicy
    every = max(k.shape[1] // _MEASURED_ROWS, 1)
    while math.gcd(every, agent.config.num_envs) > 1:  # or rows were those of a few environments
        every -= 1
    batch, k = jax.tree.map(lambda x: x[:, ::every], (batch, k))
    owners = jax.nn.one_hot(k, agent.config.num_subpolicies) * batch.weight[..., None]
    share = select(jnp.moveaxis(owners / jnp.maximum(owners.sum(axis=(0, 1)), 1.0), 2, 0), k)

    def part(params: Params, batch: Batch, k: jax.Array, share: jax.Array) -> jax.Array:
        def loss(params: Params) -> jax.Array:
            return subpolicy_loss(config).terms(agent.subpolicy_network, config, params, batch)[
                "policy_loss"
            ]

        return jnp.sum(select(jax.vmap(loss)(params), k) * share)

    def norm(batch: Batch, k: jax.Array, share: jax.Array) -> jax.Array:
        return optax.global_norm(jax.grad(part)(params, batch, k, share))

    return jax.vmap(norm)(batch, k, share)


def renew_subpolicies(
    agent: Agent,
    subpolicies: SubPolicies,
    learner: SubPolicyLearner,
    which: jax.Array,
    key: jax.Array,
) -> tuple[SubPolicies, SubPolicyLearner]:
    """φ and what improves it with untrained ones in the places that `which` (bool `[K]`) names.

    Statistics of observations stay.
    """
    new, new_learner = init_subpolicies(agent, key)
    params = choose(which, new.params, subpolicies.params)
    critics, opt_state = choose(
        which,
        (new_learner.critics, new_learner.opt_state),
        (learner.critics, learner.opt_state),
    )
    return (
        dataclasses.replace(subpolicies, params=params),
        dataclasses.replace(learner, critics=critics, opt_state=opt_state),
    )


def _absorb(
    config: LearnerConfig, statistics: RunningStatistics, seen: jax.Array, weight: jax.Array
) -> RunningStatistics:
    """Statistics of what was seen before and now, where statistics are kept."""
    if not config.normalize_observations:
        return statistics
    return update_statistics(statistics, seen, weight)
