"""PPO's loss and how losses are minimized, against independent calculations in NumPy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from checks import assert_bitwise_equal, differ
from probes import tiny_ppo

from mlsh_jax.rl import updates
from mlsh_jax.rl.distributions import Categorical
from mlsh_jax.rl.losses import Batch, batch_objective
from mlsh_jax.rl.networks import Network, make_network
from mlsh_jax.rl.rules import subpolicy_loss

SIZE = 12
CONFIG = tiny_ppo(
    learning_rate=1e-2,
    epochs=3,
    num_minibatches=3,
    clip_epsilon=0.2,
    entropy_coefficient=0.05,
)
NETWORK = make_network(CONFIG, 3, 4, discrete=True, critic_size=2)
LOSS = subpolicy_loss(CONFIG)


@functools.partial(jax.jit, static_argnums=0)
def update(config, *arguments):
    return updates.update(NETWORK, config, LOSS, *arguments)


loss_and_gradient = jax.jit(
    jax.value_and_grad(
        lambda config, params, batch: batch_objective(NETWORK, config, LOSS, params, batch),
        argnums=1,
        has_aux=True,
    ),
    static_argnums=0,
)


@pytest.fixture(scope="module")
def learner():
    """Parameters and optimizer state that have already learned a little."""
    params = jax.jit(NETWORK.init)(jax.random.key(0))
    opt_state = updates.make_optimizer(CONFIG).init(params)
    batch = make_batch(np.random.default_rng(7))
    params, opt_state, _ = update(CONFIG, params, opt_state, batch, jax.random.key(1))
    return params, opt_state


def make_batch(rng, weight=None) -> Batch:
    return Batch(
        observation=jnp.asarray(rng.normal(size=(SIZE, 3)), jnp.float32),
        critic_observation=jnp.asarray(rng.normal(size=(SIZE, 2)), jnp.float32),
        action=jnp.asarray(rng.integers(0, 4, size=SIZE), jnp.int32),
        log_prob=jnp.asarray(rng.uniform(-2.5, -0.5, size=SIZE), jnp.float32),
        advantage=jnp.asarray(rng.normal(size=SIZE), jnp.float32),
        target=jnp.asarray(rng.normal(size=SIZE), jnp.float32),
        weight=jnp.ones(SIZE) if weight is None else jnp.asarray(weight, jnp.float32),
    )


def test_loss_equals_the_clipped_objective_in_numpy(learner, rng):
    params, _ = learner
    batch = make_batch(rng, weight=rng.random(SIZE) < 0.7)
    (got, metrics), _ = loss_and_gradient(CONFIG, params, batch)

    logits = np.asarray(NETWORK.policy(params, batch.observation).logits, np.float64)
    value = np.asarray(NETWORK.value(params, batch.critic_observation), np.float64)
    policy_terms, value_terms, entropies, clipped = [], [], [], []
    for i in np.flatnonzero(batch.weight):
        log_probs = scipy.special.log_softmax(logits[i])
        ratio = np.exp(log_probs[batch.action[i]] - float(batch.log_prob[i]))
        advantage = float(batch.advantage[i])
        bound = 1.2 if advantage > 0 else 0.8
        held = ratio > bound if advantage > 0 else ratio < bound
        policy_terms.append((bound if held else ratio) * advantage)
        value_terms.append((value[i] - float(batch.target[i])) ** 2 / 2)
        entropies.append(-np.sum(np.exp(log_probs) * log_probs))
        clipped.append(abs(ratio - 1) > 0.2)
    assert 0 < np.mean(clipped) < 1
    expected = -np.mean(policy_terms) + np.mean(value_terms)
    expected -= 0.05 * np.mean(entropies)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["policy_loss"], -np.mean(policy_terms), rtol=1e-4)
    np.testing.assert_allclose(metrics["value_loss"], np.mean(value_terms), rtol=1e-4)
    np.testing.assert_allclose(metrics["entropy"], np.mean(entropies), rtol=1e-5)
    np.testing.assert_allclose(metrics["clip_fraction"], np.mean(clipped), rtol=1e-5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [(1.0, 1.0, True), (1.3, 1.0, False), (0.7, 1.0, True), (0.7, -1.0, False), (1.3, -1.0, True)],
)
def test_gradient_vanishes_exactly_where_the_objective_is_clipped(
    learner, rng, ratio, advantage, moves
):
    params, _ = learner
    batch = make_batch(rng)
    log_prob = NETWORK.policy(params, batch.observation).log_prob(batch.action) - np.log(ratio)
    batch = batch.replace(log_prob=log_prob, advantage=jnp.full((SIZE,), advantage))
    config = dataclasses.replace(CONFIG, entropy_coefficient=0.0)
    _, gradient = loss_and_gradient(config, params, batch)
    assert any(bool((g != 0).any()) for g in jax.tree.leaves(gradient["policy"])) == moves


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_a_good_action_becomes_more_probable_and_a_bad_one_less(learner, rng, advantage):
    params, opt_state = learner
    batch = make_batch(rng)
    batch = batch.replace(
        observation=jnp.ones((SIZE, 3)),
        action=jnp.full((SIZE,), 2),
        advantage=jnp.full((SIZE,), advantage),
        log_prob=NETWORK.policy(params, jnp.ones((SIZE, 3))).log_prob(jnp.full((SIZE,), 2)),
    )
    new, _, _ = update(CONFIG, params, opt_state, batch, jax.random.key(0))
    change = NETWORK.policy(new, jnp.ones(3)).log_prob(jnp.asarray(2)) - batch.log_prob[0]
    assert jnp.sign(change) == jnp.sign(advantage)


def test_value_moves_toward_its_target(learner, rng):
    params, opt_state = learner
    batch = make_batch(rng)
    before = NETWORK.value(params, batch.critic_observation)
    for offset in (2.0, -2.0):
        toward = batch.replace(target=before + offset)
        new, _, _ = update(CONFIG, params, opt_state, toward, jax.random.key(0))
        change = (NETWORK.value(new, batch.critic_observation) - before).mean()
        assert jnp.sign(change) == jnp.sign(offset)


def test_zero_weight_leaves_parameters_and_optimizer_bitwise_unchanged(learner, rng):
    params, opt_state = learner
    batch = make_batch(rng, weight=np.zeros(SIZE))
    new, new_opt_state, metrics = update(CONFIG, params, opt_state, batch, jax.random.key(0))
    assert_bitwise_equal((new, new_opt_state), (params, opt_state))
    assert all(jnp.isfinite(x) for x in metrics.values())
    some = make_batch(rng)
    assert differ(params, update(CONFIG, params, opt_state, some, jax.random.key(0))[0])


def test_result_does_not_depend_on_zero_weight_rows(learner, rng):
    params, opt_state = learner
    weight = np.arange(SIZE) % 3 != 0
    batch = make_batch(rng, weight)
    other = make_batch(rng, weight)
    mixed = jax.tree.map(
        lambda a, b: jnp.where(weight.reshape((-1,) + (1,) * (a.ndim - 1)), a, 5 * b), batch, other
    )
    assert differ(batch, mixed)
    results = [update(CONFIG, params, opt_state, b, jax.random.key(0))[:2] for b in (batch, mixed)]
    assert_bitwise_equal(*results)


def test_zero_weight_rows_whose_ratio_overflows_are_harmless(learner, rng):
    params, opt_state = learner
    weight = np.arange(SIZE) % 3 != 0
    batch = make_batch(rng, weight)
    wild = batch.replace(log_prob=jnp.where(weight, batch.log_prob, -200.0))
    results = [update(CONFIG, params, opt_state, b, jax.random.key(0))[:2] for b in (batch, wild)]
    assert_bitwise_equal(*results)


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("num_minibatches", [1, 3])
def test_every_sample_is_used_once_an_epoch(monkeypatch, epochs, num_minibatches):
    # Sample i owns the parameter v[i], whose error shrinks by 1 / (size of a minibatch) under
    # gradient descent with step size 1 whenever the sample is used.
    monkeypatch.setattr(updates, "make_optimizer", lambda config: optax.sgd(1.0))
    network = Network(
        init=lambda key: {"v": jnp.zeros(SIZE)},
        policy=lambda params, o: Categorical(jnp.zeros((*o.shape[:-1], 4))),
        value=lambda params, o: o @ params["v"],
    )
    config = tiny_ppo(epochs=epochs, num_minibatches=num_minibatches)
    batch = make_batch(np.random.default_rng(0)).replace(
        critic_observation=jnp.eye(SIZE), target=jnp.ones(SIZE)
    )
    params = network.init(None)
    new, _, _ = updates.update(
        network, config, LOSS, params, optax.sgd(1.0).init(params), batch, jax.random.key(0)
    )
    remaining = (1 - num_minibatches / SIZE) ** epochs
    np.testing.assert_allclose(new["v"], np.full(SIZE, 1 - remaining), rtol=1e-5)


def test_steps_fall_to_nothing_in_the_last_fifth_of_all_updates():
    # 10 updates of 3 epochs with 5 minibatches are 150 steps. Adam's step for a gradient that
    # stays the same is its step size.
    config = tiny_ppo(learning_rate=0.5, epochs=3, num_minibatches=5, decay_until=10)
    optimizer = updates.make_optimizer(config)
    params = jnp.zeros(1)

    def step(state, _):
        change, state = optimizer.update(jnp.ones(1), state, params)
        return state, -change[0]

    _, sizes = jax.lax.scan(step, optimizer.init(params), length=160)
    steps = np.arange(160)
    expected = 0.5 * np.clip((150 - steps) / 30, 0.0, 1.0)
    np.testing.assert_allclose(sizes, expected, rtol=1e-4)
    np.testing.assert_array_equal(sizes[150:], 0.0)


def test_a_life_of_one_step_ends_as_well():
    optimizer = updates.make_optimizer(tiny_ppo(epochs=1, num_minibatches=1, decay_until=1))
    params, gradient = jnp.zeros(1), jnp.ones(1)
    first, state = optimizer.update(gradient, optimizer.init(params), params)
    second, _ = optimizer.update(gradient, state, params)
    assert first[0] < 0.0 and second[0] == 0.0


def test_what_minibatches_do_not_share_out_evenly_is_left_out_at_random(monkeypatch):
    monkeypatch.setattr(updates, "make_optimizer", lambda config: optax.sgd(1.0))
    network = Network(
        init=lambda key: {"v": jnp.zeros(SIZE)},
        policy=lambda params, o: Categorical(jnp.zeros((*o.shape[:-1], 4))),
        value=lambda params, o: o @ params["v"],
    )
    count = SIZE // 2 + 1  # minibatches of one row
    batch = make_batch(np.random.default_rng(0)).replace(
        critic_observation=jnp.eye(SIZE), target=jnp.ones(SIZE)
    )
    params = network.init(None)

    def used(key, epochs=1):
        config = tiny_ppo(epochs=epochs, num_minibatches=count)
        opt_state = optax.sgd(1.0).init(params)
        return np.asarray(
            updates.update(network, config, LOSS, params, opt_state, batch, key)[0]["v"]
        )

    one, other = used(jax.random.key(0)), used(jax.random.key(1))
    assert sorted(one) == sorted(other) == [0.0] * (SIZE - count) + [1.0] * count
    assert (one != other).any()
    # A second epoch takes them in another order, so that it leaves out others.
    assert used(jax.random.key(0), epochs=2).sum() > count


def test_every_part_of_a_batch_has_an_order_of_its_own(monkeypatch):
    # Minibatches of one row of each of two parts; what is left out is not the same in both.
    monkeypatch.setattr(updates, "make_optimizer", lambda config: optax.sgd(1.0))
    network = Network(
        init=lambda key: {"v": jnp.zeros(2 * SIZE)},
        policy=lambda params, o: Categorical(jnp.zeros((*o.shape[:-1], 4))),
        value=lambda params, o: o @ params["v"],
    )
    batch = in_parts(make_batch(np.random.default_rng(0)), 2).replace(
        critic_observation=jnp.eye(2 * SIZE).reshape(2, SIZE, -1), target=jnp.ones((2, SIZE))
    )
    config = tiny_ppo(epochs=1, num_minibatches=SIZE // 2 + 1)
    params = {"v": jnp.zeros((1, 2 * SIZE))}
    opt_state = jax.vmap(optax.sgd(1.0).init)(params)
    owner = jnp.zeros((2, SIZE), jnp.int32)
    new = updates.update_owners(
        network, config, LOSS, params, opt_state, batch, owner, jax.random.key(0)
    )[0]
    first, second = np.asarray(new["v"]).reshape(2, SIZE) > 0
    assert first.sum() == second.sum() == SIZE // 2 + 1
    assert (first != second).any()


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("num_minibatches", [1, 3])
def test_every_owner_uses_its_samples_once_an_epoch(monkeypatch, epochs, num_minibatches):
    # As above; all rows of a part belong to one learner, so that every minibatch has 4 / 3 of them.
    monkeypatch.setattr(updates, "make_optimizer", lambda config: optax.sgd(1.0))
    num_parts, num_owners = 2, 3
    network = Network(
        init=lambda key: {"v": jnp.zeros(num_parts * SIZE)},
        policy=lambda params, o: Categorical(jnp.zeros((*o.shape[:-1], 4))),
        value=lambda params, o: o @ params["v"],
    )
    config = tiny_ppo(epochs=epochs, num_minibatches=num_minibatches)
    batch = in_parts(make_batch(np.random.default_rng(0)), num_parts).replace(
        critic_observation=jnp.eye(num_parts * SIZE).reshape(num_parts, SIZE, -1),
        target=jnp.ones((num_parts, SIZE)),
    )
    owner = jnp.repeat(jnp.array([[0], [2]]), SIZE, axis=1)
    params = {"v": jnp.zeros((num_owners, num_parts * SIZE))}
    opt_state = jax.vmap(optax.sgd(1.0).init)(params)
    new, _, _ = updates.update_owners(
        network, config, LOSS, params, opt_state, batch, owner, jax.random.key(0)
    )
    learned = 1 - (1 - num_minibatches / SIZE) ** epochs
    expected = np.zeros((num_owners, num_parts, SIZE))
    expected[0, 0] = expected[2, 1] = learned
    np.testing.assert_allclose(
        new["v"].reshape(num_owners, num_parts, SIZE), expected, rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("num_shares", [1, 2, 4])
def test_owners_learn_from_their_rows_what_each_would_alone(learner, rng, num_shares):
    config = dataclasses.replace(CONFIG, num_minibatches=1)
    num_owners, num_parts = 3, 4
    batch = in_parts(make_batch(rng, rng.random(SIZE) < 0.8), num_parts)
    batch = jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape), batch).replace(
        action=batch.action, weight=batch.weight
    )
    owner = jnp.asarray(rng.integers(0, num_owners, (num_parts, SIZE)), jnp.int32)
    scale = 1 + 0.2 * jnp.arange(num_owners)
    params, opt_state = jax.tree.map(
        lambda x: jnp.stack([x * s for s in scale]).astype(x.dtype), learner
    )
    key = jax.random.key(0)
    learn = functools.partial(updates.update_owners, NETWORK, config, LOSS, num_shares=num_shares)
    together = jax.jit(learn)(params, opt_state, batch, owner, key)
    flat, flat_owner = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (batch, owner))
    metrics = []
    for k in range(num_owners):
        own = flat.replace(weight=flat.weight * (flat_owner == k))
        own_state = jax.tree.map(lambda x, k=k: x[k], (params, opt_state))
        alone = update(config, *own_state, own, key)
        got = jax.tree.map(lambda x, k=k: x[k], together[:2])
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), got, alone[:2]
        )
        metrics.append(alone[2])
    for name, value in together[2].items():
        np.testing.assert_allclose(value, np.mean([m[name] for m in metrics]), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("num_minibatches", [1, 3])
def test_an_owner_without_rows_stays_bitwise_as_it_was(learner, rng, num_minibatches):
    config = dataclasses.replace(CONFIG, num_minibatches=num_minibatches)
    params, opt_state = jax.tree.map(lambda x: jnp.stack([x, x, x]), learner)
    batch = in_parts(make_batch(rng), 1)
    owner = jnp.asarray(rng.integers(0, 2, (1, SIZE)), jnp.int32)
    weight = jnp.where(owner == 1, 0.0, batch.weight)
    new = jax.jit(functools.partial(updates.update_owners, NETWORK, config, LOSS))(
        params, opt_state, batch.replace(weight=weight), owner, jax.random.key(0)
    )[:2]
    for k in (1, 2):  # one whose rows do not count, one that has none
        assert_bitwise_equal(jax.tree.map(lambda x, k=k: x[k], new), learner)
    assert differ(jax.tree.map(lambda x: x[0], new[0]), learner[0])


def in_parts(batch: Batch, num_parts: int) -> Batch:
    """The same batch in every part, `[P, B, ...]`."""
    return jax.tree.map(lambda x: jnp.stack([x] * num_parts), batch)


def test_the_key_orders_the_minibatches(learner, rng):
    params, opt_state = learner
    batch = make_batch(rng)
    one, again, other = (
        update(CONFIG, params, opt_state, batch, jax.random.key(seed))[0] for seed in (3, 3, 4)
    )
    assert_bitwise_equal(one, again)
    assert differ(one, other)


def test_number_of_gradient_steps_is_epochs_times_minibatches(learner, rng):
    params, _ = learner
    opt_state = updates.make_optimizer(CONFIG).init(params)
    _, opt_state, _ = update(CONFIG, params, opt_state, make_batch(rng), jax.random.key(0))
    assert optax.tree_utils.tree_get(opt_state, "count") == 3 * 3


def test_entropy_bonus_makes_the_policy_more_random(learner, rng):
    params, opt_state = learner
    batch = make_batch(rng).replace(advantage=jnp.zeros(SIZE))
    params = jax.tree.map(lambda x: 3 * x, params)
    config = dataclasses.replace(CONFIG, entropy_coefficient=1.0)
    new, _, _ = update(config, params, opt_state, batch, jax.random.key(0))
    entropy = [NETWORK.policy(p, batch.observation).entropy().mean() for p in (params, new)]
    assert entropy[1] > entropy[0]
