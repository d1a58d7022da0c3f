"""Imports MuJoCo without what it prints on the way, and keeps XLA from logging hints as errors.

For `envs.base`, which imports this before Brax: who makes an environment should see only what they
print themselves.
"""

import contextlib
import io
import os
from typing import Any

import jax

# As in `mlsh_jax.host.compilation`, which says why, for programs that use environments alone. First
# of all, since MuJoCo and Brax compute while they are imported.
_config: Any = jax.config
_level = _config.jax_logging_level
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1" and _level in (None, "NOTSET"):
    _config.update("jax_logging_level", "CRITICAL")
    _config.update("jax_logging_level", _level)

with contextlib.redirect_stdout(io.StringIO()):
    # It prints that its optional Warp backend is not installed, which nothing here uses.
    import mujoco.mjx  # noqa: F401
