"""How far from standing bodies start: as Brax has it."""

import types

import jax
import jax.numpy as jnp
import numpy as np

import envs


def test_ants_start_within_a_tenth_of_standing_and_at_rest_but_for_a_tenth():
    ant = envs.make("ant_twowalk").unwrapped
    q, qd = jax.vmap(ant._draw_pose)(jax.random.split(jax.random.key(0), 2000))
    unturned = [0, 1, 2, *range(7, 15)]  # the quaternion is scaled to 1
    offset = np.asarray(q - ant.sys.init_q)[:, unturned]
    assert np.abs(offset).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(offset.std(axis=0), 0.1 / 3**0.5, rtol=0.1)
    np.testing.assert_allclose(np.std(qd, axis=0), 0.1, rtol=0.1)


def test_an_ant_is_stood_up_in_another_pose_each_time():
    ant = envs.make("ant_obstacle").unwrapped
    key = jax.random.key(0)
    q, qd = ant._draw_pose(key)
    now = types.SimpleNamespace(q=q + 5.0, qd=qd)
    one, other = (ant._stand_up(now, key, jnp.int32(t), 200)[0] for t in (200, 400))
    np.testing.assert_array_equal(one[:2], now.q[:2])
    assert (one[2:] != other[2:]).all()


def test_humanoids_start_within_a_hundredth_of_standing_and_of_rest():
    humanoid = envs.make("humanoid_walk_crawl").unwrapped
    states = jax.jit(jax.vmap(humanoid.reset))(jax.random.split(jax.random.key(0), 200))
    q, qd = states.pipeline_state.q, states.pipeline_state.qd
    offset = np.delete(np.asarray(q - humanoid.sys.init_q), range(3, 7), axis=1)
    for noise in (offset, np.asarray(qd)):
        assert np.abs(noise).max() <= 0.01 + 1e-6
        np.testing.assert_allclose(noise.std(axis=0), 0.01 / 3**0.5, rtol=0.2)
