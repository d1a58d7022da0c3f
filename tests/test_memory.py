"""What cannot be in memory is refused before anything is compiled, and nothing else."""

import dataclasses
import functools

import jax
import pytest

import envs
from experiments import baseline
from experiments.harness import memory, stages
from experiments.harness.config import AdaptationConfig, EvaluationConfig, TrainingConfig
from mlsh_jax import mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.devices import make_layout
from mlsh_jax.rl.config import LearnerConfig

FREE = 10 * 10**9


@pytest.fixture(autouse=True)
def free(monkeypatch):
    """A machine with 10 GB of memory."""
    monkeypatch.setattr(memory, "free_memory", lambda num_devices: FREE)


def make_env(length):
    return envs.make("moving_bandits", episode_length=length)


def learner(**options):
    return dataclasses.replace(MLSHConfig().master, **options)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"num_tasks": 10**6}, r"num_tasks: 1000000 masters need .* lower num_tasks or master\."),
        (
            {"num_tasks": 1, "num_envs": 10**8, "steps_per_iteration": 10**9},
            r"steps_per_iteration: the transitions of 1 tasks x 1000000000 steps need .*num_envs",
        ),
        ({"warmup_iterations": 2 * 10**9}, "warmup_iterations: the records of 2000000005 iter"),
        ({"num_subpolicies": 10**9}, r"num_subpolicies: 1000000000 sub-policies need .*hidden"),
        ({"subpolicy": learner(hidden_sizes=(10**5, 10**5))}, r"subpolicy\.hidden_sizes: 2 sub-p"),
        ({"master": learner(hidden_sizes=(2 * 10**9, 3))}, r"master\.hidden_sizes: 10 masters"),
        (
            {"master": LearnerConfig("dqn", replay_size=2 * 10**9)},
            r"master\.replay_size: 10 masters' replays need .* lower num_tasks or master\.replay",
        ),
        (
            {"subpolicy": learner(epochs=10**6, num_minibatches=4)},
            r"subpolicy\.epochs: the orders of transitions in 1000000 epochs need",
        ),
    ],
)
def test_a_training_that_cannot_fit_is_refused_with_what_makes_it_large(numbers, words):
    training = TrainingConfig(mlsh=MLSHConfig(**numbers))
    with pytest.raises(ConfigError, match=f"^{words}"):
        stages.check_training(make_env, training, make_layout(1))


def test_of_several_seeds_all_states_are_in_memory():
    layout = make_layout(1)
    stages.check_training(make_env, TrainingConfig(), layout, num_seeds=100)
    with pytest.raises(ConfigError, match=r"^num_seeds: 1000000 seeds side by side need"):
        stages.check_training(make_env, TrainingConfig(), layout, num_seeds=10**6)


def test_several_seeds_are_spread_over_devices_and_not_their_tasks():
    layout = make_layout(4)
    with pytest.raises(ConfigError, match=r"^num_tasks: 10 tasks cannot be spread evenly over 4"):
        stages.check_training(make_env, TrainingConfig(), layout)
    stages.check_training(make_env, TrainingConfig(), layout, num_seeds=8)
    with pytest.raises(ConfigError, match=r"^--num-seeds: 10 seeds cannot .*; use 8 or 12"):
        stages.check_training(make_env, TrainingConfig(), layout, num_seeds=10)


def test_more_transitions_than_can_be_counted_are_refused_whatever_the_memory(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda num_devices: 10**15)
    training = TrainingConfig(
        mlsh=MLSHConfig(num_tasks=8, num_envs=1, steps_per_iteration=5 * 10**8)
    )
    with pytest.raises(ConfigError, match="num_tasks: 8 tasks x 500000000 steps are more"):
        stages.check_training(make_env, training, make_layout(1))
    stages.check_training(make_env, training, make_layout(8))


@pytest.mark.parametrize(
    ("evaluation", "field"),
    [
        (EvaluationConfig(num_tasks=10**9), "num_tasks"),
        (EvaluationConfig(num_tasks=2, num_envs=10**9), "num_envs"),
        (EvaluationConfig(iterations=2 * 10**9), "iterations"),
    ],
)
def test_a_measurement_that_cannot_fit_is_refused(evaluation, field):
    with pytest.raises(ConfigError, match=rf"^evaluation\.{field}: .* lower evaluation\.{field}"):
        stages.check_evaluation(make_env, evaluation, MLSHConfig())


@pytest.mark.parametrize(
    ("config", "episodes", "field"),
    [
        (AdaptationConfig(num_tasks=10**9), 2, "num_tasks"),
        (AdaptationConfig(), 10**9, "episodes"),
    ],
)
def test_an_adaptation_that_cannot_fit_is_refused(config, episodes, field):
    with pytest.raises(ConfigError, match=f"^{field}: .* lower {field}"):
        stages.check_adaptation(make_env, config, MLSHConfig(), make_layout(1), episodes)


def test_a_baseline_that_cannot_fit_is_refused():
    with pytest.raises(ConfigError, match=r"^learner\.hidden_sizes: the networks of a baseline"):
        memory.require_baseline(lambda key: jax.random.normal(key, (10**5, 10**5)), "learner")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num_subpolicies": 10**7}, "num_subpolicies"),
        ({"learner": LearnerConfig("dqn", replay_size=10**9)}, "num_tasks"),
    ],
)
def test_of_masters_on_untrained_sub_policies_what_is_large_is_named(changes, field):
    config = baseline.Config(env="moving_bandits", baseline="untrained_subpolicies", **changes)
    with pytest.raises(ConfigError, match=rf"^{field}: .* lower {field}"):
        baseline.make_method(config, make_layout(1))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["ppo", "dqn"])
def test_what_is_counted_is_less_than_what_the_program_needs(rule, monkeypatch):
    agent = make_agent(make_env(None), MLSHConfig(num_tasks=3, master=LearnerConfig(rule)))
    counted = []
    monkeypatch.setattr(memory, "require_memory", lambda *needs: counted.extend(needs))
    memory.require_training(agent)
    state = jax.eval_shape(functools.partial(mlsh.init, agent), jax.random.key(0))
    iteration = jax.jit(functools.partial(mlsh.meta_iteration, agent))
    needed = iteration.lower(state).compile().memory_analysis()
    total = sum(need.num_bytes for need in counted)
    assert total < needed.temp_size_in_bytes + needed.argument_size_in_bytes < 50 * total


def test_accelerators_are_left_to_themselves(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    memory.require_memory(memory.Need("seeds", "seeds", 10 * FREE, "seeds"))
