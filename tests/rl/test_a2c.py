"""A2C's loss against an independent calculation, and its single pass over the batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from checks import assert_bitwise_equal

from mlsh_jax.rl import updates
from mlsh_jax.rl.a2c import A2C
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.distributions import Categorical
from mlsh_jax.rl.losses import Batch, batch_objective
from mlsh_jax.rl.networks import Network

SIZE, ACTIONS = 6, 3
CONFIG = LearnerConfig(rule="a2c", entropy_coefficient=0.1)


def table_network() -> Network:
    """A network whose parameters are the logits and the value of the row that is seen."""

    def row(table, observation):
        return table[observation[..., 0].astype(jnp.int32)]

    return Network(
        init=lambda key: {"logits": jnp.zeros((SIZE, ACTIONS)), "value": jnp.zeros(SIZE)},
        policy=lambda params, o: Categorical(row(params["logits"], o)),
        value=lambda params, o: row(params["value"], o),
    )


@pytest.fixture
def batch(rng) -> Batch:
    index = jnp.arange(SIZE, dtype=jnp.float32)[:, None]
    return Batch(
        observation=index,
        critic_observation=index,
        action=jnp.asarray(rng.integers(0, ACTIONS, SIZE), jnp.int32),
        log_prob=jnp.asarray(rng.normal(size=SIZE), jnp.float32),
        advantage=jnp.asarray(rng.normal(size=SIZE), jnp.float32),
        target=jnp.asarray(rng.normal(size=SIZE), jnp.float32),
        weight=jnp.asarray([1, 1, 0, 1, 1, 0], jnp.float32),
    )


def test_gradient_is_that_of_the_policy_gradient_theorem(rng, batch):
    network = table_network()
    logits = rng.normal(size=(SIZE, ACTIONS))
    value = rng.normal(size=SIZE)
    params = {"logits": jnp.asarray(logits, jnp.float32), "value": jnp.asarray(value, jnp.float32)}
    gradient = jax.grad(lambda p: batch_objective(network, CONFIG, A2C.loss, p, batch)[0])(params)

    probs = scipy.special.softmax(logits, axis=-1)
    log_probs = np.log(probs)
    weight = np.asarray(batch.weight, np.float64) / batch.weight.sum()
    score = np.eye(ACTIONS)[np.asarray(batch.action)] - probs  # of log π(a) in the logits
    entropy = -(probs * log_probs).sum(axis=-1, keepdims=True)
    entropy_gradient = -probs * (log_probs + entropy)
    expected = -np.asarray(batch.advantage)[:, None] * score - 0.1 * entropy_gradient
    np.testing.assert_allclose(gradient["logits"], weight[:, None] * expected, atol=1e-6)
    error = value - np.asarray(batch.target)
    np.testing.assert_allclose(gradient["value"], weight * error, atol=1e-6)


def test_rows_that_do_not_count_may_have_impossible_actions(batch):
    network = table_network()
    params = network.init(None)
    params["logits"] = params["logits"].at[2, 0].set(-jnp.inf)
    batch = batch.replace(action=batch.action.at[2].set(0))  # a row of weight 0
    loss = A2C.loss.terms(network, CONFIG, params, batch)["policy_loss"]
    assert jnp.isfinite(jnp.sum(loss * batch.weight))


@pytest.mark.parametrize("num_minibatches", [1, 3])
def test_every_row_is_used_once_whatever_the_epochs_of_other_rules(
    monkeypatch, batch, num_minibatches
):
    monkeypatch.setattr(updates, "make_optimizer", lambda config: optax.sgd(1.0))
    config = LearnerConfig(rule="a2c", num_minibatches=num_minibatches)
    network = table_network()
    params = network.init(None)
    batch = batch.replace(weight=jnp.ones(SIZE), target=jnp.ones(SIZE))
    state = optax.sgd(1.0).init(params)
    new, _, _ = updates.update(network, config, A2C.loss, params, state, batch, jax.random.key(0))
    # Every value learns once, by its share of a minibatch.
    np.testing.assert_allclose(new["value"], np.full(SIZE, num_minibatches / SIZE), rtol=1e-6)


def test_probability_of_acting_is_no_part_of_the_loss(batch):
    network = table_network()
    params = network.init(None)
    other = dataclasses.replace(batch, log_prob=batch.log_prob + 1.0)
    gradients = [
        jax.grad(lambda p, b=b: batch_objective(network, CONFIG, A2C.loss, p, b)[0])(params)
        for b in (batch, other)
    ]
    assert_bitwise_equal(*gradients)
