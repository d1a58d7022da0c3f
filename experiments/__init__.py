"""Experiments: one short module each, with presets and a `main`."""

import contextlib
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType

# When XLA loads a program from the compilation cache it logs pages of "errors" about CPU features
# that are only tuning hints. What really fails is raised as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Imports and tracing make objects by the million, hardly any of them garbage. By default Python
# goes over all of them again and again, which is a quarter of the time before the first step.
gc.set_threshold(100_000, 100, 100)


class _QuietWarpImport(importlib.abc.MetaPathFinder):
    """Keeps MuJoCo from printing that its optional Warp backend is not installed.

    `mujoco.mjx.warp` tells so with plain `print` calls while it is imported, and nothing here
    uses it; what that one module prints is dropped.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """The ordinary specification, with a loader that does not print."""
        if fullname != "mujoco.mjx.warp":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_quietly(module: ModuleType) -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                execute(module)

        spec.loader.exec_module = execute_quietly  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _QuietWarpImport())
