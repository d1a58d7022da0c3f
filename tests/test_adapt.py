"""Adaptation and evaluation with frozen sub-policies."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import assert_bitwise_equal, differ
from probes import (
    Clock,
    Fragile,
    Probe,
    Target,
    TwoArms,
    constant_network,
    probe_agent,
    tiny_config,
)

import envs
from envs.base import State
from experiments.harness import stages
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import Agent, all_policies, make_agent
from mlsh_jax.host.checkpoint import TRAINER, CheckpointStore
from mlsh_jax.rl.config import RULES, LearnerConfig
from mlsh_jax.tasks import select_tasks

E = 16
NOBODY = np.full(3, -1, np.int32)
CLOCK_RETURNS = [36.0, 6.0, 15.0]  # 1 + 2 + … + 8, + 3, + 5


def with_constant_actions(env: Probe) -> Agent:
    """Plays an environment with sub-policies whose action is their own index."""
    return dataclasses.replace(
        probe_agent(env, tiny_config()), subpolicy_network=constant_network()
    )


def played(env: Clock, subpolicies, start) -> adapt.Episodes:
    """Episodes of a kind of clock in which the masters of `start` choose."""
    evaluate = jax.jit(functools.partial(adapt.evaluate, with_constant_actions(env), num_envs=E))
    lives = start.lives
    return evaluate(subpolicies, lives.masters, lives.tasks, NOBODY, jax.random.key(1))


@pytest.fixture(scope="module")
def clock():
    """Plays the clock with sub-policies whose action is their own index."""
    return with_constant_actions(Clock())


@pytest.fixture(scope="module")
def evaluate(clock):
    return jax.jit(functools.partial(adapt.evaluate, clock, num_envs=E))


@pytest.fixture(scope="module")
def clock_start(clock):
    """Fresh masters on the three tasks of the clock."""
    tasks = select_tasks(Clock().all_tasks(), jnp.arange(3))
    return jax.jit(functools.partial(adapt.init_adaptation, clock))(jax.random.key(0), tasks)


@pytest.fixture(scope="module")
def free(evaluate, clock_start, arms_subpolicies):
    """Episodes in which masters choose."""
    lives = clock_start.lives
    return evaluate(arms_subpolicies, lives.masters, lives.tasks, NOBODY, jax.random.key(1))


@pytest.fixture(scope="module")
def assessed(arms_agent, arms_subpolicies):
    """The assessment of perfect sub-policies on four tasks, and its learning curve."""
    tasks = adapt.evaluation_tasks(arms_agent.env, jax.random.key(0), 4)
    assess = jax.jit(functools.partial(adapt.assess, num_envs=E, iterations=20), static_argnums=0)
    return assess(arms_agent, arms_subpolicies, tasks, jax.random.key(1))


def test_returns_are_those_of_whole_first_episodes(free):
    # Tasks 1 and 2 end early and start again within the eight steps that are played.
    np.testing.assert_array_equal(free.returns, np.repeat([CLOCK_RETURNS], E, axis=0).T)
    np.testing.assert_array_equal(free.lengths, np.repeat([[8, 3, 5]], E, axis=0).T)
    np.testing.assert_array_equal(free.terminated, np.repeat([[False, True, True]], E, axis=0).T)


def test_environment_metrics_are_summed_over_the_episode_and_kept_from_its_end(free):
    np.testing.assert_array_equal(free.env_sums["time"], free.returns)
    np.testing.assert_array_equal(free.env_finals["time"], np.repeat([[8, 3, 5]], E, axis=0).T)


class Striking(Clock):
    """The clock, whose second step and fourth are successes in episodes with a number over 0.5."""

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        state = super().reset_to_task(key, task)
        return state.replace(metrics={**state.metrics, "success": jnp.zeros(())})

    def step(self, state: State, action: jax.Array) -> State:
        stepped = super().step(state, action)
        time, number, _ = stepped.obs
        success = ((time == 2) | (time == 4)) & (number > 0.5)
        metrics = {**stepped.metrics, "success": success.astype(jnp.float32)}
        return stepped.replace(metrics=metrics)


def test_steps_are_counted_to_the_first_success_of_the_first_episode(arms_subpolicies, clock_start):
    episodes = played(Striking(), arms_subpolicies, clock_start)
    numbers = episodes.recorded.observation[..., 0, :, 1]  # [G, S, R], of the episode of a slice
    first, second = numbers[:, 0], numbers[1, 2]  # task 1 ends in its second slice
    assert ((first[1] < 0.5) & (second > 0.5)).any()
    expected = np.where(first > 0.5, 2.0, np.inf)
    np.testing.assert_array_equal(episodes.steps_to_success[:, : adapt.RECORDED], expected)


def test_no_steps_to_success_where_no_success_is_reported(free):
    assert free.steps_to_success is None


def test_episodes_in_which_the_physics_failed_are_told(arms_subpolicies, clock_start):
    episodes = played(Fragile(), arms_subpolicies, clock_start)
    np.testing.assert_array_equal(episodes.failed, np.repeat([[False, True, True]], E, axis=0).T)
    # The failing steps, 3 and 5, pay nothing.
    np.testing.assert_array_equal(episodes.returns, np.repeat([[36, 3, 10]], E, axis=0).T)


@pytest.mark.parametrize("failed", [False, True])
def test_what_terminates_after_a_failure_is_another_episode(free, failed):
    data = jax.tree.map(lambda x: jnp.asarray(x[0]), free.recorded)  # of an endless task
    data = dataclasses.replace(
        data,
        failed=data.failed.at[0, 0].set(failed),
        truncated=data.truncated.at[0, 0].set(failed),
        terminated=data.terminated.at[1, 0, 0].set(True),
    )
    episodes = adapt._first_episodes(data, 2)
    assert (bool(episodes.failed[0]), bool(episodes.terminated[0])) == (failed, not failed)


def test_no_physics_never_fails(free):
    assert not free.failed.any()


def test_the_first_environments_are_kept_step_by_step(free):
    recorded = free.recorded
    assert recorded.reward.shape == (3, 4, 2, adapt.RECORDED)
    assert recorded.subpolicy.shape == (3, 4, adapt.RECORDED)
    returns = (recorded.reward * recorded.weight).sum(axis=(1, 2))
    np.testing.assert_array_equal(returns, free.returns[:, : adapt.RECORDED])
    lengths = recorded.weight.sum(axis=(1, 2))
    np.testing.assert_array_equal(lengths, np.repeat([[8, 3, 5]], adapt.RECORDED, axis=0).T)


def test_usage_is_the_share_of_slices_of_the_first_episode(free):
    np.testing.assert_allclose(free.usage.sum(axis=1), np.ones(3), rtol=1e-6)
    # Task 0 has whole slices, so that the share of slices is the share of steps; the action is k.
    np.testing.assert_allclose(free.usage[0, 1], free.env_sums["action"][0].mean() / 8, rtol=1e-6)
    assert 0 < free.usage[0, 1] < 1


@pytest.mark.parametrize("forced", [(0, 0, 0), (1, 1, 1), (1, 0, 1)])
def test_forced_subpolicy_acts_at_every_step(evaluate, clock_start, arms_subpolicies, forced):
    lives = clock_start.lives
    episodes = evaluate(
        arms_subpolicies,
        lives.masters,
        lives.tasks,
        np.asarray(forced, np.int32),
        jax.random.key(1),
    )
    np.testing.assert_array_equal(episodes.usage, np.eye(2)[list(forced)])
    steps = np.asarray([8, 3, 5]) * forced
    np.testing.assert_array_equal(episodes.env_sums["action"], np.repeat([steps], E, axis=0).T)


def test_masters_do_not_explore_while_they_are_measured(arms_agent, arms_subpolicies):
    master = LearnerConfig(hidden_sizes=(8,), normalize_observations=False).with_rule("dqn")
    agent = make_agent(arms_agent.env, dataclasses.replace(arms_agent.config, master=master))
    agent = dataclasses.replace(agent, subpolicy_network=constant_network())
    tasks = select_tasks(TwoArms().all_tasks(), jnp.arange(2))
    assess = jax.jit(functools.partial(adapt.assess, agent, num_envs=E, iterations=1))
    result, _ = assess(arms_subpolicies, tasks, jax.random.key(1))
    # Where all observations are the same a greedy master always makes the same choice.
    np.testing.assert_array_equal(np.sort(result.adapted.usage), [[0, 1], [0, 1]])


@pytest.mark.parametrize("deterministic", [False, True])
def test_subpolicies_act_without_noise_if_asked_and_only_once_they_learn_no_more(deterministic):
    agent = probe_agent(
        Target(), tiny_config(num_subpolicies=1, deterministic_when_frozen=deterministic)
    )
    phi = mlsh.init(agent, jax.random.key(0)).subpolicies
    tasks = select_tasks(Target().all_tasks(), jnp.zeros(2, jnp.int32))
    start = adapt.init_adaptation(agent, jax.random.key(1), tasks)
    mean = all_policies(agent, phi, Target().reset_to_task(jax.random.key(0), jnp.int32(0)).obs)
    noiseless = -Target.episode_length * float((mean.mode()[0, 0] - Target.BEST) ** 2)

    played = adapt.evaluate(
        agent, phi, start.lives.masters, tasks, NOBODY[:2], jax.random.key(2), E
    )
    _, curve = jax.jit(functools.partial(adapt.adapt, agent, iterations=2))(phi, start)
    _, rollouts = mlsh.collect(agent, phi, start.lives, jax.random.key(3))
    assert np.allclose(played.returns, noiseless, rtol=1e-4) == deterministic
    assert np.allclose(curve["return"], noiseless, rtol=1e-4) == deterministic
    assert rollouts.action.std() > 0.5  # which φ learns from


def test_one_task_can_be_forced_while_another_is_free(
    evaluate, clock_start, arms_subpolicies, free
):
    lives = clock_start.lives
    forced = np.asarray([-1, 1, -1], np.int32)
    episodes = evaluate(arms_subpolicies, lives.masters, lives.tasks, forced, jax.random.key(1))
    np.testing.assert_array_equal(episodes.usage[1], [0, 1])
    np.testing.assert_array_equal(episodes.usage[::2], free.usage[::2])


def test_evaluation_learns_nothing_and_repeats_itself(
    evaluate, clock_start, arms_subpolicies, free
):
    before = jax.device_get(clock_start.lives.masters), jax.device_get(arms_subpolicies)
    lives = clock_start.lives
    again = evaluate(arms_subpolicies, lives.masters, lives.tasks, NOBODY, jax.random.key(1))
    assert_bitwise_equal(free, again)
    assert_bitwise_equal(before, (lives.masters, arms_subpolicies))
    other = evaluate(arms_subpolicies, lives.masters, lives.tasks, NOBODY, jax.random.key(2))
    assert differ(free.usage, other.usage)
    assert evaluate._cache_size() == 1


def test_adaptation_compiles_once_and_continues(arms_agent, arms_subpolicies, arms_adapt):
    tasks = adapt.evaluation_tasks(arms_agent.env, jax.random.key(0), 2)
    start = jax.jit(functools.partial(adapt.init_adaptation, arms_agent))(jax.random.key(0), tasks)
    states, curves = [start], []
    for _ in range(3):
        state, metrics = arms_adapt(arms_subpolicies, states[-1])
        states.append(state)
        curves.append(metrics["return"])
    assert arms_adapt._cache_size() == 1
    assert curves[0].shape == (20,)
    keys = np.stack([jax.random.key_data(state.key) for state in states])
    assert len(np.unique(keys, axis=0)) == 4
    again, metrics = arms_adapt(arms_subpolicies, start)
    assert_bitwise_equal(again, states[1])
    np.testing.assert_array_equal(metrics["return"], curves[0])


def test_fresh_masters_learn_to_pick_the_right_subpolicy(assessed):
    _, curve = assessed
    assert curve["return"].shape == (20,)
    assert curve["return"][0] < 3
    assert curve["return"][-1] > 3.5


def test_assessment_tells_before_after_and_alone_apart(assessed):
    assessment, _ = assessed
    # Tasks are 0, 0, 1, 1, and an episode has four steps of which each pays at most 1.
    own = np.asarray([[4, 4, 0, 0], [0, 0, 4, 4]])
    assert assessment.initial.returns.shape == (4, E)
    assert assessment.adapted.returns.shape == (4, E)
    assert assessment.forced.returns.shape == (2, 4, E)
    np.testing.assert_array_equal(assessment.forced.returns, np.repeat(own[..., None], E, axis=2))
    np.testing.assert_array_equal(assessment.forced.usage, np.repeat(np.eye(2)[:, None], 4, axis=1))
    assert (np.abs(assessment.initial.returns.mean(axis=1) - 2) < 1.2).all()
    assert (assessment.adapted.returns.mean(axis=1) > 3.3).all()
    right = np.asarray([0, 0, 1, 1])
    assert (np.asarray(assessment.adapted.usage)[np.arange(4), right] > 0.8).all()


@pytest.mark.parametrize(
    ("num_tasks", "expected"),
    [(1, [0, 1, 2]), (3, [0, 1, 2]), (4, [0, 0, 1, 1, 2, 2]), (6, [0, 0, 1, 1, 2, 2])],
)
def test_evaluation_visits_every_task_equally_often_in_order(num_tasks, expected):
    tasks = adapt.evaluation_tasks(Clock(), jax.random.key(0), num_tasks)
    np.testing.assert_array_equal(tasks.index, expected)
    np.testing.assert_array_equal(tasks.task, expected)


def test_another_number_of_masters_than_was_asked_for_is_told(capsys):
    env = envs.make("moving_bandits")
    line = "num_tasks: 4 rather than 3, as many for each task of moving_bandits\n"
    for asked, printed in ((3, line), (4, "")):
        assert stages.tasks_of_masters(env, asked, seed=0).index.shape == (4,)
        assert capsys.readouterr().out == printed


@pytest.mark.whole
@pytest.mark.parametrize("rule", RULES)
def test_masters_of_every_rule_go_on_bit_for_bit_from_a_checkpoint(
    rule, arms_agent, arms_subpolicies, tmp_path
):
    config = arms_agent.config
    config = dataclasses.replace(config, master=config.master.with_rule(rule))
    agent = make_agent(arms_agent.env, config)
    agent = dataclasses.replace(agent, subpolicy_network=arms_agent.subpolicy_network)
    tasks = adapt.evaluation_tasks(agent.env, jax.random.key(0), 2)
    step = jax.jit(functools.partial(adapt.adapt, agent, iterations=2))
    start = adapt.init_adaptation(agent, jax.random.key(1), tasks)
    half, _ = step(arms_subpolicies, start)
    with CheckpointStore(tmp_path) as store:
        store.save(1, {TRAINER: half}, {}, score=0.0)
        restored = store.restore({TRAINER: jax.eval_shape(lambda: half)}).items[TRAINER]
    assert_bitwise_equal(step(arms_subpolicies, restored), step(arms_subpolicies, half))
    assert differ(half.lives.masters.params, start.lives.masters.params)
