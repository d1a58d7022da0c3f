"""Programs compiled ahead of time: how long that took, and whether they fit into memory.

A program is compiled when it is needed (`compile_ahead`), or in the background while others run
(`Compilation.begin`), so that the next stage of a run finds its programs ready.
"""

import contextlib
import dataclasses
import functools
import os
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import psutil

from mlsh_jax.errors import LARGE, RunError, is_out_of_memory
from mlsh_jax.host import container, processes
from mlsh_jax.host.signals import signal_handlers

PyTree = Any

_THREAD = "mlsh_jax-background"

_WAY_OUT = f"lower {LARGE}"


@dataclasses.dataclass(frozen=True)
class Program:
    """A pure function, compiled for arguments of certain shapes.

    Attributes:
        call: the function.
        compile_seconds: time it took to trace and compile.
        memory_bytes: what it needs on each device with its arguments and results.
        free_bytes: what each device had left when it was ready to run.
        wait_seconds: time that was spent waiting for it to be compiled, which is less where that
            went on in the background.
    """

    call: Callable[..., Any]
    compile_seconds: float
    memory_bytes: int
    free_bytes: float
    wait_seconds: float = 0.0

    def __call__(self, *arguments: Any) -> Any:
        """Runs it."""
        return self.call(*arguments)

    def __str__(self) -> str:
        """Its costs, for people."""
        need = f"{self.memory_bytes / 1e9:.2f} of {self.free_bytes / 1e9:.1f} GB"
        ahead = ""
        if self.wait_seconds < self.compile_seconds - 0.05:
            ahead = f", {self.wait_seconds:.1f} of them waited for"
        return f"compiled in {self.compile_seconds:.1f} s{ahead}, needs {need}"


def matmul_precision() -> str:
    """How exactly matrix products of float32 are computed.

    As float32, unless `jax_default_matmul_precision` says otherwise. By default accelerators round
    what they multiply to 10 bits (TF32, NVIDIA) or 7 (bfloat16, TPUs), so that results differ
    between cards.
    """
    return jax.config.jax_default_matmul_precision or "float32"  # type: ignore[attr-defined]


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


class Background:
    """Threads that compile programs while the main thread goes on with something else.

    XLA lets go of Python's lock while it compiles, tracing does not: so programs are traced one
    after another, in the order in which they are begun. Use it in a `with` statement, whose end
    gives up what is still waiting. A compilation cannot be broken off: after an error the block is
    left at once, but the process ends no sooner than the compilation that XLA is at.

    Args:
        num_threads: programs that are compiled at a time. XLA keeps little more than one core busy
            with a program, and takes a gigabyte of memory for the physics.
    """

    def __init__(self, num_threads: int = 2) -> None:
        """Starts idle."""
        self._tracing = ThreadPoolExecutor(1, f"{_THREAD}-tracing")
        self._compiling = ThreadPoolExecutor(num_threads, f"{_THREAD}-compiling")
        self._is_over = False

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Gives up what is still waiting."""
        self._is_over = True
        for threads in (self._tracing, self._compiling):
            threads.shutdown(wait=error is None, cancel_futures=True)

    def submit(self, trace: Callable[[], Any], compile_: Callable[[Any], Any]) -> "Future[Any]":
        """Will call `compile_(trace())`, each in a thread that is meant for it."""
        traced = self._tracing.submit(trace)

        def compile_traced() -> Any:
            lowered = traced.result()
            if self._is_over:
                raise CancelledError
            return compile_(lowered)

        return self._compiling.submit(compile_traced)


def is_compiling() -> bool:
    """Whether there are threads that compile in the background, which an exit would wait for."""
    return any(thread.name.startswith(_THREAD) for thread in threading.enumerate())


class Compilation:
    """A pure function that is to be compiled for arguments of certain shapes.

    Args:
        function: what to compile.
        arguments: examples of its arguments, or their shapes; they are compiled for the devices
            that these are on.
        out_shardings: of the results, a prefix of them; by default as XLA likes.
        donate: whether the first argument may be overwritten by the result.
        has_physics: whether bodies are simulated in it, as in `_options`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        out_shardings: PyTree | None = None,
        donate: bool = False,
        has_physics: bool = False,
    ) -> None:
        """Nothing is compiled yet."""
        donated = 0 if donate else ()
        self._jitted = jax.jit(function, out_shardings=out_shardings, donate_argnums=donated)
        self._arguments = arguments
        self._has_physics = has_physics
        self._seconds = 0.0
        self._ahead: Future[Any] | None = None

    def begin(self, background: Background) -> Self:
        """Compiles it in the background.

        Of several processes each compiles it when it is needed, so that all do the same in the
        same order.
        """
        if not processes.are_several():
            self._ahead = background.submit(self._trace, self._compile)
        return self

    def program(self, *, arguments_exist: bool = False, way_out: str = _WAY_OUT) -> Program:
        """The compiled program, as soon as it is ready.

        Args:
            arguments_exist: whether its arguments are in memory already.
            way_out: what to do if it does not fit, for people.

        Raises:
            RunError: there is not enough free memory to run it.
        """
        needed = time.monotonic()
        try:
            # XLA does not return to Python while it compiles: let Ctrl-C end the process directly.
            with signal_handlers({signal.SIGINT: signal.SIG_DFL}):
                ahead = self._ahead
                compiled = self._compile(self._trace()) if ahead is None else ahead.result()
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"this configuration does not fit into the memory of a device; {way_out}"
            ) from error
        wait_seconds = time.monotonic() - needed
        total, beside = _memory(compiled)
        more = beside if arguments_exist else total
        free = free_memory(_num_local_devices(compiled))
        if more > free:
            raise RunError(
                f"this configuration needs {more / 1e9:.2f} GB of memory and {free / 1e9:.2f} GB "
                f"are free; {way_out}"
            )
        return Program(compiled, self._seconds, total, free, wait_seconds)

    def _trace(self) -> Any:
        started = time.monotonic()
        with jax.default_matmul_precision(matmul_precision()):
            lowered = self._jitted.lower(*self._arguments)
        self._seconds += time.monotonic() - started
        return lowered

    def _compile(self, lowered: Any) -> Any:
        started = time.monotonic()
        compiled = lowered.compile(compiler_options=_options(self._has_physics))
        self._seconds += time.monotonic() - started
        return compiled


