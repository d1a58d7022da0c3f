"""Programs compiled ahead of time: the cache, and what does not fit into memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlsh_jax.errors import RunError
from mlsh_jax.host import compilation
from mlsh_jax.host.compilation import compile_ahead, enable_compilation_cache


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


def test_containers_may_have_less_memory_than_the_machine(tmp_path):
    free = compilation._free_in_container
    assert free(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000\n")
    assert free(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("5000\n")
    assert free(tmp_path) == 2000


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
