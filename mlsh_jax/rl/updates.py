"""How a loss is minimized: epochs, minibatches and, for sub-policies, blocks of one owner.

A master is one learner (`update`), vmapped over tasks; the sub-policies are K learners that share
out the rows of one batch (`update_owners`), so that a row is computed once however many there are.
A minibatch without any weight leaves parameters and optimizer as they were: this is what "each
sub-policy only from the slices in which it was active" rests on.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from mlsh_jax.rl.blocks import blocks_by_owner
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.losses import Batch, Loss, Means, batch_objective, objective
from mlsh_jax.rl.networks import Network, Params, choose
from mlsh_jax.rl.permutations import random_order

_DECAYING = 0.2
"""Share of the gradient steps before `LearnerConfig.decay_until` in which their size falls."""


def make_optimizer(config: LearnerConfig) -> optax.GradientTransformation:
    """Adam with PPO's usual epsilon (Engstrom et al. 2020), on all parameters as one vector.

    With `decay_until` the step size falls in the end and not from the start, as in the cooldown of
    Zhai et al. 2022 (arXiv 2106.04560): large steps learn more, small ones keep what they found.
    """
    return optax.flatten(optax.adam(_step_size(config), eps=1e-5))


def _step_size(config: LearnerConfig) -> float | optax.Schedule:
    """A number, which leaves no trace in the optimizer's state, unless there is a decay."""
    if not config.decay_until:
        return config.learning_rate
    num_steps = config.decay_until * config.num_passes * config.num_minibatches
    decaying = max(round(_DECAYING * num_steps), 1)
    share = optax.linear_schedule(1.0, 0.0, decaying, num_steps - decaying)
    return lambda step: config.learning_rate * share(step)


def update(
    network: Network,
    config: LearnerConfig,
    loss: Loss,
    params: Params,
    opt_state: optax.OptState,
    batch: Batch,
    key: jax.Array,
) -> tuple[Params, optax.OptState, Means]:
    """Makes all passes over one batch.

    Args:
        network: the functions that `params` belong to.
        config: passes, minibatches and coefficients.
        loss: what rows contribute.
        params: parameters before the update.
        opt_state: of `make_optimizer(config)`.
        batch: transitions, `[B, ...]`, at least as many as minibatches. Of those that these do not
            share out evenly some, others in every epoch, are left out.
        key: for the order of the minibatches.

    Returns:
        New parameters, new optimizer state, and metrics averaged over the gradient steps whose
        minibatch had any weight.
    """
    optimizer = make_optimizer(config)
    gradient = jax.grad(batch_objective, argnums=3, has_aux=True)
    batch_size = batch.weight.shape[0]

    def step(carry, indices: jax.Array | None):
        params, opt_state = carry
        minibatch = batch if indices is None else jax.tree.map(lambda x: x[indices], batch)
        grads, metrics = gradient(network, config, loss, params, minibatch)
        updates, new_opt_state = optimizer.update(grads, opt_state, params)
        new = (optax.apply_updates(params, updates), new_opt_state)
        has_data = jnp.any(minibatch.weight > 0)
        carry = jax.tree.map(lambda n, o: jnp.where(has_data, n, o), new, (params, opt_state))
        return carry, (metrics, has_data)

    if config.num_minibatches == 1:
        indices, length = None, config.num_passes
    else:
        indices = _shuffled(config, key, batch_size)
        length = indices.shape[0]
    (params, opt_state), (metrics, has_data) = jax.lax.scan(
        step, (params, opt_state), indices, length
    )
    return params, opt_state, mean_where(metrics, has_data)


def owner_gradients(
    config: LearnerConfig,
    network: Network,
    loss: Loss,
    unravel: Callable[[jax.Array], Params],
    params: jax.Array,
    blocks: Batch,
    owner: jax.Array,
) -> tuple[jax.Array, Means, jax.Array]:
    """The gradients of K learners, each of its own objective on its own rows.

    The objective is linear in sums over rows, so that gradients, metrics and weights of all blocks
    can be added up by owner as one array. Where shares lie on different devices this is the only
    time that these have to talk to each other.

    Args:
        config: coefficients.
        network: the functions that `params` belong to.
        loss: what rows contribute.
        unravel: makes the parameters of one learner of a vector.
        params: vectors of the K learners, `[K, V]`.
        blocks: rows in blocks of chunks of shares, `[D, c, n, b, ...]`.
        owner: the learner that all rows of a block belong to, int32 `[D, c, n]`.

    Returns:
        Gradients `[K, V]`; the metrics of every learner, `[K]`; the weight it had, `[K]`.
    """

    def block_sum(params: jax.Array, block: Batch) -> tuple[jax.Array, Means]:
        rows = loss.terms(network, config, unravel(params), block)
        sums = {name: jnp.sum(x * block.weight) for name, x in rows.items()}
        return objective(config, sums), sums

    names = (*loss.names, "weight")

    def add_chunk(total: jax.Array, chunk: tuple[Batch, jax.Array]) -> tuple[jax.Array, None]:
        blocks, owner = chunk
        gradients, sums = jax.vmap(jax.grad(block_sum, has_aux=True))(params[owner], blocks)
        sums["weight"] = blocks.weight.sum(axis=1)
        columns = [gradients, *(sums[name][:, None] for name in names)]
        everything = jnp.concatenate(columns, axis=1)
        return total + jax.ops.segment_sum(everything, owner, params.shape[0]), None

    def share_sums(blocks: Batch, owner: jax.Array) -> jax.Array:
        nothing = jnp.zeros((params.shape[0], params.shape[1] + len(names)))
        return jax.lax.scan(add_chunk, nothing, (blocks, owner))[0]

    everything = jax.vmap(share_sums)(blocks, owner).sum(axis=0)
    gradients, sums = jnp.split(everything, [params.shape[1]], axis=1)
    means = dict(zip(names, sums.T, strict=True))
    total = means.pop("weight")
    count = jnp.maximum(total, 1e-8)
    return gradients / count[:, None], {name: x / count for name, x in means.items()}, total


