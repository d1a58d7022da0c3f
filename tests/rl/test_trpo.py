"""TRPO's natural gradient, its line search and its limit, against independent calculations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from checks import assert_bitwise_equal, differ
from jax.flatten_util import ravel_pytree

from mlsh_jax.rl import trpo
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.distributions import Categorical
from mlsh_jax.rl.losses import Batch
from mlsh_jax.rl.networks import Network, make_network
from mlsh_jax.rl.rules import Transitions

SIZE, ACTIONS, INPUTS = 40, 3, 2
CONFIG = LearnerConfig(rule="trpo", kl_limit=0.02, hidden_sizes=(8,), learning_rate=1e-2)


def linear_network() -> Network:
    """Logits that are linear in the observation."""
    return Network(
        init=lambda key: {"policy": jnp.zeros((INPUTS, ACTIONS)), "value": jnp.zeros(INPUTS)},
        policy=lambda params, o: Categorical(o @ params["policy"]),
        value=lambda params, o: o @ params["value"],
    )


def make_batch(network: Network, policy, rng, advantage=None) -> Batch:
    observation = jnp.asarray(rng.normal(size=(SIZE, INPUTS)), jnp.float32)
    action = jnp.asarray(rng.integers(0, ACTIONS, SIZE), jnp.int32)
    advantage = rng.normal(size=SIZE) if advantage is None else advantage
    return Batch(
        observation=observation,
        critic_observation=observation,
        action=action,
        log_prob=network.policy({"policy": policy}, observation).log_prob(action),
        advantage=jnp.asarray(advantage, jnp.float32),
        target=jnp.asarray(rng.normal(size=SIZE), jnp.float32),
        weight=jnp.ones(SIZE),
    )


def test_natural_step_solves_with_the_fisher_matrix_of_a_softmax(rng):
    network = linear_network()
    policy = jnp.asarray(rng.normal(size=(INPUTS, ACTIONS)), jnp.float32)
    batch = make_batch(network, policy, rng)
    start, unravel = ravel_pytree(policy)
    before = network.policy({"policy": policy}, batch.observation)

    def at(vector):
        return network.policy({"policy": unravel(vector)}, batch.observation)

    step = trpo.natural_step(
        lambda v: (jnp.exp(at(v).log_prob(batch.action) - batch.log_prob) * batch.advantage).mean(),
        lambda v: before.kl_divergence(at(v)).mean(),
        start,
        CONFIG.kl_limit,
    )

    # The Fisher matrix is the mean over observations of E_a[score scoreᵀ].
    seen = np.asarray(batch.observation, np.float64)
    probs = scipy.special.softmax(seen @ np.asarray(policy, np.float64), axis=-1)
    scores = (
        np.einsum("bi,aj->baij", seen, np.eye(ACTIONS))
        - np.einsum("bi,bj->bij", seen, probs)[:, None]
    )
    scores = scores.reshape(SIZE, ACTIONS, -1)
    fisher = np.einsum("ba,bai,baj->ij", probs, scores, scores) / SIZE
    taken = scores[np.arange(SIZE), np.asarray(batch.action)]
    gradient = (np.asarray(batch.advantage, np.float64)[:, None] * taken).mean(axis=0)
    damped = fisher + 0.1 * np.eye(len(fisher))
    direction = np.linalg.solve(damped, gradient)
    expected = direction * np.sqrt(2 * CONFIG.kl_limit / (direction @ damped @ direction))
    np.testing.assert_allclose(step, expected, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_step_keeps_the_limit_and_improves_the_surrogate(seed):
    rng = np.random.default_rng(seed)
    network = make_network(CONFIG, INPUTS, ACTIONS, discrete=True, critic_size=INPUTS)
    policy = network.init(jax.random.key(seed))["policy"]
    batch = make_batch(network, policy, rng)
    new, metrics = trpo.policy_step(network, CONFIG, policy, batch)

    def log_probs(params):
        logits = np.asarray(network.policy({"policy": params}, batch.observation).logits)
        return scipy.special.log_softmax(logits.astype(np.float64), axis=-1)

    before, after = log_probs(policy), log_probs(new)
    kl = (np.exp(before) * (before - after)).sum(axis=-1).mean()
    assert 0.0 < kl <= CONFIG.kl_limit * 1.001
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-2, atol=1e-6)
    rows = np.arange(SIZE), np.asarray(batch.action)
    ratio = np.exp(after[rows] - before[rows])
    assert (ratio * batch.advantage).mean() > np.mean(batch.advantage)


def test_policy_stays_where_no_step_improves_anything(rng):
    network = linear_network()
    policy = jnp.asarray(rng.normal(size=(INPUTS, ACTIONS)), jnp.float32)
    batch = make_batch(network, policy, rng, advantage=np.zeros(SIZE))
    new, metrics = trpo.policy_step(network, CONFIG, policy, batch)
    assert_bitwise_equal(new, policy)
    assert metrics["step_size"] == 0.0


def test_a_bonus_on_entropy_makes_choices_more_random(rng):
    network = linear_network()
    policy = 3.0 * jnp.asarray(rng.normal(size=(INPUTS, ACTIONS)), jnp.float32)
    batch = make_batch(network, policy, rng, advantage=np.zeros(SIZE))
    config = dataclasses.replace(CONFIG, entropy_coefficient=1.0)
    new, _ = trpo.policy_step(network, config, policy, batch)
    before, after = (
        network.policy({"policy": each}, batch.observation).entropy().mean()
        for each in (policy, new)
    )
    assert after > before


def test_line_search_takes_the_largest_half_that_serves(monkeypatch, rng):
    network = linear_network()
    policy = jnp.zeros((INPUTS, ACTIONS))
    batch = make_batch(network, policy, rng)
    exact = trpo.natural_step
    # A step sixteen times too long has to be cut to about a sixteenth.
    monkeypatch.setattr(trpo, "natural_step", lambda *arguments: 16.0 * exact(*arguments))
    _, metrics = trpo.policy_step(network, CONFIG, policy, batch)
    assert metrics["step_size"] in (1 / 8, 1 / 16, 1 / 32)
    assert metrics["kl"] <= CONFIG.kl_limit


def test_update_fits_the_value_function_and_moves_the_policy(rng):
    network = make_network(CONFIG, INPUTS, ACTIONS, discrete=True, critic_size=INPUTS)
    params = network.init(jax.random.key(0))
    seen = jnp.asarray(rng.normal(size=(SIZE, 2, INPUTS)), jnp.float32)
    ends = jnp.ones((SIZE, 2), bool)
    transitions = Transitions(
        observation=seen,
        action=jnp.asarray(rng.integers(0, ACTIONS, (SIZE, 2)), jnp.int32),
        reward=seen[..., 0],
        next_observation=seen,
        terminated=ends,
        last=ends,
    )
    state = trpo.init(CONFIG, params, INPUTS)
    update = jax.jit(
        lambda p, s, key: trpo.update(network, CONFIG, p, s, transitions, lambda x: x, key)
    )
    two = params, state
    for i in range(2):
        *two, _ = update(*two, jax.random.key(i))
    assert optax.tree_utils.tree_get(two[1], "count") == 2 * CONFIG.epochs
    errors, start = [], params
    for i in range(30):
        params, state, metrics = update(params, state, jax.random.key(i))
        errors.append(float(metrics["value_loss"]))
    assert errors[-1] < 0.1 * errors[0]
    assert differ(start["policy"], params["policy"])
