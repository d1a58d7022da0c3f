"""The front door: what `import mlsh_jax` gives, and training in one call."""

import dataclasses
import functools
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import assert_bitwise_equal
from probes import Clock, probe_agent, tiny_config, tiny_ppo

import mlsh_jax
from mlsh_jax import SeparationWarning, mlsh
from mlsh_jax.errors import CheckpointError, ConfigError, RunError


@pytest.fixture(scope="module")
def agent():
    return probe_agent(Clock(), tiny_config(joint_iterations=1, warmup_iterations=1))


def test_every_exported_name_is_there_and_the_import_waits_for_nothing():
    for name in mlsh_jax.__all__:
        assert getattr(mlsh_jax, name) is not None
    assert set(mlsh_jax.__all__) <= set(dir(mlsh_jax))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mlsh_jax.nothing  # noqa: B018
    program = "import mlsh_jax, sys; print('jax' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout == "False\n"


@pytest.mark.whole
def test_training_is_meta_iterations_one_after_the_other(agent):
    told = []
    trained = mlsh_jax.train(
        agent, 3, jax.random.key(4), progress=lambda n, metrics: told.append((n, metrics["return"]))
    )
    state = mlsh.init(agent, jax.random.key(4))
    step = jax.jit(functools.partial(mlsh.meta_iteration, agent))
    returns = []
    for _ in range(3):
        state, metrics = step(state)
        returns.append(float(metrics["return"]))
    assert [n for n, _ in told] == [1, 2, 3]
    np.testing.assert_allclose([value for _, value in told], returns, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        trained.subpolicies,
        state.subpolicies,
    )


@pytest.mark.parametrize(
    ("divergence", "usage", "lines"),
    [
        ([2.0, 2.0], [0.6, 0.4], []),
        ([2.0, 2.0], [1.0, 0.0], ["sub-policy 1 is never used"]),
        ([0.1, 0.1], [0.6, 0.4], ["sub-policies 0 and 1 act alike"]),
        ([0.1, 0.1], [1.0, 0.0], ["sub-policies 0 and 1 act alike", "sub-policy 1 is never used"]),
    ],
)
def test_training_warns_at_its_end_of_what_has_not_separated(divergence, usage, lines, monkeypatch):
    # Where masters are made to use all of them alike, the other usage says so.
    metrics = {
        "return": 0.0, "usage": [0.5, 0.5], "usage_free": usage, "divergence": divergence,
    }  # fmt: skip
    made_up = jax.tree.map(jnp.asarray, metrics)
    monkeypatch.setattr(mlsh, "meta_iteration", lambda agent, state: (state, made_up))
    agent = probe_agent(Clock(), tiny_config())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mlsh_jax.train(agent, 2, jax.random.key(0))
    told = [str(each.message) for each in caught if each.category is SeparationWarning]
    assert [text[: len(line)] for text, line in zip(told, lines, strict=True)] == lines


def test_another_key_does_not_compile_again(monkeypatch):
    traced = []

    def meta_iteration(agent, state):
        traced.append(agent)
        return state, {"return": jnp.zeros(()), "usage_free": jnp.full(2, 0.5)}

    monkeypatch.setattr(mlsh, "meta_iteration", meta_iteration)
    agent = probe_agent(Clock(), tiny_config())
    for seed in range(2):
        mlsh_jax.train(agent, 2, jax.random.key(seed))
    assert len(traced) == 1


