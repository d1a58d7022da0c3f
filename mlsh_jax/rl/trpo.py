"""Trust region policy optimization (Schulman et al. 2015, arXiv 1502.05477), for masters.

A natural gradient, found by conjugate gradients on products with the Fisher matrix (appendix C),
is followed as far as the limit on the KL divergence allows; a line search then takes the largest
step that keeps the limit and improves the surrogate. The value function learns by Adam.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from mlsh_jax.rl import updates
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.distributions import Distribution
from mlsh_jax.rl.losses import Batch, Means, value_loss
from mlsh_jax.rl.networks import Network, Params
from mlsh_jax.rl.rules import Rule, RuleState, Transitions, act_by_policy, advantage_batch

_CONJUGATE_GRADIENTS = 10  # iterations, as in the paper's appendix C
_DAMPING = 0.1  # added to the Fisher matrix, as in OpenAI Baselines' trpo_mpi
_STEPS = 10  # of the line search, each half as long as the one before (OpenAI Baselines)


def init(config: LearnerConfig, params: Params, observation_size: int) -> RuleState:
    """Moments of the optimizer of the value function."""
    del observation_size
    return updates.make_optimizer(config).init({"value": params["value"]})


def update(
    network: Network,
    config: LearnerConfig,
    params: Params,
    state: RuleState,
    transitions: Transitions,
    normalize: Callable[[jax.Array], jax.Array],
    key: jax.Array,
) -> tuple[Params, RuleState, Means]:
    """One step of the policy within the trust region, then passes of the value function."""
    del key  # every pass has the whole batch
    batch = advantage_batch(network, config, params, transitions, normalize)
    policy, metrics = policy_step(network, config, params["policy"], batch)
    value, state, error = _fit_value(network, config, params["value"], state, batch)
    return {"policy": policy, "value": value}, state, metrics | {"value_loss": error}


def policy_step(
    network: Network, config: LearnerConfig, policy: Params, batch: Batch
) -> tuple[Params, Means]:
    """The largest step of the line search that the surrogate and the KL divergence allow.

    Args:
        network: the functions.
        config: `kl_limit`, `entropy_coefficient`.
        policy: parameters of the policy.
        batch: `[B, ...]`.

    Returns:
        The policy after the step, as it was if no step serves, and `policy_loss`, `entropy`, `kl`
        and `step_size`, the share of the longest step that was taken.
    """
    start, unravel = ravel_pytree(policy)

    def at(vector: jax.Array) -> Distribution:
        return network.policy({"policy": unravel(vector)}, batch.observation)

    before = at(start)

    def surrogate(vector: jax.Array) -> jax.Array:
        now = at(vector)
        ratio = jnp.exp(now.log_prob(batch.action) - batch.log_prob)
        bonus = config.entropy_coefficient * now.entropy().mean()
        return (ratio * batch.advantage).mean() + bonus

    def divergence(vector: jax.Array) -> jax.Array:
        return before.kl_divergence(at(vector)).mean()

    longest = natural_step(surrogate, divergence, start, config.kl_limit)
    scales = 0.5 ** jnp.arange(_STEPS)  # [L]
    candidates = start + scales[:, None] * longest
    gains = jax.vmap(surrogate)(candidates) - surrogate(start)
    divergences = jax.vmap(divergence)(candidates)
    serves = (gains > 0) & (divergences <= config.kl_limit) & jnp.isfinite(gains)
    first = jnp.argmax(serves)
    scale = jnp.where(serves.any(), scales[first], 0.0)
    end = jnp.where(serves.any(), candidates[first], start)
    entropy = at(end).entropy().mean()
    metrics = {
        "policy_loss": config.entropy_coefficient * entropy - surrogate(end),
        "entropy": entropy,
        "kl": divergence(end),
        "step_size": scale,
    }
    return unravel(end), metrics


def natural_step(
    surrogate: Callable[[jax.Array], jax.Array],
    divergence: Callable[[jax.Array], jax.Array],
    start: jax.Array,
    kl_limit: float,
) -> jax.Array:
    """The step `[V]` along the natural gradient whose divergence is the limit, to second order.

    It is s·√(2δ / sᵀFs) with s = F⁻¹g (appendix C); F is the Hessian of the divergence at `start`.
    """
    gradient = jax.grad(surrogate)(start)

    def fisher_product(vector: jax.Array) -> jax.Array:
        return jax.jvp(jax.grad(divergence), (start,), (vector,))[1] + _DAMPING * vector

    direction, _ = jax.scipy.sparse.linalg.cg(
        fisher_product, gradient, maxiter=_CONJUGATE_GRADIENTS
    )
    curvature = jnp.dot(direction, fisher_product(direction))
    return direction * jnp.sqrt(2 * kl_limit / jnp.maximum(curvature, 1e-12))


def _fit_value(
    network: Network, config: LearnerConfig, value: Params, state: RuleState, batch: Batch
) -> tuple[Params, RuleState, jax.Array]:
    """Passes of Adam over the whole batch; also the mean error over them."""
    optimizer = updates.make_optimizer(config)

    def error(params: Params) -> jax.Array:
        return value_loss(network, params, batch).mean()

    def step(carry: tuple[Params, optax.OptState], _: None):
        params, opt_state = carry
        loss, gradient = jax.value_and_grad(error)(params)
        change, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, change), opt_state), loss

    (params, state), errors = jax.lax.scan(
        step, ({"value": value}, state), length=config.num_passes
    )
    return params["value"], state, errors.mean()


TRPO = Rule(init=init, policy=act_by_policy, update=update)
