"""Task distributions to meta-learn on.

`make` is the front door: it gives a `envs.base.TaskEnv` with a time limit; `register` gives an
environment of one's own a name. Nothing heavy is imported before an environment is made, so that a
program's `--help` stays quick.
"""

from envs.errors import EnvError
from envs.registry import make, names, register

__all__ = ["EnvError", "make", "names", "register"]
