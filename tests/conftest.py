"""Agents and compiled functions that several test modules share."""

import dataclasses
import functools
import gc
import os
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from launches import QUICK_FLAGS, TINY, run_directories
from probes import Clock, TwoArms, constant_network, one_action_each, probe_agent, tiny_config

from experiments import moving_bandits
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import Agent, SubPolicies
from mlsh_jax.host import failed_saves
from mlsh_jax.rl.normalization import init_statistics


def pytest_configure(config: pytest.Config) -> None:
    """Makes eight devices of the CPU, of which most tests use one.

    Quick tests are compiled with few optimizations, since they compile for longer than they run,
    and what takes long to compile is kept for other tests and processes of the session.
    Garbage is collected as seldom as in a launched experiment (`mlsh_jax.host.launch.run_main`).
    """
    gc.set_threshold(100_000, 100, 100)
    flags = ["--xla_force_host_platform_device_count=8", os.environ.get("XLA_FLAGS", "")]
    if "slow" not in config.option.markexpr.replace("not slow", ""):
        flags.insert(0, QUICK_FLAGS)
    os.environ["XLA_FLAGS"] = " ".join(flags).strip()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        programs = tempfile.TemporaryDirectory(prefix="mlsh-programs-")
        config.add_cleanup(programs.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = programs.name
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a whole run, and begins with the file that takes longest.

    No process works on that one alone at the end.
    """
    for item in items:
        if "bandits_run" in item.fixturenames:
            item.add_marker("whole")
    items.sort(key=lambda item: item.path.stem != "test_sweep")


@pytest.fixture(autouse=True)
def no_save_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exit after a failed save waits for nothing, and would end the process of the tests."""
    monkeypatch.setattr(failed_saves, "_has_failed", False)


@pytest.fixture(scope="session")
def clock_agent() -> Agent:
    """Learns on `Clock`: K = 2, N = 2, G = 3, E = 4, S = 6."""
    return probe_agent(Clock(), tiny_config(reward_scale=0.5))


@pytest.fixture(scope="session")
def clock_iteration(clock_agent):
    """`meta_iteration` of `clock_agent`, compiled."""
    return jax.jit(functools.partial(mlsh.meta_iteration, clock_agent))


@pytest.fixture(scope="session")
def arms_agent() -> Agent:
    """Plays `TwoArms` with sub-policies that each know one action and nothing else."""
    config = tiny_config(num_tasks=2, num_envs=8, steps_per_iteration=32)
    return dataclasses.replace(probe_agent(TwoArms(), config), subpolicy_network=constant_network())


@pytest.fixture(scope="session")
def arms_subpolicies() -> SubPolicies:
    """φ in which sub-policy k always takes action k, so that it solves task k."""
    return SubPolicies(params=one_action_each(), statistics=init_statistics(1))


@pytest.fixture(scope="session")
def arms_adapt(arms_agent):
    """`adapt.adapt` of `arms_agent` for 20 iterations, compiled."""
    return jax.jit(functools.partial(adapt.adapt, arms_agent, iterations=20))


@pytest.fixture(scope="session")
def bandits_run(tmp_path_factory) -> Path:
    """The directory of a finished run of moving_bandits, with checkpoints 2, 4 and 5."""
    root = tmp_path_factory.mktemp("runs")
    moving_bandits.main([*TINY, "--seed", "7", "--checkpoint-every", "2", "--run-root", str(root)])
    (directory,) = run_directories(root)
    return directory


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# `rollouts` makes arrays when it is imported, which must not be before `pytest_configure`.
@pytest.fixture(scope="session")
def phi():
    """φ and its learner, of the agent that learns from rollouts made by hand."""
    from rollouts import new_phi

    return new_phi()


@pytest.fixture(scope="session")
def theta():
    """A master of the same agent."""
    from rollouts import new_theta

    return new_theta()
