"""Meta Learning Shared Hierarchies (Frans et al. 2017, arXiv 1710.09767) in JAX.

What a researcher needs to train sub-policies, put fresh masters on them and look at the result is
here; README.md has the whole program. Names are imported when they are used, so that a program's
`--help` does not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlsh_jax.adapt import Assessment, Episodes, assess, evaluation_tasks
    from mlsh_jax.agent import Agent, Master, SubPolicies, make_agent
    from mlsh_jax.baselines.method import Method, Setting
    from mlsh_jax.config import MLSHConfig
    from mlsh_jax.errors import CheckpointError, ConfigError, MlshError, RunError
    from mlsh_jax.mlsh import MetaState, init, meta_iteration
    from mlsh_jax.rl.config import LearnerConfig
    from mlsh_jax.tasks import Tasks, sample_tasks
    from mlsh_jax.training import SeparationWarning, train
    from mlsh_jax.transfer import restore_subpolicies
    from mlsh_jax.usage import separation_warnings

__all__ = [
    "Agent",
    "Assessment",
    "CheckpointError",
    "ConfigError",
    "Episodes",
    "LearnerConfig",
    "MLSHConfig",
    "Master",
    "MetaState",
    "Method",
    "MlshError",
    "RunError",
    "SeparationWarning",
    "Setting",
    "SubPolicies",
    "Tasks",
    "assess",
    "evaluation_tasks",
    "init",
    "make_agent",
    "meta_iteration",
    "restore_subpolicies",
    "sample_tasks",
    "separation_warnings",
    "train",
]

_MODULES = {
    "mlsh_jax.adapt": ("Assessment", "Episodes", "assess", "evaluation_tasks"),
    "mlsh_jax.agent": ("Agent", "Master", "SubPolicies", "make_agent"),
    "mlsh_jax.baselines.method": ("Method", "Setting"),
    "mlsh_jax.config": ("MLSHConfig",),
    "mlsh_jax.errors": ("CheckpointError", "ConfigError", "MlshError", "RunError"),
    "mlsh_jax.mlsh": ("MetaState", "init", "meta_iteration"),
    "mlsh_jax.rl.config": ("LearnerConfig",),
    "mlsh_jax.tasks": ("Tasks", "sample_tasks"),
    "mlsh_jax.training": ("SeparationWarning", "train"),
    "mlsh_jax.transfer": ("restore_subpolicies",),
    "mlsh_jax.usage": ("separation_warnings",),
}


def __getattr__(name: str) -> Any:
    """Imports a name of `__all__` when it is used first."""
    for module, names in _MODULES.items():
        if name in names:
            value = getattr(importlib.import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is, also what was not used yet."""
    return sorted({*globals(), *__all__})
