"""Many trainings as one program, against each alone."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import entry, raw
from probes import TwoArms, probe_agent, tiny_config

from mlsh_jax import mlsh, population
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.devices import make_layout

TRIALS = (
    {"master.learning_rate": 0.1, "subpolicy.discount": 0.5, "reward_scale": 1.0},
    {"master.learning_rate": 0.001, "subpolicy.discount": 0.99, "reward_scale": 3.0},
)
SEEDS = (0, 5)


@pytest.fixture(scope="module")
def agent():
    return probe_agent(TwoArms(), tiny_config(num_tasks=2, num_envs=2, steps_per_iteration=16))


@pytest.fixture(scope="module", params=[False, True], ids=["in step", "one by one"])
def together(request, agent):
    """States before and after two meta-iterations and the metrics of the second, `[P, S, ...]`."""
    keys = jnp.stack([jax.random.key(seed) for seed in SEEDS])
    keys = jnp.broadcast_to(keys, (len(TRIALS), len(SEEDS)))
    numbers = {name: jnp.asarray([trial[name] for trial in TRIALS]) for name in TRIALS[0]}
    init = jax.jit(functools.partial(population.init, agent))
    step = functools.partial(population.meta_iteration, agent, one_by_one=request.param)
    step = jax.jit(make_layout(2).per_device(step))
    before = init(keys)
    active = jnp.ones(len(TRIALS), bool)
    after, metrics = step(step(before, numbers, active)[0], numbers, active)
    return before, after, metrics, keys


@pytest.fixture(scope="module")
def alone(agent):
    """State and metrics after two meta-iterations of each trial and seed, `[P][S]`."""

    def train(trial: dict) -> list[tuple]:
        config = population.with_numbers(agent.config, trial)
        step = jax.jit(functools.partial(mlsh.meta_iteration, replace(agent, config=config)))
        states = [mlsh.init(agent, jax.random.key(seed)) for seed in SEEDS]
        return [step(step(state)[0]) for state in states]

    return [train(trial) for trial in TRIALS]


@pytest.mark.whole
@pytest.mark.parametrize("trial", range(len(TRIALS)))
def test_a_trial_is_trained_as_it_is_alone(together, alone, trial):
    _, after, metrics, _ = together
    for s, (state, own_metrics) in enumerate(alone[trial]):
        _assert_close(entry(after, (trial, s)), state, rtol=1e-4, atol=1e-5)
        # The entropy of masters that are nearly certain is a small number from large ones.
        _assert_close(entry(metrics, (trial, s)), own_metrics, rtol=1e-3, atol=1e-5)


@pytest.mark.whole
def test_only_chosen_trials_start_anew(agent, together):
    before, after, _, keys = together
    which = jnp.asarray([False, True])
    restarted = jax.jit(functools.partial(population.restart, agent))(after, keys, which)
    for place, expected in ((0, after), (1, before)):
        _assert_close(entry(restarted, place), entry(expected, place), rtol=1e-6)


def test_numbers_are_put_where_their_names_say():
    config = population.with_numbers(
        MLSHConfig(), {name: i for i, name in enumerate(population.NUMBERS)}
    )
    for i, name in enumerate(population.NUMBERS):
        value = config
        for part in name.split("."):
            value = getattr(value, part)
        assert value == i
    assert MLSHConfig().master.learning_rate == 1e-2  # the original is as it was


@pytest.mark.whole
def test_trials_that_do_not_count_are_left_out_one_by_one(agent, together):
    before = together[0]
    numbers = {name: jnp.asarray([trial[name] for trial in TRIALS]) for name in TRIALS[0]}
    step = jax.jit(functools.partial(population.meta_iteration, agent, one_by_one=True))
    states, metrics = step(before, numbers, jnp.array([True, False]))
    np.testing.assert_array_equal(metrics["return"][1], 0.0)
    jax.tree.map(np.testing.assert_array_equal, raw(entry(states, 1)), raw(entry(before, 1)))
    assert not np.array_equal(*(raw(entry(x, 0)).key for x in (states, before)))


def _assert_close(got, expected, **tolerances):
    close = functools.partial(np.testing.assert_allclose, **tolerances)
    jax.tree.map(close, raw(got), raw(expected))
