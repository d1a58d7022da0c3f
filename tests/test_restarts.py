"""Episodes that begin inside slices, against a plain loop over steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Clock, probe_agent, tiny_config

from envs.wrappers import EpisodeWrapper
from mlsh_jax import credit, mlsh
from mlsh_jax.metrics import behavior_metrics
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rollout import Rollout, macro_view, memoryless, rollout, start_episodes
from mlsh_jax.tasks import select_tasks

S, N, E, LIMIT = 4, 5, 2, 8
ENDS = {"endless": None, "ends_at_3": 3, "ends_at_5": 5}
TIME, EPISODE = 0, 1
ENV = EpisodeWrapper(Clock(), LIMIT)
ECHO = memoryless(
    choose=lambda observation, key: jax.random.randint(key, observation.shape[:1], 0, 2),
    act=lambda observation, k, key: k,
)


@jax.jit
def play(task):
    state = start_episodes(ENV, jax.random.key(0), task, E)
    return rollout(
        ENV,
        ECHO,
        jax.random.key(1),
        task,
        state,
        num_slices=S,
        macro_length=N,
        restart_within_slices=True,
    )[2]


@pytest.fixture(scope="module")
def played() -> dict[str, Rollout]:
    """A rollout of each task of the clock."""
    return {name: jax.device_get(play(jnp.int32(i))) for i, name in enumerate(ENDS)}


def clock_loop(end: int | None) -> list[tuple[int, float, bool]]:
    """Time before each step, its weight and whether the episode terminates in it."""
    steps, time, waits = [], 0, False
    for step in range(S * N):
        if step % N == 0 and waits:
            time, waits = 0, False
        terminates = not waits and time + 1 == end
        steps.append((time, float(not waits), terminates))
        if not waits:
            time = 0 if terminates else time + 1
            waits = not terminates and time == LIMIT
    return steps


@pytest.mark.parametrize("name", ENDS)
def test_a_new_episode_begins_after_a_termination_and_waits_after_the_time_limit(played, name):
    data, expected = played[name], np.asarray(clock_loop(ENDS[name])).T
    for e in range(E):
        time, weight, terminated = (x.reshape(S, N) for x in expected)
        np.testing.assert_array_equal(data.observation[..., e, TIME], time)
        np.testing.assert_array_equal(data.weight[..., e], weight)
        np.testing.assert_array_equal(data.terminated[..., e], terminated)
        np.testing.assert_array_equal(data.reward[..., e], weight * (time + 1))
        held = np.broadcast_to(data.subpolicy[:, None, e], (S, N))
        np.testing.assert_array_equal(data.action[..., e], held)


def test_every_slice_draws_the_beginnings_of_its_episodes(played):
    episode = played["ends_at_3"].observation[..., EPISODE]  # [S, N, E]
    # Episodes end in every slice, at steps 2, 5, 8, 11, 14 and 17 of all.
    begins = [episode[n // N, n % N] for n in (0, 3, 6, 12, 15)]
    assert len(np.unique(begins)) == 5 * E
    np.testing.assert_array_equal(episode[1, 1], episode[1, 4])  # two that begin in one slice


@pytest.mark.parametrize("name", ENDS)
def test_the_macro_view_ends_with_the_first_termination_of_a_slice(played, name):
    macro = macro_view(played[name])
    steps = clock_loop(ENDS[name])
    for s in range(S):
        reward, over = 0.0, False
        for time, weight, terminates in steps[s * N : (s + 1) * N]:
            reward += 0.0 if over else weight * (time + 1)
            over = over or terminates
        np.testing.assert_array_equal(macro.reward[s], np.full(E, reward))
        np.testing.assert_array_equal(macro.terminated[s], np.full(E, over))
    if name == "endless":  # the limit of 8 steps is in every second slice
        np.testing.assert_array_equal(macro.truncated[:, 0], [False, True, False, True])
        np.testing.assert_array_equal(macro.next_observation[:, 0, TIME], [5, 8, 5, 8])


@pytest.mark.parametrize("restarts", [False, True])
def test_the_configuration_says_whether_episodes_restart_within_slices(restarts):
    config = tiny_config(
        num_tasks=3, macro_length=N, steps_per_iteration=60, restart_within_slices=restarts
    )
    agent = probe_agent(Clock(), config, episode_length=10)

    @jax.jit
    def collect(key):
        tasks = select_tasks(agent.env.all_tasks(), jnp.arange(3))
        phi = mlsh.init(agent, key).subpolicies
        return mlsh.collect(agent, phi, mlsh.begin_lives(agent, key, tasks), key)[1]

    weight = collect(jax.random.key(0)).weight  # [G, S, N, E]
    # Of the one that ends at its third step two of five steps wait, or none.
    np.testing.assert_allclose(weight.mean(axis=(1, 2, 3)), [1.0, 1.0 if restarts else 0.6, 1.0])


def test_returns_are_those_of_episodes(played):
    agent = probe_agent(
        Clock(), tiny_config(macro_length=N, steps_per_iteration=60), episode_length=10
    )
    tasks = select_tasks(agent.env.all_tasks(), jnp.arange(3))
    data = jax.tree.map(lambda *x: jnp.stack(x), *played.values())
    # Limits of 8 steps count as 0.8 of episodes of 10.
    metrics = behavior_metrics(agent, tasks, data)
    endless = (2 * 36) / 1.6  # two episodes of 1 + 2 + ... + 8
    three = (6 * 6 + 1 + 2) / (6 + 0.2)
    five = 15.0
    np.testing.assert_allclose(metrics["task_return"], [endless, three, five], rtol=1e-6)
    np.testing.assert_allclose(metrics["waiting"], 4 / 60, rtol=1e-6)


def test_advantages_are_those_of_the_episodes_one_after_the_other(rng):
    config = LearnerConfig(discount=0.9, gae_lambda=0.8)
    shape = (1, S, N, E)
    terminated = rng.random(shape) < 0.3
    assert terminated[:, :, :-1].any() and terminated[:, :, -1].any()
    truncated = np.zeros((1, S, E), bool)
    truncated[0, 1, 0] = True
    terminated[0, 1, 2:, 0] = False
    weight = np.ones(shape)
    weight[0, 1, 3:, 0] = 0.0  # it waits for the end of its slice
    reward, value = rng.normal(size=shape) * weight, rng.normal(size=shape)
    following = rng.normal(size=(1, S, E))
    value[0, 1, 3:, 0] = following[0, 1, 0]  # the last observation, where it waits
    goes_on = np.ones((1, S, E), bool)
    goes_on[0, [1, -1], 0] = goes_on[0, -1, 1] = False
    data = Rollout(
        observation=jnp.zeros((*shape, 1)),
        action=jnp.zeros(shape),
        reward=jnp.asarray(reward),
        weight=jnp.asarray(weight),
        terminated=jnp.asarray(terminated),
        truncated=jnp.asarray(truncated),
        failed=jnp.zeros((1, S, E), bool),
        subpolicy=jnp.zeros((1, S, E), jnp.int32),
        imposed=jnp.zeros((1, S, E), bool),
        next_observation=jnp.zeros((1, S, E, 1)),
        env_metrics={},
    )
    got = credit.advantages(
        config, data, data.reward, *(jnp.asarray(x) for x in (value, following, goes_on))
    )
    for e in range(E):
        rows = [(s, n) for s in range(S) for n in range(N) if weight[0, s, n, e]]
        episode: list[tuple[int, int]] = []
        for s, n in rows:
            episode.append((s, n))
            if terminated[0, s, n, e] or (s, n) in ((1, 2) if e == 0 else (), (S - 1, N - 1)):
                of_env = (x[0, ..., e] for x in (reward, value, following, terminated))
                expected = episode_advantages(config, episode, *of_env)
                where = tuple(np.transpose(episode))
                np.testing.assert_allclose(got[0, ..., e][where], expected, rtol=1e-4, atol=1e-5)
                episode = []


def episode_advantages(config, episode, reward, value, following, terminated) -> list[float]:
    """Of the steps (s, n) of an episode, from its last one backward."""
    advantages, later, lam = [], None, config.gae_lambda
    for s, n in reversed(episode):
        if n + 1 < N:
            after = value[s, n + 1] + (lam * advantages[-1] if later else 0.0)
        else:  # a choice takes no time: what it did better is known to the value after it
            better = value[s + 1, 0] - following[s] + advantages[-1] if later else 0.0
            after = following[s] + lam * better
        tail = 0.0 if terminated[s, n] else after
        advantages.append(reward[s, n] + config.discount * tail - value[s, n])
        later = (s, n)
    return advantages[::-1]
