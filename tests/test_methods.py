"""What a run measures: masters before and after they have adapted."""

import functools

import jax
import jax.numpy as jnp
import optax
from checks import assert_bitwise_equal, differ
from probes import TwoArms, probe_agent, tiny_config

from envs.wrappers import EpisodeWrapper
from experiments.harness import methods
from experiments.harness.config import AdaptationConfig
from mlsh_jax import adapt, mlsh

COUNT = functools.partial(optax.tree_utils.tree_get, key="count")
ITERATIONS = 2


def test_the_closing_measurement_is_of_untrained_masters_and_of_those_that_have_adapted():
    config = tiny_config(num_tasks=2, num_envs=8, steps_per_iteration=32)
    agent = probe_agent(TwoArms(), config)
    phi = mlsh.init(agent, jax.random.key(0)).subpolicies
    tasks = adapt.evaluation_tasks(agent.env, jax.random.key(0), 2)
    closing = methods.Closing(agent, tasks, None, num_envs=4, iterations=ITERATIONS)
    measured = jax.jit(closing.adapt)(phi, jax.random.key(1))
    steps = ITERATIONS * config.master.epochs
    assert COUNT(measured.initial.opt_state).tolist() == [0, 0]
    assert COUNT(measured.adapted.opt_state).tolist() == [steps, steps]
    assert_bitwise_equal(measured.subpolicies, phi)


def test_masters_that_have_learned_a_course_stand_beside_fresh_ones():
    env = EpisodeWrapper(TwoArms(), TwoArms.episode_length)
    config = tiny_config(num_tasks=2, num_envs=8, steps_per_iteration=32)
    phi = mlsh.init(probe_agent(TwoArms(), config), jax.random.key(0)).subpolicies
    tasks = adapt.evaluation_tasks(env, jax.random.key(0), 2)
    course = AdaptationConfig(num_tasks=2, num_envs=8)
    method = methods.adaptation(lambda length: env, course, config, phi, tasks, 2)
    state, _ = jax.jit(method.iteration)(method.init(jax.random.key(2)))
    measured = method.adapt(state, jax.random.key(3))
    assert_bitwise_equal(measured.adapted, state.adaptation.lives.masters)
    assert (jnp.asarray(COUNT(measured.adapted.opt_state)) > 0).all()
    assert COUNT(measured.initial.opt_state).tolist() == [0, 0]
    assert differ(measured.initial.params, measured.adapted.params)