def _options(has_physics: bool) -> dict[str, str | bool]:
    """What XLA is told of a program; only on CPUs, where compiling takes longest.

    What `XLA_FLAGS` says has precedence.
    """
    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, str | bool] = {
        # LLVM's default of 3 makes physics 7 to 14 % faster and takes twice as long to compile;
        # with 1, compiling is 5 % quicker still and physics 10 % slower.
        "xla_backend_optimization_level": "2",
        # Cores wait for each other, and one that has other work as well may be minutes late.
        "xla_cpu_collective_call_terminate_timeout_seconds": "3600",
    }
    # Cut into 2 pieces instead of 32, a program compiles a tenth quicker and physics runs 7 to 10 %
    # faster. Without the newer way to fuse operations physics compiles in two thirds of the time
    # and runs a few percent faster; small programs would run a third slower.
    hints: dict[str, str | bool] = {"xla_cpu_parallel_codegen_split_count": "2"}
    if has_physics:
        hints["xla_cpu_use_fusion_emitters"] = False
    options |= {name: value for name, value in hints.items() if _is_known(name, value)}
    flags = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in options.items() if f"--{name}=" not in flags}


@functools.cache
def _is_known(option: str, value: str | bool) -> bool:
    """Whether this XLA has an option that others may lack."""
    try:
        jax.jit(lambda x: x + 1).lower(0.0).compile(compiler_options={option: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True


def compile_ahead(
    function: Callable[..., Any],
    *arguments: Any,
    out_shardings: PyTree | None = None,
    donate: bool = False,
    has_physics: bool = False,
    way_out: str = _WAY_OUT,
) -> Program:
    """Compiles a pure function now, for arguments of these shapes.

    Args:
        function: what to compile.
        arguments: as in `Compilation`.
        out_shardings: as in `Compilation`.
        donate: as in `Compilation`.
        has_physics: as in `Compilation`.
        way_out: what to do if it does not fit, for people.

    Raises:
        RunError: there is not enough free memory to run it.
    """
    compilation = Compilation(
        function,
        *arguments,
        out_shardings=out_shardings,
        donate=donate,
        has_physics=has_physics,
    )
    shapes = (isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(arguments))
    return compilation.program(arguments_exist=not any(shapes), way_out=way_out)


def free_memory(num_devices: int) -> float:
    """Bytes that each of so many local devices has left; those of a CPU share the machine's."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    free = (psutil.virtual_memory().available, container.memory_left(), _free_addresses())
    return max(0.0, min(free)) / num_devices


def _memory(compiled: Any) -> tuple[int, int]:
    """Bytes a program needs on each device: in all, and beside its arguments."""
    memory: Any = compiled.memory_analysis()
    beside = memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return beside + memory.argument_size_in_bytes, beside


def _num_local_devices(compiled: Any) -> int:
    """How many devices of this process a compiled program runs on."""
    shardings = jax.tree.leaves((compiled.input_shardings, compiled.output_shardings))
    return max(len(sharding.addressable_devices) for sharding in shardings)


def _free_addresses() -> float:
    """Bytes that the process may still ask for, infinite without a limit (`ulimit -v`)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return float("inf")
    return limit - psutil.Process().memory_info().vms
