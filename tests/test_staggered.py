"""Lives that begin at different times."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import assert_bitwise_equal, differ
from probes import Clock, probe_agent, tiny_config

from experiments.harness import staggered

G, W, U = 3, 2, 1
AGENT = probe_agent(Clock(), tiny_config(num_tasks=G, warmup_iterations=W, joint_iterations=U))


def assert_differ(one, other):
    assert differ(one, other)


@pytest.fixture(scope="module")
def groups():
    return jax.jit(functools.partial(staggered.init, AGENT))(jax.random.key(0))


def test_ends_are_spread_over_a_life(groups):
    assert groups.age.tolist() == [0, -1, -2]


@pytest.mark.whole
def test_sub_policies_learn_in_every_iteration_from_those_in_their_joint_phase(groups, monkeypatch):
    learned_from = []

    def note(agent, subpolicies, learner, rollout, *_):
        jax.debug.callback(lambda x: learned_from.append(x.tolist()), rollout.weight.max((1, 2, 3)))
        return subpolicies, learner, {}

    monkeypatch.setattr(staggered, "update_subpolicies", note)
    after, _ = jax.jit(functools.partial(staggered.meta_iteration, AGENT))(groups)
    jax.effects_barrier()
    # The other two are in their first warmup still, which is longer.
    assert learned_from == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert after.age.tolist() == [3, 2, 1]
    learned_from.clear()
    after, _ = jax.jit(functools.partial(staggered.meta_iteration, AGENT))(after)
    jax.effects_barrier()
    assert learned_from == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    # A life that has reached its end begins anew when the next iteration begins.
    assert after.age.tolist() == [3, 2, 1]


def test_a_life_is_new_in_every_part_when_it_begins_anew(groups):
    step = jax.jit(lambda groups: staggered._iteration(AGENT, groups, jax.random.key(1))[0])
    over = groups.replace(age=jnp.asarray([W + U, 0, 1]))
    one, other = step(over), step(over.replace(lives=step(groups).lives))
    # What came before is forgotten by the life that was over, and by no other.
    first, rest = (lambda x: x[0]), (lambda x: x[1:])
    for take, check in ((first, assert_bitwise_equal), (rest, assert_differ)):
        check(*(jax.tree.map(take, x.lives.masters.params) for x in (one, other)))


def test_choices_are_balanced_in_the_joint_phase_alone(groups):
    groups = groups.replace(age=jnp.asarray([W - 2, W - 1, W + U - 1]))
    after = jax.jit(lambda groups: staggered._iteration(AGENT, groups, jax.random.key(1))[0])(
        groups
    )
    # The first is in its warmup still in the next iteration.
    assert after.lives.masters.bias.any(axis=1).tolist() == [False, True, True]


@pytest.mark.whole
def test_a_meta_iteration_improves_sub_policies(groups):
    step = jax.jit(functools.partial(staggered.meta_iteration, AGENT))
    after, metrics = step(step(groups)[0])
    assert differ(after.subpolicies.params, groups.subpolicies.params)
    assert np.isfinite(metrics["return"])
