"""DQN's errors, memory and exploration against plain Python."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import assert_bitwise_equal, differ
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsh_jax.rl import dqn
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.networks import make_network
from mlsh_jax.rl.rules import Transitions

OBSERVATION, ACTIONS, SIZE = 2, 3, 7
CONFIG = LearnerConfig(
    rule="dqn",
    replay_size=SIZE,
    replay_batch=5,
    gradient_steps=4,
    target_period=3,
    hidden_sizes=(8,),
)
NETWORK = make_network(CONFIG, OBSERVATION, ACTIONS, discrete=True, critic_size=OBSERVATION)


def make_transitions(rng, steps=2, envs=2, first=0) -> Transitions:
    """Random transitions whose rewards are numbered, from `first`, in the order of time."""
    shape = steps, envs
    number = first + np.arange(steps * envs, dtype=np.float32).reshape(shape)
    return Transitions(
        observation=jnp.asarray(rng.normal(size=(*shape, OBSERVATION)), jnp.float32),
        action=jnp.asarray(rng.integers(0, ACTIONS, shape), jnp.int32),
        reward=jnp.asarray(number),
        next_observation=jnp.asarray(rng.normal(size=(*shape, OBSERVATION)), jnp.float32),
        terminated=jnp.asarray(rng.random(shape) < 0.5),
        last=jnp.zeros(shape, bool),
    )


def scale(observation):
    return 2.0 * observation


def test_errors_are_those_of_double_q_learning(rng):
    params, target = (NETWORK.init(jax.random.key(i)) for i in range(2))
    transitions = make_transitions(rng, steps=5, envs=1)
    state = dqn.init(CONFIG, params, OBSERVATION)
    replay, added = dqn.remember(state.replay, state.added, transitions)
    batch = jax.tree.map(lambda x: x[: int(added)], replay)
    got = dqn.td_errors(NETWORK, CONFIG, params, target, batch, scale)

    def q(parameters, observation):
        return np.asarray(dqn.q_values(NETWORK, parameters, scale(observation)))

    for i in range(5):
        following = transitions.next_observation[i, 0]
        best = q(params, following).argmax()
        goal = float(transitions.reward[i, 0])
        if not transitions.terminated[i, 0]:
            goal += CONFIG.discount * q(target, following)[best]
        value = q(params, transitions.observation[i, 0])[int(transitions.action[i, 0])]
        np.testing.assert_allclose(got[i], value - goal, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from([(1, 1), (1, 2), (2, 2), (3, 3)]), min_size=1, max_size=6))
def test_memory_holds_the_newest_transitions(shapes):
    rng = np.random.default_rng(0)
    state = dqn.init(CONFIG, NETWORK.init(jax.random.key(0)), OBSERVATION)
    replay, added = state.replay, state.added
    expected: collections.deque[float] = collections.deque(maxlen=SIZE)
    count = 0
    for steps, envs in shapes:
        transitions = make_transitions(rng, steps, envs, first=count)
        replay, added = dqn.remember(replay, added, transitions)
        expected.extend(np.asarray(transitions.reward).ravel().tolist())
        count += steps * envs
    filled = min(int(added), SIZE)
    assert sorted(np.asarray(replay.reward)[:filled].tolist()) == sorted(expected)


@pytest.mark.parametrize(("iteration", "epsilon"), [(0, 1.0), (1, 0.7625), (4, 0.05), (9, 0.05)])
def test_choices_are_greedy_but_for_a_share_that_shrinks(iteration, epsilon):
    config = LearnerConfig(rule="dqn", final_exploration=0.05, exploration_iterations=4)
    params = NETWORK.init(jax.random.key(3))
    state = dqn.init(config, params, OBSERVATION).replace(iteration=jnp.asarray(iteration))
    observation = jnp.asarray([0.3, -2.0])
    probs = np.exp(dqn.policy(NETWORK, config, params, state, observation).logits)
    best = np.asarray(dqn.q_values(NETWORK, params, observation)).argmax()
    expected = np.full(ACTIONS, epsilon / ACTIONS)
    expected[best] += 1 - epsilon
    np.testing.assert_allclose(probs, expected, rtol=1e-5)


def test_a_master_that_is_measured_plays_what_it_has_learned():
    params = NETWORK.init(jax.random.key(3))
    state = dqn.init(CONFIG, params, OBSERVATION)
    observation = jnp.asarray([0.3, -2.0])
    untrained = dqn.play(NETWORK, CONFIG, params, state, observation)
    np.testing.assert_allclose(np.exp(untrained.logits), np.full(ACTIONS, 1 / ACTIONS), rtol=1e-5)
    state = state.replace(iteration=jnp.asarray(1))
    learned = dqn.play(NETWORK, CONFIG, params, state, observation)
    best = np.asarray(dqn.q_values(NETWORK, params, observation)).argmax()
    np.testing.assert_allclose(np.exp(learned.logits), np.eye(ACTIONS)[best], atol=1e-6)


def test_target_network_is_a_copy_of_every_third_gradient_step(rng):
    params = NETWORK.init(jax.random.key(0))
    update = jax.jit(lambda p, s, t: dqn.update(NETWORK, CONFIG, p, s, t, scale, jax.random.key(1)))
    state = dqn.init(CONFIG, params, OBSERVATION)
    targets = []
    for i in range(3):  # 4 gradient steps each: copies after the steps 3; 6; 9 and 12
        params, state, _ = update(params, state, make_transitions(rng, first=4 * i))
        targets.append(state.target)
        is_fresh = not differ(state.target, params)
        assert is_fresh == (i == 2)
    assert differ(targets[0], targets[1]) and differ(targets[1], targets[2])
    assert state.iteration == 3 and state.added == 12


def test_update_learns_the_rewards_of_terminal_transitions(rng):
    config = LearnerConfig(rule="dqn", learning_rate=1e-2, hidden_sizes=(16,), replay_size=200)
    network = make_network(config, OBSERVATION, ACTIONS, discrete=True, critic_size=OBSERVATION)
    params = network.init(jax.random.key(0))
    transitions = make_transitions(rng, steps=50, envs=2)
    transitions = transitions.replace(
        reward=(transitions.action == 1).astype(jnp.float32), terminated=jnp.ones((50, 2), bool)
    )
    state = dqn.init(config, params, OBSERVATION)
    update = jax.jit(lambda p, s, key: dqn.update(network, config, p, s, transitions, scale, key))
    for i in range(10):
        params, state, _ = update(params, state, jax.random.key(i))
    values = dqn.q_values(network, params, scale(transitions.observation[:, 0]))
    np.testing.assert_allclose(values.mean(axis=0), [0.0, 1.0, 0.0], atol=0.05)


def test_gradient_steps_draw_their_own_transitions_from_all_of_a_full_memory(rng, monkeypatch):
    drawn = []

    def record(network, config, params, target, batch, normalize):
        jax.debug.callback(lambda reward: drawn.append(np.asarray(reward)), batch.reward)
        return jnp.zeros(CONFIG.replay_batch)

    monkeypatch.setattr(dqn, "td_errors", record)
    params = NETWORK.init(jax.random.key(0))
    state = dqn.init(CONFIG, params, OBSERVATION)
    for i in range(50):  # 200 transitions into 7 places
        transitions = make_transitions(rng, first=4 * i)
        params, state, _ = dqn.update(
            NETWORK, CONFIG, params, state, transitions, scale, jax.random.key(i)
        )
    jax.effects_barrier()
    last = np.stack(drawn[-CONFIG.gradient_steps :])
    assert len(np.unique(last, axis=0)) == CONFIG.gradient_steps
    assert len(np.unique(last)) > SIZE // 2
    assert set(last.ravel()) <= set(range(200 - SIZE, 200))


def test_what_was_never_added_is_never_learned_from(rng):
    params = NETWORK.init(jax.random.key(0))
    state = dqn.init(CONFIG, params, OBSERVATION)
    poison = jax.tree.map(lambda x: jnp.full_like(x, 99), state.replay)
    transitions = make_transitions(rng, steps=1, envs=1)
    results = [
        dqn.update(NETWORK, CONFIG, params, s, transitions, scale, jax.random.key(0))[0]
        for s in (state, state.replace(replay=poison))
    ]
    assert_bitwise_equal(*results)
