"""What the steps of a rollout are worth to the sub-policies that made them.

Arrays are of all tasks, `[G, S, N, E, ...]`, as rollouts are.
"""

import functools

import jax
import jax.numpy as jnp

from mlsh_jax.agent import Agent, Master, master_policy
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.networks import select
from mlsh_jax.rl.returns import generalized_advantages, standardize
from mlsh_jax.rollout import Rollout

# The unit of rewards where a task has paid nothing yet, or hardly anything.
_SMALLEST_SCALE = 1e-3
# Advantages whose spread is less than this share of that of returns are not scaled up to 1. Of such
# a task little is left to learn: standardized, its errors of critics would have the same say as
# what a task has to tell that is not served yet.
_LITTLE_LEFT = 0.2


def slice_ends(
    agent: Agent, rollout: Rollout, last_values: jax.Array, masters: Master | None
) -> tuple[jax.Array, jax.Array]:
    """What the ends of slices are worth, and after which of them returns go on.

    `MLSHConfig.credit` says whose value a slice has at its end: that of the critic of the *same*
    sub-policy, as if it went on, or that of the hierarchy (Sutton et al. 1999, Bacon et al. 2017).

    Args:
        agent: the functions.
        rollout: of all tasks, `[G, S, N, E, ...]`.
        last_values: of all critics there, `[K, G, S, E]`.
        masters: that chose in the rollout, `[G, ...]`; None where there are none, and one policy
            goes on.

    Returns:
        Values `[G, S, E]`, and whether returns go on through the next slice, which the episode is
        in still, bool `[G, S, E]`.
    """
    of_same = select(last_values, rollout.subpolicy)
    if agent.config.credit == "subpolicy":
        return of_same, jnp.zeros_like(rollout.truncated)
    following = of_same
    if masters is not None:
        policies = jax.vmap(functools.partial(master_policy, agent))
        choice = policies(masters, rollout.next_observation)
        following = jnp.einsum("kgse,gsek->gse", last_values, choice.probabilities())
    # Not beyond the rollout, nor into a step in which the physics failed or a slice that the master
    # did not choose; that nothing follows a termination holds for any row.
    into_next = ~rollout.truncated[:, :-1] & (rollout.weight[:, 1:, 0] > 0)
    into_next &= ~rollout.imposed[:, 1:]
    return following, jnp.zeros_like(rollout.truncated).at[:, :-1].set(into_next)


def advantages(
    config: LearnerConfig,
    rollout: Rollout,
    reward: jax.Array,
    value: jax.Array,
    following: jax.Array,
    goes_on: jax.Array,
) -> jax.Array:
    """Advantages `[G, S, N, E]` of the steps of the active sub-policies.

    They never run on into the slice of another one uncorrected (openai/mlsh, issue 7).

    Args:
        config: of the sub-policies.
        rollout: of all tasks, `[G, S, N, E, ...]`.
        reward: in the units of the critics, `[G, S, N, E]`.
        value: of the active sub-policy before each step, `[G, S, N, E]`.
        following: what the end of each slice is worth (`slice_ends`), `[G, S, E]`.
        goes_on: after which of them returns go on, bool `[G, S, E]`.
    """
    # A choice takes no time: r + γ U + γ λ (V_k' - U + A_next), U before and V_k' after it. So with
    # one sub-policy advantages are those of plain PPO, however long slices are.
    chosen = jnp.concatenate([value[:, 1:, 0], following[:, -1:]], axis=1)
    through = following + config.gae_lambda * (chosen - following)
    after_slice = jnp.where(goes_on, through, following)
    next_value = jnp.concatenate([value[:, :, 1:], after_slice[:, :, None]], axis=2)
    # What follows a step in its slice does not count where the physics failed.
    uncounted = rollout.weight[:, :, 1:] == 0
    last = jnp.concatenate([uncounted, ~goes_on[:, :, None]], axis=2)

    advantage = generalized_advantages(
        _time_first(reward),
        _time_first(value),
        _time_first(next_value),
        _time_first(rollout.terminated),
        _time_first(last),
        discount=config.discount,
        gae_lambda=config.gae_lambda,
    )
    return jnp.moveaxis(advantage, 0, 1).reshape(value.shape)


