"""The contract between the library and environments, which know nothing of each other."""

import ast
from pathlib import Path

import jax
import pytest
from probes import Clock

import envs
import mlsh_jax
from envs.wrappers import EpisodeWrapper
from mlsh_jax.environment import EnvState, TaskEnvironment


@pytest.mark.parametrize("env", [envs.make("moving_bandits"), EpisodeWrapper(Clock(), 4)])
def test_environments_with_a_time_limit_keep_the_contract(env):
    assert isinstance(env, TaskEnvironment)
    first = jax.eval_shape(env.reset, jax.random.key(0))
    after = jax.eval_shape(env.step, first, jax.ShapeDtypeStruct((), int))
    for state in (first, after):
        assert isinstance(state, EnvState)
        assert {"terminated", "truncated", "failed"} <= set(state.info)


def test_what_lacks_a_part_does_not_keep_the_contract():
    class Aimless:
        name = "aimless"

    assert not isinstance(Aimless(), TaskEnvironment)


def test_the_library_imports_no_environment():
    for path in Path(mlsh_jax.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            assert not {module.split(".")[0] for module in modules} & {"envs", "experiments"}, path
