"""What MLSH is compared with. Nothing here imports JAX, so that a command line is read at once."""

from mlsh_jax.errors import ConfigError

BASELINES = {
    "single_policy": "mlsh_jax.baselines.single_policy:make_method",
    "policy_per_task": "mlsh_jax.baselines.policy_per_task:make_method",
    "untrained_subpolicies": "mlsh_jax.baselines.untrained_subpolicies:make_method",
}
"""Baselines by name: functions from a `mlsh_jax.baselines.method.Setting` to a `Method`, as
`"module:function"`. A new one is a file with that function and a line here."""


def baseline_address(name: str) -> str:
    """Where a baseline is: that of a name in `BASELINES`, or itself a `"module:function"`.

    Raises:
        ConfigError: it is neither.
    """
    module, colon, function = name.partition(":")
    if colon and module and function:
        return name
    if name not in BASELINES:
        raise ConfigError(
            f"baseline: there is no {name!r}; known: {', '.join(BASELINES)}, or the "
            '"module:function" of your own'
        )
    return BASELINES[name]
