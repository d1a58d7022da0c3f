"""Errors that a person can act on.

Every message is one line that names the field or file and the way out. The launcher
(`mlsh_jax.host.launch`) prints the line without a traceback and exits with `exit_code`:
2 for something wrong in what was asked for, 1 for something that failed on the way.
"""

LARGE = (
    "num_envs together with steps_per_iteration, num_tasks, or hidden_sizes where the networks are "
    "large"
)
"""The fields that make a training large, for messages."""


class MlshError(Exception):
    """Base of the errors whose message is meant for the person at the keyboard."""

    exit_code = 1


class ConfigError(MlshError, ValueError):
    """A configuration value is impossible; the message starts with the field's name."""

    exit_code = 2


class CheckpointError(MlshError):
    """A checkpoint is missing, foreign, or does not fit what it is restored into."""

    exit_code = 2


class RunError(MlshError):
    """A run cannot go on: its directory is unusable, or training diverged."""

    exit_code = 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or XLA had not enough memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