@pytest.mark.whole
def test_training_goes_on_bit_for_bit_and_its_sub_policies_can_be_restored(agent, tmp_path):
    whole = mlsh_jax.train(agent, 4, jax.random.key(0), directory=tmp_path / "whole")
    cut = tmp_path / "cut"
    mlsh_jax.train(agent, 2, jax.random.key(0), directory=cut)
    told = []
    resumed = mlsh_jax.train(
        agent, 4, jax.random.key(0), directory=cut, progress=lambda n, _: told.append(n)
    )
    assert told == [3, 4]
    assert_bitwise_equal(resumed, whole)
    phi, config = mlsh_jax.restore_subpolicies(cut, agent.env)
    assert_bitwise_equal(phi, whole.subpolicies)
    assert config == agent.config
    with pytest.raises(ConfigError, match=r"meta_iterations: .* has 4 already, got 3"):
        mlsh_jax.train(agent, 3, jax.random.key(0), directory=cut)
    with pytest.raises(CheckpointError, match=r"cut: .* began with another key"):
        mlsh_jax.train(agent, 4, jax.random.key(1), directory=cut)
    # Nothing is left to do.
    assert_bitwise_equal(mlsh_jax.train(agent, 4, jax.random.key(0), directory=cut), whole)


def test_mistakes_are_told_before_and_divergence_when_it_happens(agent, tmp_path):
    config = agent.config
    ends = dataclasses.replace(config.subpolicy, decay_until=3 * config.joint_iterations)
    ending = dataclasses.replace(agent, config=dataclasses.replace(config, subpolicy=ends))
    with pytest.raises(ConfigError, match=r"subpolicy.decay_until: .* 0 after"):
        mlsh_jax.train(ending, 4, jax.random.key(0))
    with pytest.raises(ConfigError, match="meta_iterations: must be at least 1"):
        mlsh_jax.train(agent, 0, jax.random.key(0))
    config = tiny_config(subpolicy=tiny_ppo(learning_rate=1e38))
    with pytest.raises(RunError, match=r"meta-iteration 1: .* not finite"):
        mlsh_jax.train(probe_agent(Clock(), config), 2, jax.random.key(0), directory=tmp_path)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        mlsh_jax.restore_subpolicies(tmp_path, agent.env)
    mlsh_jax.train(agent, 1, jax.random.key(0), directory=tmp_path)
    other = probe_agent(Clock(), tiny_config(num_subpolicies=3))
    with pytest.raises(CheckpointError, match="expected"):
        mlsh_jax.train(other, 2, jax.random.key(0), directory=tmp_path)


def test_a_directory_holds_the_training_of_one_agent(agent, tmp_path):
    mlsh_jax.train(agent, 1, jax.random.key(0), directory=tmp_path)
    faster = probe_agent(
        Clock(),
        tiny_config(
            joint_iterations=1, warmup_iterations=1, subpolicy=tiny_ppo(learning_rate=0.125)
        ),
    )
    words = r"another agent \(subpolicy\.learning_rate .* there and 0\.125 here\)"
    with pytest.raises(CheckpointError, match=words):
        mlsh_jax.train(faster, 2, jax.random.key(0), directory=tmp_path)
    assert mlsh_jax.restore_subpolicies(tmp_path, agent.env)[1] == agent.config


def test_impossible_measurements_are_refused(agent):
    subpolicies = mlsh.init(agent, jax.random.key(0)).subpolicies
    tasks = mlsh_jax.evaluation_tasks(agent.env, jax.random.key(1), 3)
    key = jax.random.key(2)
    with pytest.raises(ConfigError, match="num_envs: must be at least 1, got 0"):
        mlsh_jax.assess(agent, subpolicies, tasks, key, num_envs=0, iterations=1)
    with pytest.raises(ConfigError, match="iterations: must be at least 0, got -1"):
        mlsh_jax.assess(agent, subpolicies, tasks, key, num_envs=1, iterations=-1)
    three = probe_agent(Clock(), tiny_config(num_subpolicies=3))
    with pytest.raises(ConfigError, match="num_subpolicies: the agent has 3, φ has 2"):
        mlsh_jax.assess(three, subpolicies, tasks, key, num_envs=1, iterations=1)
    with pytest.raises(ConfigError, match="hidden_sizes: must be a tuple"):
        mlsh_jax.LearnerConfig(hidden_sizes=[4])  # type: ignore[arg-type]
