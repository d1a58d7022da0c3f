"""What MLSH is compared with, on worlds in which the outcome is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import gae_loop
from probes import Clock, Target, TwoArms, tiny_config

import envs
from envs.wrappers import EpisodeWrapper
from experiments.harness import methods
from experiments.harness.config import AdaptationConfig
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.baselines import single_policy, untrained_subpolicies
from mlsh_jax.baselines.method import Setting, make_baseline
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.rl import updates
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.tasks import select_tasks


def two_arms(tasks, **learner):
    env = EpisodeWrapper(TwoArms(), TwoArms.episode_length)
    return Setting(
        env,
        env,
        config=tiny_config(num_tasks=len(tasks), num_envs=8, steps_per_iteration=32),
        learner=LearnerConfig(**{"learning_rate": 1e-2, "epochs": 4} | learner),
        tasks=select_tasks(env.all_tasks(), jnp.asarray(tasks)),
        num_episodes=50,
    )


def trained(name, setting, iterations):
    method = make_baseline(name, setting)
    state = jax.jit(method.init)(jax.random.key(3))
    iterate = jax.jit(method.iteration)
    for _ in range(iterations):
        state, metrics = iterate(state)
    return method, state, metrics


@pytest.mark.parametrize("rule", [{}, {"rule": "a2c", "epochs": 10}])
def test_a_policy_of_its_own_learns_each_task_where_a_shared_one_cannot(rule):
    returns = {}
    for name in ("policy_per_task", "single_policy"):
        method, state, metrics = trained(name, two_arms([0, 1], **rule), 30)
        returns[name] = np.asarray(method.play(state, jax.random.key(0)).returns).mean(axis=-1)
        assert metrics["task_return"].shape == (2,) and metrics["policy/entropy"].shape == ()
    length = TwoArms.episode_length
    assert returns["policy_per_task"].min() > 0.9 * length
    assert returns["single_policy"].sum() == pytest.approx(length, abs=1)  # of two arms one pays


def test_a_single_policy_does_not_wait_for_the_ends_of_slices():
    env = EpisodeWrapper(Clock(), 8)
    setting = dataclasses.replace(
        two_arms([0]), env=env, full_env=env, tasks=select_tasks(env.all_tasks(), jnp.array([1, 1]))
    )
    config = dataclasses.replace(setting.config, macro_length=4, steps_per_iteration=8 * 24)
    _, _, metrics = trained("single_policy", dataclasses.replace(setting, config=config), 1)
    assert metrics["waiting"] == 0
    np.testing.assert_allclose(metrics["return"], 1 + 2 + 3)  # eight whole episodes of three steps


def test_a_single_policy_learns_from_what_plain_ppo_does(monkeypatch):
    """Advantages through all of a rollout, in the units of the rewards, standardized together."""
    env = EpisodeWrapper(Clock(), 8)
    learner = LearnerConfig(normalize_observations=False, discount=0.9, gae_lambda=0.7)
    setting = dataclasses.replace(
        two_arms([0, 1]),
        env=env,
        full_env=env,
        tasks=select_tasks(env.all_tasks(), jnp.array([1, 2])),  # that terminate, and are unlike
        learner=learner,
    )
    setting = dataclasses.replace(
        setting, config=dataclasses.replace(setting.config, macro_length=4, reward_scale=0.5)
    )
    monkeypatch.setattr(
        updates,
        "update_owners",
        lambda network, config, loss, params, opt_state, batch, *rest: (params, batch, {}),
    )
    agent, _ = single_policy.make_agents(setting)
    before = single_policy.init(agent, jax.random.key(0), setting.tasks)
    after, data, _ = single_policy.learn(agent, before)
    assert (np.asarray(data.weight) == 1).all() and np.asarray(data.terminated).any()
    critic = jax.tree.map(lambda x: x[0], before.learner.critics)

    def steps(x):  # [G, S, N, E, ...] -> [G, T, E, ...]
        return np.asarray(x).reshape(2, -1, *x.shape[3:])

    value = steps(agent.subpolicy_network.value(critic, data.observation))
    end = np.asarray(agent.subpolicy_network.value(critic, data.next_observation))[:, -1]
    following = np.concatenate([value[:, 1:], end[:, None]], axis=1)
    reward, terminated = 0.5 * steps(data.reward), steps(data.terminated)
    last = np.arange(value.shape[1]) == value.shape[1] - 1
    raw = np.stack([
        np.stack(
            [
                gae_loop(
                    reward[g, :, e], value[g, :, e], following[g, :, e], terminated[g, :, e], last,
                    0.9, 0.7,
                )
                for e in range(value.shape[2])
            ],
            axis=1,
        )
        for g in range(2)
    ])  # fmt: skip
    got = np.asarray(after.learner.opt_state.advantage).reshape(raw.shape)
    np.testing.assert_allclose(got, (raw - raw.mean()) / raw.std(), atol=1e-3)


def test_a_shared_policy_begins_with_what_it_knows_and_learns_on():
    of_one = MLSHConfig(num_subpolicies=1)
    _, taught, _ = trained("single_policy", two_arms([0]), 4)  # and explores still
    returns = {}
    for task in (0, 1):
        method = single_policy.make_finetuning(two_arms([task]), taught.policy, of_one)
        state = method.init(jax.random.key(4))
        for iterations in (0, 30):
            iterate = jax.jit(method.iteration)
            for _ in range(iterations):
                state, _ = iterate(state)
            played = method.play(state, jax.random.key(0)).returns
            returns[task, iterations] = float(played.mean()) / TwoArms.episode_length
    assert returns[0, 0] == pytest.approx(1 - returns[1, 0]) and returns[0, 0] > 0.7
    assert min(returns[0, 30], returns[1, 30]) > 0.95


def test_a_shared_policy_sees_what_sub_policies_see_and_has_their_network():
    env = envs.make("ant_twowalk")
    config = MLSHConfig(
        num_subpolicies=1, subpolicy=LearnerConfig(hidden_sizes=(8, 4), activation="swish")
    )
    policy = mlsh.init(make_agent(env, config), jax.random.key(0)).subpolicies
    tasks = select_tasks(env.all_tasks(), jnp.arange(2))
    setting = Setting(env, env, tiny_config(num_tasks=2), LearnerConfig(), tasks, 1)
    state = single_policy.make_finetuning(setting, policy, config).init(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, state.policy, policy)
    seen = len(env.subpolicy_observation_indices)
    assert seen < env.observation_size
    for params in (state.policy.params, state.learner.critics):
        assert (1, seen, 8) in [layer.shape for layer in jax.tree.leaves(params)]


@pytest.mark.parametrize("name", ["single_policy", "policy_per_task"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_policy_is_measured_without_noise_where_sub_policies_are(name, deterministic):
    env = EpisodeWrapper(Target(), Target.episode_length)
    config = tiny_config(num_envs=8, steps_per_iteration=32)
    setting = dataclasses.replace(
        two_arms([0]),
        env=env,
        full_env=env,
        config=dataclasses.replace(config, deterministic_when_frozen=deterministic),
    )
    method, state, _ = trained(name, setting, 1)
    deviation = np.std(method.play(state, jax.random.key(0)).returns)
    assert deviation < 1e-5 if deterministic else deviation > 0.1
    if name == "single_policy":  # of which the other one is made
        agent, _ = single_policy.make_agents(setting)
        _, rollouts, _ = jax.jit(lambda state: single_policy.learn(agent, state))(state)
        assert rollouts.action.std() > 0.5  # which it learns from


@pytest.mark.whole
def test_each_policy_is_what_a_single_one_is_on_its_task_alone():
    method, state, _ = trained("policy_per_task", two_arms([1, 0, 1]), 3)
    assert method.env_steps == 3 * 32
    keys = jax.random.split(jax.random.key(3), 3)
    methods = [make_baseline("single_policy", two_arms([task])) for task in (0, 1)]
    iterate = jax.jit(methods[0].iteration)  # which task it is stands in the state
    for row, task in enumerate([1, 0, 1]):
        alone = methods[task].init(keys[row])
        for _ in range(3):
            alone, _ = iterate(alone)
        mine = jax.tree.map(lambda x, row=row: x[row], state)
        for field in dataclasses.fields(alone):
            pair = (getattr(each, field.name) for each in (mine, alone))
            jax.tree.map(_assert_close, *pair)


def test_masters_learn_over_random_subpolicies_which_stay_as_they_are():
    method = make_baseline("untrained_subpolicies", two_arms([0, 1], hidden_sizes=(7,)))
    state = before = method.init(jax.random.key(3))
    for _ in range(3):
        state, metrics = jax.jit(method.iteration)(state)
    assert method.env_steps == 2 * 32 and metrics["task_return"].shape == (2,)
    jax.tree.map(np.testing.assert_array_equal, state.subpolicies, before.subpolicies)
    masters = (each.adaptation.lives.masters.params for each in (before, state))
    moved = jax.tree.map(lambda x, y: float(abs(x - y).max()), *masters)
    assert max(jax.tree.leaves(moved)) > 1e-3
    sizes = {x.shape[-1] for x in jax.tree.leaves(state.adaptation.lives.masters.params)}
    assert 7 in sizes  # what learns is what the setting says
    returns = np.asarray(method.play(state, jax.random.key(0)).returns).mean(axis=-1)
    np.testing.assert_allclose(returns, TwoArms.episode_length / 2, rtol=0.3)  # arms at random


def test_the_masters_would_use_subpolicies_that_are_good(arms_agent, arms_subpolicies):
    tasks = arms_agent.env.all_tasks()
    state = untrained_subpolicies.init(
        arms_agent, jax.random.key(0), select_tasks(tasks, jnp.arange(2))
    )
    state = dataclasses.replace(state, subpolicies=arms_subpolicies)
    iterate = jax.jit(lambda state: adapt.iteration(arms_agent, state))
    for _ in range(20):
        state, _ = iterate(state)
    played = untrained_subpolicies.evaluate(arms_agent, state, jax.random.key(1), 50)
    assert np.asarray(played.returns).mean(axis=-1).min() > 0.9 * TwoArms.episode_length


def test_a_baseline_beside_masters_has_as_many_sub_policies_and_choices_that_hold_as_long():
    trained = MLSHConfig(
        num_subpolicies=3,
        macro_length=25,
        steps_per_iteration=1000,
        master_sees_place_only=True,
        restart_within_slices=True,
        deterministic_when_frozen=True,
    )
    env = EpisodeWrapper(TwoArms(), 50)
    settings = [
        methods.baseline_setting(
            lambda length: env, course, LearnerConfig(), env.all_tasks(), 1, trained=trained
        ).config
        for course in (
            AdaptationConfig(),
            AdaptationConfig(
                macro_length=5, restart_within_slices=False, deterministic_when_frozen=False
            ),
        )
    ]
    assert [config.num_subpolicies for config in settings] == [3, 3]
    assert [config.macro_length for config in settings] == [25, 5]
    assert all(config.master_sees_place_only for config in settings)
    assert [config.restart_within_slices for config in settings] == [True, False]
    assert [config.deterministic_when_frozen for config in settings] == [True, False]


@pytest.mark.parametrize(
    ("name", "rows"), [("policy_per_task", "32 transitions"), ("untrained_subpolicies", "16 macro")]
)
def test_a_learner_that_does_not_suit_the_batch_of_a_task_is_refused(name, rows):
    with pytest.raises(ConfigError, match=rf"learner.num_minibatches: 64 .* {rows}"):
        make_baseline(name, two_arms([0, 1], num_minibatches=64))


def _assert_close(mine, alone):
    if jnp.issubdtype(mine.dtype, jax.dtypes.prng_key):
        mine, alone = jax.random.key_data(mine), jax.random.key_data(alone)
    np.testing.assert_allclose(mine, alone, rtol=1e-4, atol=1e-6)
