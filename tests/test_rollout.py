"""Sliced rollouts of a clock: what is held, what ends, what restarts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Bool, Float, Int, jaxtyped
from probes import Clock, Fragile

from envs.wrappers import EpisodeWrapper
from mlsh_jax.rollout import (
    Behavior,
    macro_view,
    memoryless,
    rollout,
    start_episodes,
)

S, N, E, T = 9, 2, 5, 4
ENV = EpisodeWrapper(Clock(), T)
ENDLESS, ENDS_AT_3, ENDS_AT_5 = 0, 1, 2
TIME, EPISODE = 0, 1

# Chooses at random and says what it was told to do, so that the actions show the choices.
ECHO = memoryless(
    choose=lambda observation, key: jax.random.randint(key, observation.shape[:1], 0, 2),
    act=lambda observation, k, key: k,
)


@jax.jit
def start(task):
    return start_episodes(ENV, jax.random.key(0), task, E)


@jax.jit
def play(task, state, key):
    return rollout(ENV, ECHO, key, task, state, num_slices=S, macro_length=N)


def collect(task, seed=1):
    """A rollout from the start of the first episodes."""
    return jax.device_get(play(task, start(task), jax.random.key(seed))[2])


@pytest.fixture(scope="module", params=[ENDLESS, ENDS_AT_3, ENDS_AT_5])
def any_data(request):
    return collect(request.param)


@pytest.fixture(scope="module")
def truncated_data():
    """Episodes of T = 4 steps, two slices each, that run into the time limit."""
    return collect(ENDLESS)


@pytest.fixture(scope="module")
def terminating_data():
    """Episodes that end at their third step, inside their second slice."""
    return collect(ENDS_AT_3)


@jaxtyped(typechecker=None)
def test_arrays_have_the_documented_shapes(any_data):
    assert isinstance(any_data.observation, Float[np.ndarray, "S N E O"])
    assert isinstance(any_data.action, Int[np.ndarray, "S N E"])
    assert isinstance(any_data.reward, Float[np.ndarray, "S N E"])
    assert isinstance(any_data.weight, Float[np.ndarray, "S N E"])
    assert isinstance(any_data.terminated, Bool[np.ndarray, "S N E"])
    assert isinstance(any_data.truncated, Bool[np.ndarray, "S E"])
    assert isinstance(any_data.subpolicy, Int[np.ndarray, "S E"])
    assert isinstance(any_data.next_observation, Float[np.ndarray, "S E O"])
    assert isinstance(any_data.env_metrics["time"], Float[np.ndarray, "S N E"])
    assert any_data.reward.shape == (S, N, E)
    macro = macro_view(any_data)
    assert isinstance(macro.observation, Float[np.ndarray, "S E O"])
    assert isinstance(macro.action, Int[np.ndarray, "S E"])
    assert isinstance(macro.reward, Float[np.ndarray, "S E"])
    assert isinstance(macro.terminated, Bool[np.ndarray, "S E"])


def test_master_choice_is_held_for_n_steps_across_restarts(any_data):
    held = np.broadcast_to(any_data.subpolicy[:, None], (S, N, E))
    np.testing.assert_array_equal(any_data.action, held)
    assert (any_data.subpolicy[1:] != any_data.subpolicy[:-1]).any()
    assert (any_data.subpolicy[:, 1:] != any_data.subpolicy[:, :-1]).any()


def test_clock_ticks_through_slices_and_restarts_at_the_time_limit(truncated_data):
    expected = np.arange(S * N).reshape(S, N, 1) % T
    time = truncated_data.observation[..., TIME]
    np.testing.assert_array_equal(time, np.broadcast_to(expected, (S, N, E)))
    np.testing.assert_array_equal(truncated_data.reward, time + 1)
    np.testing.assert_array_equal(truncated_data.weight, np.ones((S, N, E)))


def test_time_limit_truncates_and_does_not_terminate(truncated_data):
    expected = np.broadcast_to((np.arange(S) % 2 == 1)[:, None], (S, E))
    np.testing.assert_array_equal(truncated_data.truncated, expected)
    assert not truncated_data.terminated.any()


def test_next_observation_is_the_final_one_and_not_that_after_the_restart(truncated_data):
    expected = np.broadcast_to(np.where(np.arange(S) % 2 == 1, T, N)[:, None], (S, E))
    np.testing.assert_array_equal(truncated_data.next_observation[..., TIME], expected)
    same = truncated_data.next_observation[..., EPISODE]
    np.testing.assert_array_equal(same, truncated_data.observation[:, -1, :, EPISODE])


def test_every_restart_begins_a_new_episode_in_every_environment(truncated_data):
    episode = truncated_data.observation[..., EPISODE]  # [S, N, E]
    assert len(np.unique(episode)) == E * (S + 1) // 2
    np.testing.assert_array_equal(episode[0], episode[1])
    assert (episode[1] != episode[2]).all()


def test_after_termination_the_rest_of_the_slice_counts_for_nothing(terminating_data):
    # The episode has three steps; the fourth of its two slices is dead.
    data = terminating_data
    time = np.tile([[0, 1], [2, 3]], (S // 2 + 1, 1))[:S]
    weight = np.tile([[1, 1], [1, 0]], (S // 2 + 1, 1))[:S]
    np.testing.assert_array_equal(data.observation[..., TIME], np.tile(time[..., None], E))
    np.testing.assert_array_equal(data.weight, np.tile(weight[..., None], E))
    np.testing.assert_array_equal(data.reward, np.tile((weight * (time + 1))[..., None], E))


def test_where_the_physics_fails_the_step_does_not_count_and_the_episode_is_truncated():
    env = EpisodeWrapper(Fragile(), T)

    @jax.jit
    def play(task, key):
        state = start_episodes(env, jax.random.key(0), task, E)
        return rollout(env, ECHO, key, task, state, num_slices=S, macro_length=N)[2]

    # It fails at the third step of an episode, which is the first of its second slice.
    data = jax.device_get(play(ENDS_AT_3, jax.random.key(1)))
    second = np.arange(S) % 2 == 1
    weight = np.where(second[:, None], [0, 0], [1, 1])
    np.testing.assert_array_equal(data.weight, np.tile(weight[..., None], E))
    np.testing.assert_array_equal(
        data.reward.sum(axis=1), np.tile([[3 * (1 - s)] for s in second], E)
    )
    assert not data.terminated.any()
    np.testing.assert_array_equal(data.truncated, np.tile(second[:, None], E))
    np.testing.assert_array_equal(data.failed, np.tile(second[:, None], E))
    np.testing.assert_array_equal(data.next_observation[..., TIME], 2)
    assert (data.observation[1:, 0, :, EPISODE] != data.observation[:-1, 0, :, EPISODE])[1].all()


def test_without_physics_there_are_no_failures(any_data):
    assert not any_data.failed.any()


@pytest.fixture(scope="module")
def long_slices():
    """Plays four slices of four steps; the choice is the time at which it was made, plus 7."""
    behavior = memoryless(
        choose=lambda observation, key: observation[:, TIME].astype(jnp.int32) + 7,
        act=lambda observation, k, key: k,
    )
    env, key = EpisodeWrapper(Clock(), 12), jax.random.key(1)

    @jax.jit
    def play(task, state):
        return rollout(env, behavior, key, task, state, num_slices=4, macro_length=4)[2]

    return lambda task: jax.device_get(play(task, start(task)))


def test_an_episode_of_three_steps_fills_a_slice_of_four(long_slices):
    data = long_slices(ENDS_AT_3)
    for s, e in np.ndindex(4, E):
        np.testing.assert_array_equal(data.observation[s, :, e, TIME], [0, 1, 2, 3])
        np.testing.assert_array_equal(data.weight[s, :, e], [1, 1, 1, 0])
        np.testing.assert_array_equal(data.reward[s, :, e], [1, 2, 3, 0])
        np.testing.assert_array_equal(data.terminated[s, :, e], [False, False, True, True])
        assert data.next_observation[s, e, TIME] == 3
    macro = macro_view(data)
    assert macro.terminated.all()
    np.testing.assert_array_equal(macro.reward, np.full((4, E), 6))
    np.testing.assert_array_equal(macro.action, np.full((4, E), 7))
    assert len(np.unique(data.observation[..., EPISODE])) == 4 * E


def test_an_episode_of_five_steps_fills_two_slices_of_four(long_slices):
    data = long_slices(ENDS_AT_5)
    for s, e in np.ndindex(2, E):
        first, second = 2 * s, 2 * s + 1
        np.testing.assert_array_equal(data.observation[first, :, e, TIME], [0, 1, 2, 3])
        np.testing.assert_array_equal(data.observation[second, :, e, TIME], [4, 5, 5, 5])
        np.testing.assert_array_equal(data.weight[first, :, e], np.ones(4))
        np.testing.assert_array_equal(data.weight[second, :, e], [1, 0, 0, 0])
        np.testing.assert_array_equal(data.reward[second, :, e], [5, 0, 0, 0])
    macro = macro_view(data)
    of_slices = np.asarray([[False], [True], [False], [True]])
    np.testing.assert_array_equal(macro.terminated, np.broadcast_to(of_slices, (4, E)))
    np.testing.assert_array_equal(macro.action, np.where(of_slices, 11, np.full(E, 7)))
    np.testing.assert_array_equal(
        macro.next_observation[..., TIME], np.where(macro.terminated, 5, 4)
    )
    assert not data.truncated.any()
    assert len(np.unique(data.observation[..., EPISODE])) == 2 * E


def test_a_new_episode_is_of_the_same_task(any_data):
    end = any_data.observation[..., 2]
    assert len(np.unique(end)) == 1


def test_termination_is_reported_from_its_step_to_the_end_of_the_slice(terminating_data):
    expected = np.tile([[False, False], [True, True]], (S // 2 + 1, 1))[:S]
    np.testing.assert_array_equal(terminating_data.terminated, np.tile(expected[..., None], E))
    assert not terminating_data.truncated.any()


def test_rollouts_continue_where_the_last_one_stopped():
    # S = 9 slices of two steps stop in the middle of an episode of four.
    state, _, data = play(ENDLESS, start(ENDLESS), jax.random.key(1))
    np.testing.assert_array_equal(state.obs[:, TIME], np.full(E, 2))
    *_, more = play(ENDLESS, state, jax.random.key(2))
    time = np.asarray(more.observation[:2, :, 0, TIME])
    np.testing.assert_array_equal(time, [[2, 3], [0, 1]])
    episode = more.observation[0, 0, :, EPISODE]
    np.testing.assert_array_equal(episode, data.observation[-1, -1, :, EPISODE])


def test_an_episode_that_stopped_on_its_last_step_restarts_in_the_next_rollout():
    state, *_ = play(ENDLESS, start(ENDLESS), jax.random.key(1))
    state, _, data = play(ENDLESS, state, jax.random.key(2))
    np.testing.assert_array_equal(state.done, np.ones(E))
    *_, more = play(ENDLESS, state, jax.random.key(3))
    np.testing.assert_array_equal(more.observation[0, 0, :, TIME], np.zeros(E))
    last = data.observation[-1, -1, :, EPISODE]
    assert (more.observation[0, 0, :, EPISODE] != last).all()


def test_macro_transition_sums_the_slice(any_data):
    macro = macro_view(any_data)
    for s in range(S):
        np.testing.assert_allclose(macro.reward[s], sum(any_data.reward[s, n] for n in range(N)))
        np.testing.assert_array_equal(macro.observation[s], any_data.observation[s, 0])
    np.testing.assert_array_equal(macro.action, any_data.subpolicy)
    np.testing.assert_array_equal(macro.next_observation, any_data.next_observation)
    np.testing.assert_array_equal(macro.truncated, any_data.truncated)


def test_macro_transition_terminates_if_any_step_of_it_does(terminating_data):
    macro = macro_view(terminating_data)
    expected = np.broadcast_to((np.arange(S) % 2 == 1)[:, None], (S, E))
    np.testing.assert_array_equal(macro.terminated, expected)
    np.testing.assert_array_equal(macro.reward, np.where(expected, 3.0, 1.0 + 2.0))


def test_same_key_gives_the_same_rollout_and_another_key_another():
    one, again, other = (collect(ENDLESS, seed) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert (one.subpolicy != other.subpolicy).any()
    # The first episodes were started before; they fill two slices.
    assert (one.observation[2:, ..., EPISODE] != other.observation[2:, ..., EPISODE]).all()


def test_memory_passes_through_slices_and_across_the_ends_of_episodes():
    # Counts steps and rewards, and acts by what it counted.
    counting = Behavior(
        choose=lambda o, memory, key: (jnp.zeros(o.shape[:1], jnp.int32), memory),
        act=lambda o, k, memory, key: (memory["steps"], memory),
        remember=lambda memory, feedback: {
            "steps": memory["steps"] + feedback.weight.astype(jnp.int32),
            "reward": memory["reward"] + feedback.reward,
            "ends": memory["ends"] + (feedback.terminated | feedback.truncated),
        },
    )
    memory = {
        "steps": jnp.zeros(E, jnp.int32),
        "reward": jnp.zeros(E),
        "ends": jnp.zeros(E, jnp.int32),
    }
    task = jnp.asarray(ENDLESS)
    run = jax.jit(
        lambda state, memory, key: rollout(
            ENV, counting, key, task, state, memory, num_slices=S, macro_length=N
        )
    )
    state, memory, data = run(start(task), memory, jax.random.key(1))
    expected = np.broadcast_to(np.arange(S * N).reshape(S, N, 1), (S, N, E))
    np.testing.assert_array_equal(data.action, expected)
    np.testing.assert_array_equal(memory["reward"], data.reward.sum(axis=(0, 1)))
    np.testing.assert_array_equal(memory["ends"], np.full(E, S * N // T))
    # The next rollout goes on with it.
    _, memory, data = run(state, memory, jax.random.key(2))
    np.testing.assert_array_equal(data.action, S * N + expected)


def test_choices_that_end_by_themselves_are_memories_with_slices_of_one_step():
    # Keeps its choice for three steps, whatever the slices, and then takes the next.
    def choose(observation, memory, key):
        ends = memory["age"] == 3
        k = memory["k"] + ends
        return k, {"k": k, "age": jnp.where(ends, 0, memory["age"])}

    terminating = Behavior(
        choose=choose,
        act=lambda o, k, memory, key: (k, memory),
        remember=lambda memory, feedback: memory | {"age": memory["age"] + 1},
    )
    zeros = jnp.zeros(E, jnp.int32)
    task = jnp.asarray(ENDLESS)
    play = jax.jit(
        lambda state: rollout(
            ENV,
            terminating,
            jax.random.key(0),
            task,
            state,
            {"k": zeros, "age": zeros},
            num_slices=12,
            macro_length=1,
        )
    )
    *_, data = play(start(task))
    np.testing.assert_array_equal(data.subpolicy[:, 0], np.repeat(np.arange(4), 3))
