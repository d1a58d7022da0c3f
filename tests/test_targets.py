"""What each level of the hierarchy learns from, checked on rollouts made by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import entry, gae_loop
from probes import Clock, probe_agent
from rollouts import (
    AGENT,
    CONFIG,
    TASKS,
    E,
    G,
    K,
    N,
    S,
    make_rollout,
)

from mlsh_jax import credit
from mlsh_jax.learners import init_master, init_subpolicies, update_master, update_subpolicies
from mlsh_jax.rl import updates


@pytest.fixture
def handed_over(monkeypatch):
    """Calls an update with a rule that returns its batch in place of the optimizer's state.

    That of the sub-policies is `[K, ...]`, with the weights that the rows have for each of them.
    """

    def give_back(network, config, loss, params, opt_state, batch, key):
        return params, batch, {}

    def give_back_to_owners(
        network, config, loss, params, opt_state, batch, owner, key, num_shares
    ):
        batch, owner = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (batch, owner))
        own = jax.vmap(lambda k: batch.replace(weight=batch.weight * (owner == k)))(jnp.arange(K))
        return params, own, {}

    monkeypatch.setattr(updates, "update", give_back)
    monkeypatch.setattr(updates, "update_owners", give_back_to_owners)

    def call(update, *arguments, agent=AGENT):
        # Not the functions of the module, which have the real rule compiled in.
        updated = jax.jit(lambda *x: update(agent, *x))(*arguments, jax.random.key(0))
        return next(x.opt_state for x in updated if hasattr(x, "opt_state"))

    return call


def by_observation(batch) -> dict[bytes, tuple[float, float, float]]:
    """(advantage, target, weight) of every transition, found by its observation."""
    rows = zip(batch.observation, batch.advantage, batch.target, batch.weight, strict=True)
    return {np.asarray(o).tobytes(): (float(a), float(t), float(w)) for o, a, t, w in rows}


def test_subpolicy_targets_are_cut_at_slices_and_bootstrap_from_the_same_subpolicy(
    phi, rng, handed_over
):
    subpolicies, learner = phi
    data = make_rollout(rng)
    result = handed_over(update_subpolicies, subpolicies, learner, data, TASKS, None)
    value_of = [
        functools.partial(jax.jit(AGENT.subpolicy_network.value), entry(learner.critics, k))
        for k in range(K)
    ]
    for k in range(K):
        got = by_observation(entry(result, k))
        assert len(got) == G * S * N * E
        advantages = []
        for g, s, e in np.ndindex(G, S, E):
            if data.subpolicy[g, s, e] != k:
                for n in range(N):
                    assert got[np.asarray(data.observation[g, s, n, e]).tobytes()][2] == 0
                continue
            value = np.asarray(value_of[k](data.observation[g, s, :, e]))
            last_value = np.asarray(value_of[k](data.next_observation[g, s, e]))
            expected = gae_loop(
                0.5 * np.asarray(data.reward[g, s, :, e]),
                value,
                np.append(value[1:], last_value),
                np.asarray(data.terminated[g, s, :, e]),
                [False] * N,
                discount=0.9,
                gae_lambda=0.6,
            )
            for n in range(N):
                key = np.asarray(data.observation[g, s, n, e]).tobytes()
                advantage, target, weight = got[key]
                assert weight == data.weight[g, s, n, e]
                if weight:
                    np.testing.assert_allclose(target, expected[n] + value[n], rtol=1e-3, atol=1e-5)
                    advantages.append((advantage, expected[n]))
        standardized, raw = np.asarray(advantages).T
        np.testing.assert_allclose(standardized, (raw - raw.mean()) / raw.std(), atol=1e-3)


def test_one_policy_learns_the_same_however_long_slices_are(rng):
    agent = dataclasses.replace(AGENT, config=dataclasses.replace(CONFIG, credit="hierarchy"))
    data = make_rollout(rng, subpolicy=np.zeros((G, S, E)))
    ends = np.zeros((G, S, N, E), bool)
    ends[:, 1, 1] = ends[:, 2, -1] = True  # in a slice and with one
    ones = jnp.ones((G, S, N, E))
    no_limit = jnp.zeros((G, S, E), bool)
    data = data.replace(terminated=jnp.asarray(ends), weight=ones, truncated=no_limit)
    value = rng.normal(size=(G, S * N + 1, E)).astype(np.float32)

    def advantages(num_slices):
        def cut(x):
            return jnp.asarray(x).reshape(G, num_slices, -1, *x.shape[3:])

        per_step = ("reward", "weight", "terminated")
        of_slices = data.replace(
            **{name: cut(getattr(data, name)) for name in per_step},
            truncated=no_limit[:, :num_slices],
            subpolicy=data.subpolicy[:, :num_slices],
            imposed=data.imposed[:, :num_slices],
        )
        last_values = value[:, S * N // num_slices :: S * N // num_slices]
        of_policies = jnp.stack([last_values, np.full_like(last_values, 100.0)])
        following, goes_on = credit.slice_ends(agent, of_slices, of_policies, None)
        before = value[:, :-1].reshape(G, num_slices, -1, E)
        result = credit.advantages(
            CONFIG.subpolicy, of_slices, of_slices.reward, jnp.asarray(before), following, goes_on
        )
        return np.asarray(result).reshape(G, S * N, E)

    np.testing.assert_allclose(advantages(S), advantages(1), rtol=1e-4, atol=1e-5)


def test_credit_of_the_hierarchy_goes_on_through_the_slices_that_follow(phi, rng, handed_over):
    agent = dataclasses.replace(AGENT, config=dataclasses.replace(CONFIG, credit="hierarchy"))
    data = make_rollout(rng)
    g, s, e = np.argwhere(~np.asarray(data.terminated[:, :-1, -1] | data.truncated[:, :-1]))[0]
    # The physics fails in the first step of the slice that follows this one.
    failing = data.weight.at[g, s + 1, :, e].set(0), data.reward.at[g, s + 1, :, e].set(0)
    data = data.replace(weight=failing[0], reward=failing[1])
    keys = jax.random.split(jax.random.key(5), G)
    masters = jax.vmap(functools.partial(init_master, agent))(keys)
    noisy = jax.tree.map(lambda x: x + rng.normal(size=x.shape).astype(x.dtype), masters.params)
    # Choices are those of masters as they acted, with the bias that balances them.
    masters = masters.replace(params=noisy, bias=jnp.asarray(rng.normal(size=(G, K)), jnp.float32))

    def update(_, *arguments):
        return update_subpolicies(agent, *arguments)

    result = handed_over(update, *phi, data, TASKS, masters)
    target = np.asarray(result.target[0]).reshape(G, S, N, E)
    values = functools.partial(
        jax.jit(jax.vmap(agent.subpolicy_network.value, in_axes=(0, None))), phi[1].critics
    )
    for g, e in np.ndindex(G, E):
        k = np.asarray(data.subpolicy[g, :, e])
        value = np.asarray(values(data.observation[g, :, :, e]))[k, np.arange(S)]  # [S, N]
        logits = agent.master_network.policy(
            entry(masters.params, g), data.next_observation[g, :, e]
        ).logits
        odds = np.exp(np.asarray(logits) + np.asarray(masters.bias[g]))
        choice = odds / odds.sum(axis=1, keepdims=True)  # [S, K]
        assert np.ptp(choice) > 0.1
        after = (choice.T * np.asarray(values(data.next_observation[g, :, e]))).sum(axis=0)
        advantage = 0.0
        for s in reversed(range(S)):
            over = data.terminated[g, s, -1, e] or data.truncated[g, s, e] or s == S - 1
            over = over or not data.weight[g, s + 1, 0, e]
            # What was chosen next did better or worse than choices do on average.
            surplus = 0.0 if over else value[s + 1, 0] - after[s] + advantage
            advantage = 0.0
            for n in reversed(range(N)):
                following = after[s] if n == N - 1 else value[s, n + 1]
                further = surplus if n == N - 1 else advantage
                ended = bool(data.terminated[g, s, n, e])
                advantage = 0.5 * float(data.reward[g, s, n, e]) - value[s, n]
                advantage += 0.0 if ended else 0.9 * following + 0.9 * 0.6 * further
                if data.weight[g, s, n, e]:
                    np.testing.assert_allclose(
                        target[g, s, n, e], advantage + value[s, n], rtol=1e-3, atol=1e-5
                    )


def test_before_a_failure_of_the_physics_the_value_of_what_was_seen_last_counts(
    phi, rng, handed_over
):
    data = make_rollout(rng)
    g, s, e = np.argwhere(np.asarray(data.weight).all(axis=2) & (data.subpolicy == 0))[0]
    failing = data.replace(
        weight=data.weight.at[g, s, 1:, e].set(0), reward=data.reward.at[g, s, 1:, e].set(0)
    )
    batch = entry(handed_over(update_subpolicies, *phi, failing, TASKS, None), 0)
    row = np.ravel_multi_index((g, s, 0, e), (G, S, N, E))
    seen_last = AGENT.subpolicy_network.value(
        entry(phi[1].critics, 0), data.observation[g, s, 1, e]
    )
    expected = 0.5 * data.reward[g, s, 0, e] + 0.9 * seen_last
    np.testing.assert_allclose(batch.target[row], expected, rtol=1e-4)
    np.testing.assert_array_equal(np.asarray(batch.weight)[[row + E, row + 2 * E]], 0)


def equal_agent(**changes):
    """The agent with tasks that count alike."""
    config = dataclasses.replace(CONFIG, equal_tasks=True, **changes)
    return dataclasses.replace(AGENT, config=config)


def equal_batch(phi, data, handed_over, agent):
    """What the sub-policies learn from where tasks count alike, by rows `[G, S, N, E]`."""

    def update(_, *arguments):
        return update_subpolicies(agent, *arguments)

    batch = handed_over(update, *phi, data, TASKS, None)
    weight = batch.weight.sum(axis=0)  # each row is of one sub-policy
    return batch.advantage[0].reshape(G, -1), batch.target[0].reshape(G, -1), weight.reshape(G, -1)


def test_tasks_that_count_alike_have_advantages_standardized_among_their_own(phi, rng, handed_over):
    advantage, _, weight = equal_batch(phi, make_rollout(rng), handed_over, equal_agent())
    for g in range(G):
        own = np.asarray(advantage[g])[np.asarray(weight[g]) > 0]
        np.testing.assert_allclose([own.mean(), own.std()], [0.0, 1.0], atol=1e-3)


def test_what_a_task_pays_makes_no_difference_where_tasks_count_alike(phi, rng, handed_over):
    data = make_rollout(rng)
    pay = jnp.asarray([1.0, 100.0, 0.1])[:, None, None, None]
    for agent in (equal_agent(), equal_agent(credit="hierarchy")):
        batch = equal_batch(phi, data, handed_over, agent)
        louder = equal_batch(phi, data.replace(reward=data.reward * pay), handed_over, agent)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-4), louder, batch)


def test_rewards_are_in_units_of_the_returns_of_their_task(phi, rng, handed_over, monkeypatch):
    data = make_rollout(rng)
    # In place of advantages what they have to spread by, so as to be scaled up to 1.
    monkeypatch.setattr(
        credit, "standardize", lambda advantage, weight, least: advantage * 0 + least
    )
    least, targets, _ = equal_batch(phi, data, handed_over, equal_agent())
    for g in range(G):
        returns = []
        for e in range(E):  # what is left of the rollout until the episode ends
            following = 0.0
            for s in reversed(range(S)):
                following = 0.0 if data.truncated[g, s, e] else following
                for n in reversed(range(N)):
                    following = 0.0 if data.terminated[g, s, n, e] else following
                    following = float(data.reward[g, s, n, e]) + 0.9 * following
                    if data.weight[g, s, n, e]:
                        returns.append(following)
        unit = np.sqrt(np.mean(np.square(returns)))
        s, n, e = np.argwhere(np.asarray(data.terminated[g] & (data.weight[g] > 0)))[0]
        row = np.ravel_multi_index((s, n, e), (S, N, E))
        # A step that ends the episode is worth what it pays.
        np.testing.assert_allclose(targets[g, row], data.reward[g, s, n, e] / unit, rtol=1e-3)
        np.testing.assert_allclose(least[g], 0.2 * np.std(returns) / unit, rtol=1e-3)


def test_errors_of_critics_are_no_signal_where_a_task_has_not_paid_yet(phi, rng, handed_over):
    data = make_rollout(rng)
    hardly_anything = jnp.zeros_like(data.reward[1]).at[0, 0, 0].set(1e-8)
    data = data.replace(
        reward=data.reward.at[0].set(-0.3).at[1].set(hardly_anything),
        terminated=data.terminated.at[0].set(False),
    )
    # Another task does not learn from this rollout at all.
    data = data.replace(weight=data.weight.at[2].set(0.0))
    advantage, target, _ = equal_batch(phi, data, handed_over, equal_agent())
    assert np.isfinite(advantage).all() and np.isfinite(target).all()
    # The first has paid the same for everything, and nothing ends: all is as good as the rest.
    np.testing.assert_array_equal(advantage[0], 0.0)
    assert advantage[1].any()
    np.testing.assert_array_equal(advantage[2], 0.0)


@pytest.mark.parametrize(
    ("pay", "weight_where_it_ends", "is_paid"),
    [(-1.0, 1.0, True), (-1.0, 0.0, False), (0.0, 1.0, False), (1.0, 0.0, True)],
)
def test_who_pays_for_every_step_is_paid_by_the_end_of_it(
    pay, weight_where_it_ends, is_paid, phi, rng, handed_over
):
    data = make_rollout(rng)
    ends = jnp.zeros_like(data.terminated).at[0, 0, 1, 0].set(True)
    data = data.replace(
        reward=jnp.full_like(data.reward, pay),
        terminated=ends,
        weight=jnp.ones_like(data.weight).at[0, 0, 1, 0].set(weight_where_it_ends),
    )
    advantage, _, _ = equal_batch(phi, data, handed_over, equal_agent())
    assert advantage[0].any() == is_paid
    # In the other tasks nothing ends.
    assert advantage[1].any() == advantage[2].any() == (pay > 0)


def test_critics_with_the_task_learn_from_standardized_views(rng, handed_over):
    subpolicy = dataclasses.replace(CONFIG.subpolicy, normalize_observations=True)
    config = dataclasses.replace(CONFIG, task_critic=True, subpolicy=subpolicy)
    agent = probe_agent(Clock(), config, episode_length=9)
    phi = jax.jit(functools.partial(init_subpolicies, agent))(jax.random.key(0))
    data = make_rollout(rng)
    batch = handed_over(update_subpolicies, *phi, data, TASKS, None, agent=agent)
    views = np.asarray(agent.critic_view(data.observation, TASKS), np.float64)  # [G, S, N, E, C]
    counted = views[np.asarray(data.weight) > 0]
    expected = (views - counted.mean(axis=0)) / np.sqrt(counted.var(axis=0) + 1e-8)
    rows = expected.reshape(-1, agent.critic_size)
    np.testing.assert_allclose(batch.critic_observation[0], rows, rtol=2e-3, atol=2e-3)


def test_task_critic_sees_the_whole_observation_and_the_task(rng, handed_over):
    class Narrow(Clock):
        subpolicy_observation_indices = (2, 0)

    config = dataclasses.replace(CONFIG, task_critic=True)
    agent = probe_agent(Narrow(), config, episode_length=9)
    phi = jax.jit(functools.partial(init_subpolicies, agent))(jax.random.key(0))
    data = make_rollout(rng)

    def update(_, *arguments):
        return update_subpolicies(agent, *arguments)

    batch = entry(handed_over(update, *phi, data, TASKS, None), 0)
    observation = np.asarray(data.observation).reshape(-1, 3)
    task = np.repeat(np.eye(3)[np.asarray(TASKS.index)], S * N * E, axis=0)
    np.testing.assert_array_equal(batch.observation, observation[:, [2, 0]])
    np.testing.assert_array_equal(batch.critic_observation, np.hstack([observation, task]))
    # What it says of a slice's last observation counts, and depends on the task.
    g, s, e = np.argwhere(~np.asarray(data.terminated)[:, :, -1] & (data.subpolicy == 0))[0]
    value = agent.subpolicy_network.value
    critic = entry(phi[1].critics, 0)
    last = np.concatenate([data.next_observation[g, s, e], task[g * S * N * E]])
    row = np.ravel_multi_index((g, s, N - 1, e), (G, S, N, E))
    expected = 0.5 * data.reward[g, s, -1, e] + 0.9 * value(critic, jnp.asarray(last))
    np.testing.assert_allclose(batch.target[row], expected, rtol=1e-4)


def test_master_learns_from_macro_transitions_of_its_task(theta, rng, handed_over):
    data = entry(make_rollout(rng), 0)
    result = handed_over(update_master, theta, data)
    batch = result
    assert batch.weight.shape == (S * E,)
    assert (batch.weight == 1).all()
    got = by_observation(batch)
    value_of = functools.partial(jax.jit(AGENT.master_network.value), theta.params)
    advantages = []
    for e in range(E):
        value = np.asarray(value_of(data.observation[:, 0, e]))
        expected = gae_loop(
            0.5 * np.asarray(data.reward[:, :, e]).sum(axis=1),
            value,
            np.asarray(value_of(data.next_observation[:, e])),
            np.asarray(data.terminated[:, -1, e]),
            np.asarray(data.truncated[:, e]),
            discount=0.8,
            gae_lambda=0.7,
        )
        for s in range(S):
            advantage, target, _ = got[np.asarray(data.observation[s, 0, e]).tobytes()]
            np.testing.assert_allclose(target, expected[s] + value[s], rtol=1e-3, atol=1e-5)
            advantages.append((advantage, expected[s]))
    standardized, raw = np.asarray(advantages).T
    np.testing.assert_allclose(standardized, (raw - raw.mean()) / raw.std(), atol=1e-3)


def test_standardizing_is_learning_from_standardized_observations(phi, theta, rng, handed_over):
    level = functools.partial(dataclasses.replace, normalize_observations=True)
    config = dataclasses.replace(
        CONFIG, master=level(CONFIG.master), subpolicy=level(CONFIG.subpolicy)
    )
    agent = probe_agent(Clock(), config, episode_length=9)
    shift, size = jnp.array([3.0, -1.0, 0.0]), jnp.array([0.5, 4.0, 2.0])
    data = make_rollout(rng)
    data = data.replace(
        observation=shift + size * data.observation,
        next_observation=shift + size * data.next_observation,
    )

    def by_hand(seen, weight, rollout):
        """The rollout in units of what counts in it."""
        seen, weight = np.asarray(seen, np.float64), np.asarray(weight)
        counted = seen[weight > 0]
        mean, deviation = counted.mean(axis=0), counted.std(axis=0)
        return rollout.replace(
            observation=jnp.asarray((rollout.observation - mean) / deviation, jnp.float32),
            next_observation=jnp.asarray(
                (rollout.next_observation - mean) / deviation, jnp.float32
            ),
        )

    of_one = entry(data, 0)
    macro = of_one.observation[:, 0]
    cases = (
        (update_master, (theta,), of_one, by_hand(macro, np.ones(macro.shape[:-1]), of_one), ()),
        (
            update_subpolicies,
            phi,
            data,
            by_hand(data.observation, data.weight, data),
            (TASKS, None),
        ),
    )
    for update, learner, raw, standardized, rest in cases:
        got = handed_over(update, *learner, raw, *rest, agent=agent)
        expected = handed_over(update, *learner, standardized, *rest)
        for name in ("observation", "log_prob", "target", "advantage"):
            np.testing.assert_allclose(
                getattr(got, name), getattr(expected, name), rtol=2e-3, atol=2e-3, err_msg=name
            )


def test_stored_probabilities_are_those_of_the_subpolicy_that_acted(phi, rng, handed_over):
    subpolicies, learner = phi
    data = make_rollout(rng)
    result = handed_over(update_subpolicies, subpolicies, learner, data, TASKS, None)
    batch = entry(result, 0)
    for row in range(0, G * S * N * E, 7):
        where = np.argwhere((np.asarray(data.observation) == batch.observation[row]).all(axis=-1))
        g, s, n, e = where[0]
        own = entry(subpolicies.params, data.subpolicy[g, s, e])
        policy = AGENT.subpolicy_network.policy(own, data.observation[g, s, n, e])
        assert batch.action[row] == data.action[g, s, n, e]
        np.testing.assert_allclose(
            batch.log_prob[row], policy.log_prob(data.action[g, s, n, e]), rtol=1e-4
        )
