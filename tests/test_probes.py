"""The learners solve problems whose answer is known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import entry
from probes import (
    ConstantReward,
    MatchSign,
    Patience,
    Target,
    TwoArms,
    constant_network,
    one_action_each,
    probe_agent,
    tiny_config,
    tiny_ppo,
)

from envs.grids.chain import HandoverChain
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import SubPolicies
from mlsh_jax.config import MLSHConfig
from mlsh_jax.rl.config import RULES
from mlsh_jax.rl.normalization import init_statistics, normalize
from mlsh_jax.rl.rules import get_rule
from mlsh_jax.tasks import sample_tasks

LEARNER = tiny_ppo(learning_rate=1e-2, epochs=4)
NOW, WAIT = 0, 1


def learn_jointly(agent, iterations, seed=0):
    """φ, its learner and the masters after one long joint phase from scratch."""

    @jax.jit
    def run(key):
        key_init, key_lives, key_joint = jax.random.split(key, 3)
        state = mlsh.init(agent, key_init)
        tasks = sample_tasks(agent.env, key_lives, agent.config.num_tasks, stratify=True)
        lives = mlsh.begin_lives(agent, key_lives, tasks)
        state, lives, _ = mlsh.warmup_and_joint(agent, state, lives, key_joint, 0, iterations)
        return state.subpolicies, state.learner, lives.masters

    return run(jax.random.key(seed))


def test_constant_reward_has_the_value_of_its_geometric_series_at_both_levels():
    config = tiny_config(
        credit="subpolicy",  # a sub-policy that never ends
        equal_tasks=False,  # rewards as they are
        task_critic=False,
        macro_length=2,
        num_tasks=2,
        steps_per_iteration=48,
        master=dataclasses.replace(LEARNER, discount=0.5),
        subpolicy=dataclasses.replace(LEARNER, discount=0.75),
    )
    agent = probe_agent(ConstantReward(), config)
    _, learner, masters = learn_jointly(agent, 60)
    for k in range(2):
        value = agent.subpolicy_network.value(entry(learner.critics, k), jnp.ones(1))
        np.testing.assert_allclose(value, 1 / (1 - 0.75), rtol=0.03)
    for g in range(2):
        # A slice pays 2; its discount is per slice.
        value = agent.master_network.value(entry(masters.params, g), jnp.ones(1))
        np.testing.assert_allclose(value, 2 / (1 - 0.5), rtol=0.03)


@pytest.mark.parametrize("rule", [name for name, entry in RULES.items() if entry.for_subpolicies])
def test_actions_follow_the_observation(rule):
    learner = dataclasses.replace(LEARNER.with_rule(rule), normalize_observations=True)
    if rule == "a2c":  # as many gradient steps as epochs of PPO
        learner = dataclasses.replace(learner, num_minibatches=4)
    config = tiny_config(num_subpolicies=1, master=learner, subpolicy=learner)
    agent = probe_agent(MatchSign(), config)
    phi, *_ = learn_jointly(agent, 60)
    view = normalize(phi.statistics, jnp.asarray([[-1.0], [1.0]]))
    policy = agent.subpolicy_network.policy(entry(phi.params, 0), view)
    np.testing.assert_array_equal(policy.mode(), [0, 1])
    assert (policy.entropy() < 0.3).all()


def test_two_subpolicies_specialise_and_fresh_masters_pick_the_right_one():
    config = tiny_config(
        num_tasks=4,
        num_envs=8,
        steps_per_iteration=32,
        warmup_iterations=10,
        joint_iterations=4,
        master=dataclasses.replace(LEARNER, clip_epsilon=0.8, learning_rate=2e-2),
        subpolicy=LEARNER,
    )
    agent = probe_agent(TwoArms(), config)
    tasks = adapt.evaluation_tasks(agent.env, jax.random.key(0), 2)

    @jax.jit
    def meta_learn_and_assess(key):
        def iteration(state, _):
            return mlsh.meta_iteration(agent, state)[0], None

        key_init, key_assess = jax.random.split(key)
        state, _ = jax.lax.scan(iteration, mlsh.init(agent, key_init), length=25)
        assess = functools.partial(adapt.assess, num_envs=32, iterations=20)
        return assess(agent, state.subpolicies, tasks, key_assess)[0]

    for seed in range(2):
        assessment = meta_learn_and_assess(jax.random.key(seed))
        # An episode has four steps, each of which pays at most 1.
        forced = assessment.forced.returns.mean(axis=-1)  # [K, G]
        specialized = forced if forced[0, 0] > forced[0, 1] else forced[::-1]
        np.testing.assert_allclose(specialized, 4 * np.eye(2), atol=0.5)
        assert (assessment.adapted.returns.mean(axis=-1) > 3.4).all()


@pytest.mark.parametrize(
    ("discount", "first_action", "values"), [(0.9, WAIT, [0.81, 0.9, 1.0]), (0.5, NOW, [0.6])]
)
def test_subpolicy_weighs_a_delayed_reward_by_its_discount(discount, first_action, values):
    # N = 1: the delayed reward reaches the first step through the values of two later slices.
    config = tiny_config(
        equal_tasks=False,  # rewards as they are
        task_critic=False,
        num_subpolicies=1,
        macro_length=1,
        num_envs=16,
        steps_per_iteration=96,
        subpolicy=dataclasses.replace(LEARNER, discount=discount),
    )
    agent = probe_agent(Patience(), config)
    phi, learner, _ = learn_jointly(agent, 80)
    observation = np.eye(4)[:3] + np.asarray([[0] * 4, [0, 0, 0, 1], [0, 0, 0, 1]])
    policy = agent.subpolicy_network.policy(entry(phi.params, 0), observation)
    assert policy.mode()[0] == first_action
    value = agent.subpolicy_network.value(entry(learner.critics, 0), observation)
    np.testing.assert_allclose(value[: len(values)], values, atol=0.08)


MASTERS = {
    "ppo": LEARNER,
    "a2c": dataclasses.replace(LEARNER.with_rule("a2c"), num_minibatches=4),
    "trpo": dataclasses.replace(LEARNER.with_rule("trpo"), kl_limit=0.05),
    "dqn": dataclasses.replace(LEARNER.with_rule("dqn"), final_exploration=0.1, target_period=10),
}
"""Of every rule that masters can have; a new one is to be added."""


def test_every_rule_is_probed():
    assert MASTERS.keys() == RULES.keys()


@pytest.mark.parametrize("rule", MASTERS)
@pytest.mark.parametrize(("discount", "choice"), [(0.9, WAIT), (0.5, NOW)])
def test_master_weighs_a_delayed_reward_by_its_discount(discount, choice, rule):
    config = tiny_config(
        macro_length=1,
        num_envs=16,
        steps_per_iteration=96,
        master=dataclasses.replace(MASTERS[rule], discount=discount),
    )
    agent = dataclasses.replace(
        probe_agent(Patience(), config), subpolicy_network=constant_network()
    )
    phi = SubPolicies(params=one_action_each(), statistics=init_statistics(4))

    @jax.jit
    def learn(key):
        tasks = sample_tasks(agent.env, key, 3, stratify=True)
        start = adapt.init_adaptation(agent, key, tasks)
        return adapt.adapt(agent, phi, start, 80)[0].lives.masters

    masters = learn(jax.random.key(0))
    for g in range(3):
        master = entry(masters, g)
        policy = get_rule(config.master).policy(
            agent.master_network, config.master, master.params, master.opt_state, jnp.eye(4)[0]
        )
        assert policy.mode() == choice
        assert policy.entropy() < 0.5


def test_continuous_action_reaches_the_best_one():
    config = tiny_config(num_subpolicies=1, num_envs=8, steps_per_iteration=64, subpolicy=LEARNER)
    agent = probe_agent(Target(), config)
    phi, *_ = learn_jointly(agent, 80)
    policy = agent.subpolicy_network.policy(entry(phi.params, 0), jnp.ones(1))
    np.testing.assert_allclose(policy.mode(), [Target.BEST], atol=0.05)
    # Noise costs reward, so that it shrinks from the initial exp(-0.5).
    assert policy.log_std[0] < -0.8


def test_the_noise_of_each_sub_policy_is_told():
    agent = probe_agent(Target(), tiny_config(num_subpolicies=2, subpolicy=LEARNER))
    state, metrics = jax.jit(lambda key: mlsh.meta_iteration(agent, mlsh.init(agent, key)))(
        jax.random.key(0)
    )
    params = [entry(state.subpolicies.params, k) for k in range(2)]
    log_std = [agent.subpolicy_network.policy(each, jnp.ones(1)).log_std[0] for each in params]
    np.testing.assert_allclose(metrics["subpolicy/deviation"], np.exp(log_std), rtol=1e-5)
    assert np.ptp(log_std) > 0.01


@pytest.mark.parametrize(
    ("links", "credit", "num_seeds", "least", "most"),
    [
        (2, "hierarchy", 1, 0.95, 1.0),
        pytest.param(2, "hierarchy", 5, 0.95, 1.0, marks=pytest.mark.slow),
        pytest.param(3, "hierarchy", 5, 0.95, 1.0, marks=pytest.mark.slow),
        pytest.param(2, "subpolicy", 5, 0.5, 0.65, marks=pytest.mark.slow),
        pytest.param(3, "subpolicy", 5, 0.5, 0.65, marks=pytest.mark.slow),
    ],
)
def test_credit_crosses_a_handover(links, credit, num_seeds, least, most):
    """Everything at the library's defaults but the sizes."""
    config = MLSHConfig(
        macro_length=1, num_envs=20, steps_per_iteration=20 * links * 5, credit=credit
    )
    agent = probe_agent(HandoverChain(links), config)
    keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))

    @jax.jit
    def train(keys):
        def one(key):
            def iterate(state, _):
                state, metrics = mlsh.meta_iteration(agent, state)
                return state, metrics["return"]

            return jax.lax.scan(iterate, mlsh.init(agent, key), length=40)[1][-1]

        return jax.lax.map(one, keys)

    returns = np.asarray(train(keys))
    assert ((returns >= least) & (returns <= most)).all(), returns