def units_of_returns(config: LearnerConfig, rollout: Rollout) -> tuple[jax.Array, jax.Array]:
    """Size and spread of the discounted returns in the rollouts of each task.

    What came after the end of a rollout counts as nothing, so that returns spread where every step
    pays the same, too (by 0.46 of their size in 50 steps with a discount of 0.99, by 0.22 in 1000);
    steps of weight 0 do not count.

    Returns:
        Their root mean square, `[G]`, and their standard deviation in units of it, `[G]`.
    """
    nothing = jnp.zeros_like(rollout.reward)
    last = jnp.zeros_like(rollout.terminated).at[:, :, -1].set(rollout.truncated)
    returns = generalized_advantages(
        _time_first(rollout.reward),
        _time_first(nothing),
        _time_first(nothing),
        _time_first(rollout.terminated),
        _time_first(last),
        discount=config.discount,
        gae_lambda=1.0,
    )
    weight = _time_first(rollout.weight)
    total = jnp.maximum(weight.sum(axis=(0, 2)), 1.0)  # tasks that do not learn have none
    mean = jnp.sum(weight * returns, axis=(0, 2)) / total
    mean_square = jnp.sum(weight * returns**2, axis=(0, 2)) / total
    unit = jnp.maximum(jnp.sqrt(mean_square), _SMALLEST_SCALE)
    return unit, jnp.sqrt(jnp.maximum(mean_square - mean**2, 0.0)) / unit


def standardized(
    agent: Agent,
    advantage: jax.Array,
    weight: jax.Array,
    k: jax.Array,
    spread: jax.Array,
    paid: jax.Array,
) -> jax.Array:
    """Advantages with mean 0 and standard deviation 1.

    Among those of a task, where `MLSHConfig.equal_tasks` holds and there is enough left to learn,
    and all 0 where it pays nothing; if not, among those of a sub-policy.

    Args:
        agent: the functions.
        advantage: `[G, B]`.
        weight: 1 or 0, `[G, B]`.
        k: the sub-policy that a row belongs to, int32 `[G, B]`.
        spread: of the returns of each task (`units_of_returns`), `[G]`.
        paid: whether each task pays at all (`is_paid`), bool `[G]`.
    """
    if agent.config.equal_tasks:
        of_tasks = jax.vmap(standardize)(advantage, weight, _LITTLE_LEFT * spread)
        return of_tasks * paid[:, None]

    def of_one(owner: jax.Array) -> jax.Array:
        return standardize(advantage, weight * (k == owner))

    return select(jax.vmap(of_one)(jnp.arange(agent.config.num_subpolicies)), k)


def is_paid(rollout: Rollout) -> jax.Array:
    """Whether a task pays at all, bool `[G]`.

    Some steps more than others, or all of them, or, where each costs the same, an end of the
    episode that spares the next ones. If not, its advantages are errors of critics. However small,
    standardized they would count as much as those of a task that is paid.
    """
    axes, counts = (1, 2, 3), rollout.weight > 0
    most = jnp.where(counts, rollout.reward, -jnp.inf).max(axis=axes)
    least = jnp.where(counts, rollout.reward, jnp.inf).min(axis=axes)
    is_spared = (least < 0) & (rollout.terminated & counts).any(axis=axes)
    return (most > least) | (most > 0) | is_spared


def _time_first(x: jax.Array) -> jax.Array:
    """`[G, S, N, E]` to `[S * N, G, E]`."""
    num_tasks, num_slices, macro_length, num_envs = x.shape
    return jnp.moveaxis(x.reshape(num_tasks, num_slices * macro_length, num_envs), 1, 0)
