"""No random key is used for two things: not the same one, and not one that others are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import Clock, probe_agent, tiny_config

from mlsh_jax import mlsh
from mlsh_jax.agent import hierarchy
from mlsh_jax.rollout import Behavior, rollout, rollout_all
from mlsh_jax.tasks import sample_tasks

G, S, N, E = 3, 4, 4, 2
AGENT = probe_agent(
    Clock(),
    tiny_config(
        num_tasks=G,
        num_envs=E,
        macro_length=N,
        steps_per_iteration=S * N * E,
        warmup_iterations=2,
        joint_iterations=2,
    ),
)
CHILDREN, GENERATIONS = 8, 3  # of a key, that are looked at


def assert_used_once(keys):
    """No key is there twice, and none descends from another."""
    used = [tuple(row) for row in np.asarray(keys, np.uint32).reshape(-1, 2).tolist()]
    assert len(set(used)) == len(used)
    roots = jax.random.wrap_key_data(jnp.asarray(used, jnp.uint32))
    for _ in range(GENERATIONS):
        roots = jax.vmap(lambda key: jax.random.split(key, CHILDREN))(roots).reshape(-1)
        data = np.asarray(jax.random.key_data(roots)).tolist()
        assert not set(used) & set(map(tuple, data))


@pytest.fixture(scope="module")
def lives():
    tasks = sample_tasks(AGENT.env, jax.random.key(1), G, stratify=True)
    return mlsh.begin_lives(AGENT, jax.random.key(2), tasks)


def test_the_counts_would_notice():
    key = jax.random.key(0)
    assert_used_once(jax.random.key_data(jax.random.split(key, 3)))
    with pytest.raises(AssertionError):
        assert_used_once(jax.random.key_data(jnp.stack([key, key])))
    with pytest.raises(AssertionError):
        assert_used_once(jax.random.key_data(jnp.stack([key, jax.random.split(key, 2)[1]])))


def test_every_choice_and_every_step_of_every_task_has_a_key_of_its_own(lives):
    def remember(memory, key):
        row = jnp.broadcast_to(jax.random.key_data(key), (E, 2))
        seen = jax.vmap(lambda seen, count, row: seen.at[count].set(row))(
            memory["seen"], memory["count"], row
        )
        return {"seen": seen, "count": memory["count"] + 1}

    behavior = Behavior(
        choose=lambda o, memory, key: (jnp.zeros(E, jnp.int32), remember(memory, key)),
        act=lambda o, k, memory, key: (jnp.zeros(E), remember(memory, key)),
        remember=lambda memory, feedback: memory,
    )
    calls = S * (1 + N)
    memories = {
        "seen": jnp.zeros((G, E, calls, 2), jnp.uint32),
        "count": jnp.zeros((G, E), jnp.int32),
    }
    collect = jax.jit(
        lambda key: rollout_all(
            AGENT.env,
            lambda _: behavior,
            jnp.zeros(G),
            key,
            lives.tasks,
            lives.env_states,
            memories,
            num_slices=S,
            macro_length=N,
        )[1]
    )
    memories = collect(jax.random.key(3))
    assert np.all(memories["count"] == calls)
    assert_used_once(memories["seen"][:, 0])


def test_restart_choice_and_steps_of_a_slice_share_no_key(lives):
    subpolicies = mlsh.init(AGENT, jax.random.key(0)).subpolicies
    master, task, env_state = jax.tree.map(
        lambda x: x[0], (lives.masters, lives.tasks.task, lives.env_states)
    )
    behavior = hierarchy(AGENT, subpolicies, master)

    @jax.jit
    def rewards(key):
        return rollout(AGENT.env, behavior, key, task, env_state, num_slices=S, macro_length=N)[
            2
        ].reward

    # What JAX calls a reuse; of a scan within a vmap it says so whatever that does.
    with jax.debug_key_reuse(True):
        assert rewards(jax.random.key(3)).shape == (S, N, E)


def test_episodes_that_begin_together_begin_differently(lives):
    subpolicies = mlsh.init(AGENT, jax.random.key(0)).subpolicies
    _, rollouts = mlsh.collect(AGENT, subpolicies, lives, jax.random.key(4))
    noise = np.asarray(rollouts.observation)[:, 0, 0, :, 1]  # [G, E], of the first step
    assert len(np.unique(noise)) == G * E


def test_every_part_of_a_meta_iteration_has_a_key_of_its_own(lives, monkeypatch):
    keys = []

    def recording(name, result=None):
        real = getattr(mlsh, name)

        def record(*args, **kwargs):
            (key,) = (
                x for x in args
                if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
            )  # fmt: skip
            if not isinstance(key, jax.core.Tracer):  # asked for its shapes
                keys.append(np.asarray(jax.random.key_data(key)))
            return (result or real)(*args, **kwargs)

        monkeypatch.setattr(mlsh, name, record)

    shapes = jax.eval_shape(
        lambda key: mlsh.collect(AGENT, mlsh.init(AGENT, key).subpolicies, lives, key)[1],
        jax.random.key(0),
    )
    rollouts = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    recording("sample_tasks")
    recording("begin_lives")
    recording("collect", lambda agent, phi, lives, key, starts: (lives, rollouts))
    recording("update_masters", lambda agent, lives, rollouts, key: (lives, {}))
    recording("update_subpolicies", lambda agent, phi, learner, *rest: (
        phi, learner, {"task_gradient": jnp.zeros(G)}
    ))  # fmt: skip
    state = mlsh.init(AGENT, jax.random.key(0))
    with jax.disable_jit():
        state, _ = mlsh.meta_iteration(AGENT, state)
    # Tasks, lives, 4 iterations that collect and update masters, 2 that update φ.
    assert len(keys) == 2 + 2 * 4 + 2
    keys.append(np.asarray(jax.random.key_data(state.key)))
    assert_used_once(keys)


def test_every_master_learns_with_a_key_of_its_own(lives, monkeypatch):
    def update(agent, master, rollout, key):
        return master.replace(params=jax.random.key_data(key)), {}

    monkeypatch.setattr(mlsh, "update_master", update)
    rollouts = {"nothing": jnp.zeros(G)}
    lives, _ = mlsh.update_masters(AGENT, lives, rollouts, jax.random.key(5))
    assert_used_once(lives.masters.params)
