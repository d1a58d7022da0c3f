"""Programs compiled ahead of time: the cache, and what does not fit into memory."""

import resource
import threading
from concurrent.futures import CancelledError

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from mlsh_jax.errors import RunError
from mlsh_jax.host import compilation
from mlsh_jax.host.compilation import (
    Background,
    Compilation,
    compile_ahead,
    enable_compilation_cache,
)


def test_a_program_says_what_it_needs():
    program = compile_ahead(lambda x: jnp.sort(x * 2.0), jnp.zeros(2**20))
    assert 2 * 2**22 <= program.memory_bytes <= 6 * 2**22  # a vector in, one out, some for sorting
    assert program.compile_seconds > 0
    np.testing.assert_array_equal(program(jnp.arange(2.0**20))[-1], 2.0 * (2.0**20 - 1))
    assert " GB" in str(program)


def test_a_program_that_does_not_fit_is_refused():
    wide = jax.ShapeDtypeStruct((2**22,), jnp.float32)
    with pytest.raises(RunError, match=r"needs 7\d{4}\.\d\d GB of memory .* lower num_envs"):
        compile_ahead(lambda x: jnp.sort(x[:, None] * x[None, :], axis=0), wide)


def test_a_program_is_compiled_in_the_background_while_the_caller_goes_on():
    traced_in = []

    def double(x):
        traced_in.append(threading.current_thread())
        return 2 * x

    with Background() as background:
        compilation = Compilation(double, jax.ShapeDtypeStruct((3,), jnp.float32))
        program = compilation.begin(background).program()
        np.testing.assert_array_equal(program(jnp.ones(3)), 2 * np.ones(3))
    assert len(traced_in) == 1
    assert traced_in[0] is not threading.current_thread()
    assert program.compile_seconds > 0


def test_programs_are_traced_one_after_another_in_the_order_they_are_begun():
    traced = []

    def named(name):
        def function(x):
            traced.append(f"{name} begins")
            y = jnp.cumsum(jnp.sort(x))
            traced.append(f"{name} ends")
            return y

        return function

    with Background(num_threads=3) as background:
        compilations = [Compilation(named(n), jnp.ones(n)).begin(background) for n in range(1, 7)]
        compilations[-1].program()
    assert traced == [f"{n} {what}" for n in range(1, 7) for what in ("begins", "ends")]


def test_what_goes_wrong_in_the_background_is_raised_where_the_program_is_needed():
    def untraceable(x):
        raise ValueError("cannot be traced")

    wide = jax.ShapeDtypeStruct((2**22,), jnp.float32)
    with Background() as background:
        wrong = Compilation(untraceable, jnp.ones(2)).begin(background)
        large = Compilation(lambda x: jnp.sort(x[:, None] * x[None, :], axis=0), wide)
        large.begin(background)
        with pytest.raises(ValueError, match="cannot be traced"):
            wrong.program()
        with pytest.raises(RunError, match=r"needs 7\d{4}\.\d\d GB .* lower episodes"):
            large.program(way_out="lower episodes")


def test_what_was_not_begun_is_given_up_at_the_end():
    is_tracing, may_go_on, traced = threading.Event(), threading.Event(), []

    def slow(x):
        is_tracing.set()
        may_go_on.wait(timeout=60)
        return x

    def late(x):
        traced.append("late")
        return x

    with pytest.raises(RunError, match="stop"), Background() as background:
        begun = [Compilation(f, jnp.ones(2)).begin(background) for f in (slow, late)]
        is_tracing.wait(timeout=60)
        threading.Timer(0.2, may_go_on.set).start()
        raise RunError("stop")
    assert not traced
    for given_up in begun:
        with pytest.raises(CancelledError):
            given_up.program()


def test_of_several_processes_each_compiles_when_it_needs_a_program(monkeypatch):
    monkeypatch.setattr(compilation.processes, "are_several", lambda: True)
    traced_in = []

    def double(x):
        traced_in.append(threading.current_thread())
        return 2 * x

    with Background() as background:
        program = Compilation(double, jnp.ones(3)).begin(background)
        assert not traced_in
        program.program()
    assert traced_in == [threading.current_thread()]


@pytest.fixture
def cache_setting(monkeypatch):
    """Restores the setting of this process afterwards."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield lambda: jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", before)


def test_compiled_programs_are_kept_in_the_users_cache(cache_setting, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    enable_compilation_cache()
    assert cache_setting() == str(tmp_path / "mlsh_jax" / "xla")


def test_jaxs_own_cache_variable_has_precedence(cache_setting, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    enable_compilation_cache()
    assert cache_setting() is None


def test_an_unwritable_cache_does_not_matter(cache_setting, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    enable_compilation_cache()
    assert cache_setting() is None


def test_what_is_compiled_in_the_background_is_known_until_it_is_done():
    held = threading.Event()
    assert not compilation.is_compiling()
    with compilation.Background(num_threads=1) as background:
        done = background.submit(lambda: None, lambda _: held.wait(20))
        assert compilation.is_compiling()
        held.set()
        assert done.result()
    assert not compilation.is_compiling()


def test_what_xla_flags_says_has_precedence(monkeypatch):
    option = "xla_backend_optimization_level"
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    assert option in compilation._options(has_physics=True)
    monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count=8 --{option}=0")
    assert option not in compilation._options(has_physics=True)


def test_matrix_products_are_as_exact_as_their_numbers_unless_somebody_chose_otherwise():
    def precision(matrix):
        (line,) = (line for line in matrix.as_text().splitlines() if " dot(" in line)
        return line

    square = jnp.ones((8, 8))
    assert "operand_precision={highest,highest}" in precision(
        compile_ahead(lambda x: x @ x, square).call
    )
    with jax.default_matmul_precision("bfloat16"):
        chosen = precision(compile_ahead(lambda x: x @ x, square).call)
    assert "highest" not in chosen


def test_a_process_may_be_given_less_memory_than_the_machine_has(monkeypatch):
    used = psutil.Process().memory_info().vms
    limits = used + 10**6, resource.RLIM_INFINITY
    monkeypatch.setattr(compilation.resource, "getrlimit", lambda _: limits)
    assert 0 <= compilation.free_memory(2) <= 10**6
    monkeypatch.setattr(compilation.resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert compilation.free_memory(2) > 10**6
