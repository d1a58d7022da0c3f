"""Sub-policies from a checkpoint, for use in another environment than they were trained in.

A checkpoint says of its sub-policies what they see, what they do and how they were trained: enough
to rebuild them, and to refuse an environment that they do not fit.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from mlsh_jax.agent import Agent, SubPolicies, make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.errors import CheckpointError
from mlsh_jax.host.checkpoint import read_subpolicies
from mlsh_jax.host.serialization import from_json, to_json
from mlsh_jax.learners import init_subpolicies


def subpolicy_spec(agent: Agent) -> dict[str, Any]:
    """What a checkpoint says of its sub-policies: enough to rebuild them."""
    return {
        "env": agent.env.name,
        "observation_size": len(agent.subpolicy_indices),
        "action_size": agent.env.action_size,
        "num_actions": agent.env.num_actions,
        "mlsh": to_json(agent.config),
    }


def restore_subpolicies(path: Path | str, env: TaskEnvironment) -> tuple[SubPolicies, MLSHConfig]:
    """Sub-policies for use in `env`, and how they were trained.

    Args:
        path: a run directory, a stage in it, a `checkpoints` directory or one checkpoint in it;
            without an iteration the newest is taken.
        env: the environment that they are to act in.

    Raises:
        CheckpointError: there are none, or they do not fit the environment.
    """
    path = Path(path)

    def abstract(spec: dict[str, Any]) -> SubPolicies:
        missing = [name for name in ("env", "mlsh") if name not in spec]
        if missing:
            raise CheckpointError(
                f"{path}: its sub-policies were not trained by mlsh_jax.mlsh: they do not say "
                f"{' and '.join(missing)}; choose another checkpoint"
            )
        for name, here in (
            ("observation_size", len(env.subpolicy_observation_indices)),
            ("action_size", env.action_size),
            ("num_actions", env.num_actions),
        ):
            if spec.get(name) != here:
                raise CheckpointError(
                    f"{path}: its sub-policies were trained on {spec['env']} with {name} "
                    f"{spec.get(name)}, but {env.name} has {here}; choose a checkpoint or an "
                    "environment that fits"
                )
        config = from_json(MLSHConfig, spec["mlsh"])
        agent = make_agent(env, dataclasses.replace(config, macro_length=1))
        return jax.eval_shape(lambda: init_subpolicies(agent, jax.random.key(0))[0])

    subpolicies, spec = read_subpolicies(path, abstract)
    return subpolicies, from_json(MLSHConfig, spec["mlsh"])


def first_difference(saved: dict[str, Any], here: dict[str, Any]) -> str | None:
    """The first field in which two specs of sub-policies differ, in words; None where none does."""
    for name in ("env", "observation_size", "action_size", "num_actions"):
        if saved.get(name) != here[name]:
            return f"{name} {saved.get(name)} there and {here[name]} here"
    one, other = (from_json(MLSHConfig, spec["mlsh"]) for spec in (saved, here))
    return _first_different_field(one, other)


def _first_different_field(one: Any, other: Any, prefix: str = "") -> str | None:
    for field in dataclasses.fields(one):
        there, here = getattr(one, field.name), getattr(other, field.name)
        if there == here:
            continue
        if dataclasses.is_dataclass(here):
            return _first_different_field(there, here, f"{prefix}{field.name}.")
        return f"{prefix}{field.name} {there} there and {here} here"
    return None
