"""What MLSH is compared with. Nothing here imports JAX, so that a command line is read at once."""

BASELINES = {"single_policy": "mlsh_jax.baselines.single_policy:make_method"}
"""Baselines by name: functions from a `mlsh_jax.baselines.method.Setting` to a `Method`, as
`"module:function"`. A new one is a file with that function and a line here."""
