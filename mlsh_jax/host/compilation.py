"""Programs compiled ahead of time: how long that took, and whether they fit into memory."""

import contextlib
import dataclasses
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import psutil

from mlsh_jax.errors import RunError
from mlsh_jax.host.signals import signal_handlers

PyTree = Any

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
"""What XLA calls it in its errors."""

_WAY_OUT = "lower num_envs together with steps_per_iteration, or num_tasks"


@dataclasses.dataclass(frozen=True)
class Program:
    """A pure function, compiled for arguments of certain shapes.

    Attributes:
        call: the function.
        compile_seconds: time it took to compile.
        memory_bytes: what it needs on each device with its arguments and results.
        free_bytes: what each device had left when it was compiled.
    """

    call: Callable[..., Any]
    compile_seconds: float
    memory_bytes: int
    free_bytes: float

    def __call__(self, *arguments: Any) -> Any:
        """Runs it."""
        return self.call(*arguments)

    def __str__(self) -> str:
        """Its costs, for people."""
        need = f"{self.memory_bytes / 1e9:.2f} of {self.free_bytes / 1e9:.1f} GB"
        return f"compiled in {self.compile_seconds:.1f} s, needs {need}"


def enable_compilation_cache() -> None:
    """Keeps compiled programs on disk between processes; call before the first compilation.

    `JAX_COMPILATION_CACHE_DIR` has precedence over `$XDG_CACHE_HOME/mlsh_jax/xla`. Where nothing
    can be written, programs are simply compiled anew.
    """
    _quiet_xla()
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # By default what compiles in less than a second is compiled again each time.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    directory = Path(home) / "mlsh_jax" / "xla"
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            jax.config.update("jax_compilation_cache_dir", str(directory))


def _quiet_xla() -> None:
    """Keeps XLA from logging what it calls errors and are hints, unless somebody chose a level.

    When it loads a program from the cache it logs pages about CPU features that only tune. What
    really fails is raised as an exception.
    """
    config: Any = jax.config
    level = config.jax_logging_level
    # JAX sets the variable to 1 while it is imported, which is also when XLA reads it.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") != "1" or level not in (None, "NOTSET"):
        return
    # The setting reaches XLA's own log at once, and stays there when Python's is given back.
    config.update("jax_logging_level", "CRITICAL")
    config.update("jax_logging_level", level)


def compile_ahead(
    function: Callable[..., Any],
    *arguments: Any,
    out_shardings: PyTree | None = None,
    donate: bool = False,
    way_out: str = _WAY_OUT,
) -> Program:
    """Compiles a pure function for arguments of these shapes.

    Args:
        function: what to compile.
        arguments: examples of its arguments, or their shapes; they are compiled for the devices
            that these are on.
        out_shardings: of the results, a prefix of them; by default as XLA likes.
        donate: whether the first argument may be overwritten by the result.
        way_out: what to do if it does not fit, for people.

    Raises:
        RunError: there is not enough free memory to run it.
    """
    jitted = jax.jit(function, out_shardings=out_shardings, donate_argnums=0 if donate else ())
    # On CPUs, physics runs as fast with LLVM's lowest optimization level, and is compiled in
    # two thirds of the time.
    options: dict[str, str | bool] = {}
    if jax.default_backend() == "cpu":
        options["xla_backend_optimization_level"] = "1"
        # Cores wait for each other, and one that has other work as well may be minutes late.
        options["xla_cpu_collective_call_terminate_timeout_seconds"] = "3600"
    started = time.monotonic()
    try:
        # XLA does not return to Python while it compiles: let Ctrl-C end the process directly.
        with signal_handlers({signal.SIGINT: signal.SIG_DFL}):
            compiled = jitted.lower(*arguments).compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if OUT_OF_MEMORY not in str(error):
            raise
        raise RunError(
            f"this configuration does not fit into the memory of a device; {way_out}"
        ) from error
    seconds = time.monotonic() - started
    memory: Any = compiled.memory_analysis()
    beside = memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    total = beside + memory.argument_size_in_bytes
    is_given = not any(
        isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(arguments)
    )
    more = beside if is_given else total
    free = free_memory(_num_local_devices(compiled))
    if more > free:
        raise RunError(
            f"this configuration needs {more / 1e9:.2f} GB of memory and {free / 1e9:.2f} GB are "
            f"free; {way_out}"
        )
    return Program(compiled, seconds, total, free)


def free_memory(num_devices: int) -> float:
    """Bytes that each of so many local devices has left; those of a CPU share the machine's."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    return min(psutil.virtual_memory().available, _free_in_container()) / num_devices


def _num_local_devices(compiled: Any) -> int:
    """How many devices of this process a compiled program runs on."""
    shardings = jax.tree.leaves((compiled.input_shardings, compiled.output_shardings))
    return max(len(sharding.addressable_devices) for sharding in shardings)


def _free_in_container(group: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes left of the limit that the process's control group sets, infinite where it has none."""
    try:
        limit, used = (int((group / f"memory.{n}").read_text()) for n in ("max", "current"))
    except (OSError, ValueError):  # no such file, or "max"
        return float("inf")
    return limit - used
