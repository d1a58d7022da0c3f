"""Who uses which sub-policy while these are trained, and whether they differ.

Masters that are free to choose leave a sub-policy that was slow to learn alone, so that it never
learns. Where each has to be chosen as often as the others, those tasks get it for which it is
*comparatively* good, and no task loses more by that than another would (`balancing_bias`).

Where two have become the same, or one is used in tasks alone that pay nothing, no gradient changes
that any more: one of them begins anew (`needless_subpolicy`).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mlsh_jax.rl.distributions import Distribution, Gaussian

_STEPS = 20
_ALIKE = 0.5  # nats; those that have separated are 2.7 apart or more (results/separation.md)
_UNUSED = 0.01
_SERVED = 0.85  # as in the suite for separation
_WASTED = 0.9  # of a sub-policy's slices
_WHAT_TO_DO = "docs/choosing_k_n_w_u.md says under Symptoms what to try"


def balancing_bias(logits: jax.Array) -> jax.Array:
    """The bias of each choice with which all of them are made nearly equally often.

    That is softmax(logits + bias) on average over tasks, of which those that choose alike count as
    one (`_counting_once`): 6 tasks that want the same need no more sub-policies than one does.

    It is the dual of an assignment of rows to choices in equal shares that gives the least of the
    rows' preferences away (entropic optimal transport; Cuturi 2013, arXiv 1306.0895), found by
    scaling all choices in turn, a few times: rows that differ in their preferences by more than
    some 8 nats stay with them.

    Args:
        logits: of every row of each task, `[G, B, K]`.

    Returns:
        `[K]`, with mean 0.
    """
    num_choices = logits.shape[-1]
    weight = _counting_once(jax.nn.softmax(logits).mean(axis=1))

    def scale(bias: jax.Array, _: None) -> tuple[jax.Array, None]:
        usage = weight @ jax.nn.softmax(logits + bias).mean(axis=1)
        # A choice that nobody makes gets as much as 14 nats in a step.
        bias = bias - jnp.log(usage * num_choices + 1e-6)
        return bias - bias.mean(), None

    return jax.lax.scan(scale, jnp.zeros(num_choices), length=_STEPS)[0]


def _counting_once(usage: jax.Array) -> jax.Array:
    """Weights of tasks with which those that use the same sub-policies count as one.

    How alike two of them are is what their shares of each sub-policy have in common, wherever these
    are chosen: masters that use the same ones in different places count as one, too.

    Args:
        usage: of every task, `[G, K]`.

    Returns:
        `[G]`, which sum to 1.
    """
    in_common = jnp.minimum(usage[:, None], usage[None, :]).sum(axis=-1)  # [G, G], 1 of the same
    weight = 1.0 / in_common.sum(axis=-1)
    return weight / weight.sum()


def nearest_divergence(policies: Distribution) -> jax.Array:
    """How differently each sub-policy acts from the one that is most like it.

    Means of continuous actions are clipped as environments clip actions: beyond that they do the
    same.

    Args:
        policies: of K > 1 sub-policies at the same observations, `[K, B]`.

    Returns:
        The mean of both Kullback-Leibler divergences of a pair, in nats, `[K]`.
    """
    if isinstance(policies, Gaussian):
        policies = dataclasses.replace(policies, mean=jnp.clip(policies.mean, -1.0, 1.0))

    def of_pair(one: Distribution, other: Distribution) -> jax.Array:
        return one.kl_divergence(other).mean()

    of_one = jax.vmap(of_pair, in_axes=(None, 0))
    pairs = jax.vmap(of_one, in_axes=(0, None))(policies, policies)  # [K, K]
    symmetric = (pairs + pairs.T) / 2
    return jnp.where(jnp.eye(len(symmetric)) > 0, jnp.inf, symmetric).min(axis=1)


def needless_subpolicy(
    divergence: jax.Array, usage: jax.Array, is_paid: jax.Array, is_complete: jax.Array
) -> jax.Array:
    """Which sub-policy an untrained one should take the place of, one-hot bool `[K]`, or none.

    None while every task pays something. If one does not, a needless sub-policy is one that only
    such tasks use, or one that has a double; of several it is that which such tasks use most.
    Where some tasks are not here it may be one of them that a sub-policy serves, and only one that
    has a double is needless.
    Likewise k-means and vector quantization replace centers that nothing is assigned to (Dhariwal
    et al. 2020, arXiv 2005.00341, section 3).

    Args:
        divergence: of each from the one that is most like it, `[K]`.
        usage: share of slices that each had in each task, `[G, K]`.
        is_paid: whether each task pays at all, bool `[G]`.
        is_complete: whether all tasks that there are are among them, bool scalar.
    """
    wasted = (usage * ~is_paid[:, None]).sum(axis=0) / jnp.maximum(usage.sum(axis=0), 1e-6)
    is_free = (is_complete & (wasted > _WASTED)) | (divergence < _ALIKE)
    is_there = is_free.any() & ~is_paid.all()
    chosen = jnp.argmax(jnp.where(is_free, wasted, -1.0))
    return (jnp.arange(len(wasted)) == chosen) & is_there


def separation_warnings(
    divergence: Sequence[float], usage: Sequence[Sequence[float]] = ()
) -> list[str]:
    """What a person should know of sub-policies that are not K different ones; a line each.

    Args:
        divergence: of each sub-policy from the one that is most like it (`nearest_divergence`).
        usage: share of slices that each had with masters that choose freely, of each task,
            `[M][K]`; empty where that is not known.
    """
    lines = []
    alike = [k for k, value in enumerate(divergence) if value < _ALIKE]
    if alike:
        act = "act alike" if len(alike) == 2 else "each act like another one"
        lines.append(
            f"sub-policies {_listed(alike)} {act} (they diverge by "
            f"{max(divergence[k] for k in alike):.2g} nats): they have not separated, or there are "
            f"more than the tasks need; {_WHAT_TO_DO}"
        )
    # One that serves a single task of many is used.
    shares = np.asarray(usage).max(axis=0) if len(usage) else np.ones(0)
    unused = [k for k, share in enumerate(shares) if share < _UNUSED]
    if unused:
        one = len(unused) == 1
        lines.append(
            f"sub-polic{'y' if one else 'ies'} {_listed(unused)} {'is' if one else 'are'} never "
            f"used: no task needs {'it' if one else 'them'}, or none was left to "
            f"{'it' if one else 'them'}; {_WHAT_TO_DO}"
        )
    return lines


def service_warnings(returns: Mapping[str, float], best: Mapping[str, float]) -> list[str]:
    """What a person should know of tasks that nobody serves; a line at most.

    Args:
        returns: what fresh masters come to on each task, by its name.
        best: what is possible there, where that is known; of others nothing is said, nor where it
            is not positive, so that no share of it can be told.
    """
    lost = {
        name: value / best[name]
        for name, value in returns.items()
        if best.get(name, 0.0) > 0 and value < _SERVED * best[name]
    }
    if not lost:
        return []
    worst = min(lost, key=lost.__getitem__)
    return [
        f"fresh masters come to less than {_SERVED} of what is possible on {len(lost)} of "
        f"{len(returns)} tasks, least on {worst} ({returns[worst]:.3g} of {best[worst]:.3g}): "
        f"no sub-policy serves them, or masters do not find the one that does; {_WHAT_TO_DO}"
    ]


def _listed(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last