def ravel_all(tree: Any) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    """Vectors `[K, V]` of a tree of arrays `[K, ...]`, and what makes the tree of one of them."""
    unravel = ravel_pytree(jax.tree.map(lambda x: x[0], tree))[1]
    return jax.vmap(lambda one: ravel_pytree(one)[0])(tree), unravel


def update_owners(
    network: Network,
    config: LearnerConfig,
    loss: Loss,
    params: Params,
    opt_state: optax.OptState,
    batch: Batch,
    owner: jax.Array,
    key: jax.Array,
    num_shares: int = 1,
) -> tuple[Params, optax.OptState, Means]:
    """Makes all passes for K learners of which each learns from its own rows.

    A minibatch has equally many rows of every part of the batch, such as a task.

    Args:
        network: the functions that `params` belong to.
        config: passes, minibatches and coefficients.
        loss: what rows contribute.
        params: parameters before the update, `[K, ...]`.
        opt_state: of `make_optimizer(config)`, `[K, ...]`.
        batch: transitions, `[P, B, ...]`; B as in `update`.
        owner: the learner k that a row belongs to, int32 `[P, B]`.
        key: for the order of the minibatches.
        num_shares: D, shares of P / D parts each whose rows are not put together, since they lie
            on different devices.

    Returns:
        New parameters, new optimizer states, and metrics averaged over the gradient steps and
        learners that had any weight.
    """
    optimizer = make_optimizer(config)
    vectors, unravel = ravel_all(params)
    num_owners = vectors.shape[0]
    num_parts, batch_size = owner.shape
    parts_of_share = num_parts // num_shares
    batch, owner = jax.tree.map(
        lambda x: x.reshape(num_shares, parts_of_share * batch_size, *x.shape[2:]), (batch, owner)
    )

    def gather(batch: Batch, owner: jax.Array, indices: jax.Array) -> tuple[Batch, jax.Array]:
        blocks = blocks_by_owner(owner[indices], num_owners)
        rows = indices[blocks.row]
        minibatch = jax.tree.map(lambda x: x[rows], batch)
        weight = jnp.where(blocks.is_row, minibatch.weight, 0.0)
        return dataclasses.replace(minibatch, weight=weight), blocks.owner

    def make_minibatch(indices: jax.Array) -> tuple[Batch, jax.Array]:
        """Blocks of all shares and their owners, from indices `[P, m]` into parts."""
        indices = indices.reshape(num_shares, parts_of_share, -1)
        indices += jnp.arange(parts_of_share)[:, None] * batch_size
        return jax.vmap(gather)(batch, owner, indices.reshape(num_shares, -1))

    def step(carry, minibatch: tuple[Batch, jax.Array]):
        params, opt_state = carry
        grads, metrics, total = owner_gradients(config, network, loss, unravel, params, *minibatch)
        updates, new_opt_state = jax.vmap(optimizer.update)(grads, opt_state, params)
        new = (optax.apply_updates(params, updates), new_opt_state)
        has_data = total > 0  # [K]
        return choose(has_data, new, (params, opt_state)), (metrics, has_data)

    if config.num_minibatches == 1:
        everything = jnp.broadcast_to(jnp.arange(batch_size), (num_parts, batch_size))
        minibatch = make_minibatch(everything)
        (vectors, opt_state), (metrics, has_data) = jax.lax.scan(
            lambda carry, _: step(carry, minibatch), (vectors, opt_state), None, config.num_passes
        )
    else:
        keys = jax.random.split(key, num_parts)
        indices = jax.vmap(lambda k: _shuffled(config, k, batch_size), out_axes=1)(keys)
        (vectors, opt_state), (metrics, has_data) = jax.lax.scan(
            lambda carry, i: step(carry, make_minibatch(i)), (vectors, opt_state), indices
        )
    return jax.vmap(unravel)(vectors), opt_state, mean_where(metrics, has_data)


def _shuffled(config: LearnerConfig, key: jax.Array, batch_size: int) -> jax.Array:
    """The rows of every minibatch of every epoch, `[epochs * num_minibatches, m]`."""
    keys = jax.random.split(key, config.num_passes)
    orders = jax.vmap(lambda k: random_order(k, batch_size))(keys)
    size = batch_size // config.num_minibatches
    return orders[:, : size * config.num_minibatches].reshape(-1, size)


def mean_where(metrics: Means, counts: jax.Array) -> Means:
    """Means of arrays over the entries that count, bool of the same shape; 0 if none does."""
    number = jnp.maximum(jnp.sum(counts), 1)
    return {name: jnp.sum(jnp.where(counts, x, 0.0)) / number for name, x in metrics.items()}
