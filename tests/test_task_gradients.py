"""Which task's gradient decides what sub-policies become, against gradients row by row."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import entry
from probes import Clock, probe_agent, tiny_config, tiny_ppo

from mlsh_jax import learners, mlsh
from mlsh_jax.learners import init_subpolicies, task_gradients
from mlsh_jax.rl.losses import Batch
from mlsh_jax.rl.rules import subpolicy_loss
from mlsh_jax.tasks import sample_tasks

G, B, K = 3, 8, 2
CONFIG = tiny_config(
    task_critic=False,
    equal_tasks=False,
    balance_usage=False,
    num_tasks=G,
    subpolicy=tiny_ppo(learning_rate=1e-4),
)
AGENT = probe_agent(Clock(), CONFIG)


@pytest.fixture
def batch(rng):
    """Rows of all tasks, one in four of which does not count, and whose they are."""
    batch = Batch(
        observation=jnp.asarray(rng.normal(size=(G, B, 3)), jnp.float32),
        critic_observation=jnp.asarray(rng.normal(size=(G, B, 3)), jnp.float32),
        action=jnp.asarray(rng.integers(0, 2, (G, B)), jnp.int32),
        log_prob=jnp.full((G, B), np.log(0.5), jnp.float32),
        advantage=jnp.asarray(rng.normal(size=(G, B)), jnp.float32),
        target=jnp.zeros((G, B)),
        weight=jnp.asarray(rng.random((G, B)) < 0.75, jnp.float32),
    )
    return batch, jnp.asarray(rng.integers(0, K, (G, B)), jnp.int32)


def parameters():
    subpolicies, learner = jax.jit(functools.partial(init_subpolicies, AGENT))(jax.random.key(0))
    return subpolicies.params | learner.critics


def test_parts_of_tasks_are_sums_of_the_gradients_of_their_rows(batch):
    rows, owner = batch
    loss, params = subpolicy_loss(CONFIG.subpolicy), parameters()

    @jax.jit
    def gradient(params, row):
        def policy_loss(params):
            terms = loss.terms(AGENT.subpolicy_network, CONFIG.subpolicy, params, row)
            return terms["policy_loss"]

        tree = jax.grad(policy_loss)(params)
        return jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])

    weight, owner = np.asarray(rows.weight), np.asarray(owner)
    expected = []
    for g in range(G):
        square = 0.0
        for k in range(K):
            mine = [b for b in range(B) if weight[g, b] and owner[g, b] == k]
            part = sum(np.asarray(gradient(entry(params, k), entry(rows, (g, b)))) for b in mine)
            square += np.sum(np.square(part / weight[owner == k].sum()))
        expected.append(np.sqrt(square))
    got = jax.jit(functools.partial(task_gradients, AGENT))(params, rows, owner)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_of_many_rows_some_are_measured(batch, monkeypatch):
    rows, owner = batch
    monkeypatch.setattr(learners, "_MEASURED_ROWS", B // 4)
    got = task_gradients(AGENT, parameters(), rows, owner)
    # Every fourth row would be of the same one of 4 environments.
    assert AGENT.config.num_envs == 4
    some = jax.tree.map(lambda x: x[:, ::3], (rows, owner))
    np.testing.assert_allclose(got, task_gradients(AGENT, parameters(), *some))


def test_a_louder_task_has_a_larger_part(batch):
    rows, owner = batch
    louder = rows.replace(advantage=rows.advantage * jnp.asarray([1.0, 30.0, 1.0])[:, None])
    params = parameters()
    quiet, loud = (task_gradients(AGENT, params, x, owner) for x in (rows, louder))
    np.testing.assert_allclose(loud / quiet, [1.0, 30.0, 1.0], rtol=1e-4)


@pytest.mark.whole
def test_it_is_measured_in_the_last_iteration_by_kind_of_task():
    def run(key):
        tasks = sample_tasks(AGENT.env, key, G, stratify=True)
        state, lives = mlsh.init(AGENT, key), mlsh.begin_lives(AGENT, key, tasks)
        return mlsh.warmup_and_joint(AGENT, state, lives, key, 1, 2)[2]

    gradient = np.asarray(jax.jit(run)(jax.random.key(0))["task_gradient"])  # [W + U, M]
    assert gradient.shape == (3, len(AGENT.env.task_names))
    assert not gradient[:2].any()
    assert (gradient[2] > 0).all()
