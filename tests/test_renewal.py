"""A sub-policy that serves nobody begins anew while a task pays nothing."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import assert_bitwise_equal, differ, entry
from probes import Clock, probe_agent, tiny_config

import envs
from experiments.harness.many_seeds import returns_of_best_actions
from experiments.harness.suite import CASES
from mlsh_jax import mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.credit import is_paid
from mlsh_jax.learners import init_subpolicies, renew_subpolicies
from mlsh_jax.tasks import Tasks
from mlsh_jax.usage import needless_subpolicy

G, K = 4, 3
CONFIG = tiny_config(num_tasks=G, num_subpolicies=K, warmup_iterations=1, joint_iterations=1)
AGENT = probe_agent(Clock(), CONFIG)

ALL = Tasks(task=jnp.zeros(G), index=jnp.arange(G) % len(AGENT.env.task_names))
EACH_ITS_OWN = [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
TWO_FOR_ONE = [[0.5, 0.5, 0], [0.2, 0.8, 0], [0.2, 0.8, 0], [0, 0, 1]]
DIFFERENT, DOUBLES = [2.0, 2.0, 2.0], [0.1, 0.1, 3.0]


@pytest.mark.parametrize(
    ("divergence", "usage", "paid", "needless"),
    [
        (DIFFERENT, EACH_ITS_OWN, [True, True, True, True], None),
        (DOUBLES, EACH_ITS_OWN, [True, True, True, True], None),
        # What one sub-policy is used for pays nothing.
        (DIFFERENT, EACH_ITS_OWN, [True, True, False, True], 1),
        (DIFFERENT, EACH_ITS_OWN, [False, True, True, True], None),
        (DIFFERENT, EACH_ITS_OWN, [False, False, True, True], 0),
        # Two do the same, and the second is used more where nothing is paid.
        (DIFFERENT, TWO_FOR_ONE, [True, False, False, True], None),
        (DOUBLES, TWO_FOR_ONE, [True, False, False, True], 1),
    ],
)
def test_needless_is_who_serves_no_task_that_pays_or_has_a_double(
    divergence, usage, paid, needless
):
    given = jnp.asarray(divergence), jnp.asarray(usage, float), jnp.asarray(paid)
    expected = [] if needless is None else [needless]
    assert np.flatnonzero(needless_subpolicy(*given, jnp.asarray(True))).tolist() == expected
    # One that is used in these tasks alone may serve one that is not here.
    expected = [] if divergence == DIFFERENT else expected
    assert np.flatnonzero(needless_subpolicy(*given, jnp.asarray(False))).tolist() == expected


def test_a_task_counts_as_paid_if_it_was_in_any_iteration_of_the_joint_phase():
    metrics = {"divergence": jnp.asarray([DOUBLES, DIFFERENT])}
    usage = jnp.broadcast_to(jnp.asarray(EACH_ITS_OWN, float), (2, G, K))
    never = jnp.ones((2, G), bool).at[:, 2].set(False)
    find = functools.partial(mlsh.find_needless, AGENT, metrics)
    assert find(ALL, usage, never).tolist() == [False, True, False]
    for iteration in range(2):
        once = never.at[iteration, 2].set(True)
        assert not find(ALL, usage, once).any()
    # Without one of the tasks nobody can tell.
    assert not find(Tasks(jnp.zeros(G), jnp.asarray([0, 2, 0, 2])), usage, never).any()


def test_where_tasks_never_come_back_nothing_begins_anew():
    endless = make_agent(envs.make("all_walk"), CONFIG)
    metrics = {"divergence": jnp.asarray([DOUBLES])}
    usage = jnp.broadcast_to(jnp.asarray(EACH_ITS_OWN, float), (1, G, K))
    never = jnp.zeros((1, G), bool)
    assert mlsh.find_needless(AGENT, metrics, ALL, usage, never).sum() == 1
    assert mlsh.find_needless(endless, metrics, ALL, usage, never).tolist() == [False] * K


def rounded(state, k):
    """Parameters of sub-policy k, without the last digits."""
    return jax.tree.map(lambda x: jnp.round(x[k], 4), state.subpolicies.params)


def test_one_that_nobody_used_is_not_needless_for_that():
    usage = jnp.asarray([[1.0, 0.0], [1.0, 0.0]])
    got = needless_subpolicy(
        jnp.asarray([2.0, 2.0]), usage, jnp.asarray([True, False]), jnp.asarray(True)
    )
    assert not got.any()


def test_a_renewed_sub_policy_is_untrained_and_the_others_stay_as_they_were():
    first, new = (
        jax.jit(functools.partial(init_subpolicies, AGENT))(jax.random.key(seed)) for seed in (0, 1)
    )
    trained = jax.tree.map(lambda x: x + 1, first)
    which = jnp.asarray([False, True, False])
    subpolicies, learner = renew_subpolicies(AGENT, *trained, which, jax.random.key(1))
    parts = [
        (subpolicies.params, trained[0].params, new[0].params),
        (learner.critics, trained[1].critics, new[1].critics),
        (learner.opt_state, trained[1].opt_state, new[1].opt_state),
    ]
    for now, before, fresh in parts:
        assert_bitwise_equal(entry(now, 0), entry(before, 0))
        assert_bitwise_equal(entry(now, 1), entry(fresh, 1))
        assert_bitwise_equal(entry(now, 2), entry(before, 2))
    assert_bitwise_equal(subpolicies.statistics, trained[0].statistics)


@pytest.mark.parametrize(("pays", "renews", "renewed"), [(0, True, 1), (1, True, 0), (0, False, 0)])
def test_a_meta_iteration_renews_a_double_where_a_task_pays_nothing(pays, renews, renewed):
    class Quiet(Clock):
        def reward(self, world, action, task):
            return jnp.where(task == 0, pays, 1) * super().reward(world, action, task)

    # Steps too small to be seen: whatever changes was renewed.
    subpolicy = dataclasses.replace(CONFIG.subpolicy, learning_rate=1e-12)
    config = dataclasses.replace(CONFIG, renew_subpolicies=renews, subpolicy=subpolicy)
    agent = probe_agent(Quiet(), config)
    state = mlsh.init(agent, jax.random.key(0))
    iterate = jax.jit(functools.partial(mlsh.meta_iteration, agent))
    after, metrics = iterate(state)
    assert max(metrics["divergence"]) < 0.5
    # Nobody begins anew at the end, where it would be handed over untrained.
    assert not any(differ(rounded(after, k), rounded(state, k)) for k in range(K))
    assert after.needless.sum() == renewed
    following, _ = iterate(after)
    changed = [differ(rounded(following, k), rounded(after, k)) for k in range(K)]
    assert changed == after.needless.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("renews", [True, False])
def test_a_task_that_was_lost_is_found_again_where_one_begins_anew_and_only_there(renews):
    case = CASES["corridor"]
    env = envs.make(case.env, **case.options)
    agent = make_agent(env, dataclasses.replace(case.config(), renew_subpolicies=renews))

    def train(state, length):
        def iterate(state, _):
            state, metrics = mlsh.meta_iteration(agent, state)
            return state, metrics["task_return"]

        return jax.lax.scan(iterate, state, length=length)

    state, returns = jax.jit(lambda key: train(mlsh.init(agent, key), 20))(jax.random.key(0))
    best = returns_of_best_actions(env)
    assert (np.asarray(returns[-1]) > 0.85 * best).all()
    doubled = jax.tree.map(
        lambda x: x.at[1].set(x[0]),
        (state.subpolicies.params, state.learner.critics, state.learner.opt_state),
    )
    state = dataclasses.replace(
        state,
        subpolicies=dataclasses.replace(state.subpolicies, params=doubled[0]),
        learner=dataclasses.replace(state.learner, critics=doubled[1], opt_state=doubled[2]),
    )
    _, returns = jax.jit(lambda state: train(state, 25))(state)
    assert np.asarray(returns[0]).min() < 0.2 * best.min()
    found = np.asarray(returns[-1]) > 0.85 * best
    assert found.all() if renews else found.sum() == 1


def test_a_task_that_pays_alike_in_every_step_is_paid():
    reward = jnp.asarray([0.0, -1.0, 2.0])[:, None, None, None] * jnp.ones((3, 2, 3, 4))
    weight = jnp.ones_like(reward)
    ends = jnp.zeros(reward.shape, bool)
    rollout = types.SimpleNamespace(reward=reward, weight=weight, terminated=ends)
    assert is_paid(rollout).tolist() == [False, False, True]
    rollout.terminated = ends.at[:, 0, 0, 0].set(True)
    assert is_paid(rollout).tolist() == [False, True, True]
    rollout.terminated = ends
    for surplus in (-1.0, 1.0):
        rollout.reward = reward.at[1, 0, 0, 0].add(surplus)
        rollout.weight = weight
        assert is_paid(rollout).tolist() == [False, True, True]
        # What is not counted, as where the physics failed, says nothing.
        rollout.weight = weight.at[1, 0, 0, 0].set(0.0)
        assert is_paid(rollout).tolist() == [False, False, True]
