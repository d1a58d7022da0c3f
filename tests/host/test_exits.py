"""A program that fails ends with one line, whatever its libraries do meanwhile."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.harness import figures, pipeline
from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host.exits import exit_after

ROOT = Path(__file__).parents[2]

FULL_DISK = """
import resource, sys
from pathlib import Path
from mlsh_jax.host.launch import run_main

def main(argv):
    import jax.numpy as jnp  # as experiments do, when `run_main` has said what XLA should log
    from mlsh_jax.host.checkpoint import CheckpointStore
    from mlsh_jax.host.failed_saves import silence
    silence()
    tree = {f"leaf{i}": jnp.ones(3000) for i in range(40)}
    with CheckpointStore(Path(sys.argv[1])) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        store.save(1, {"trainer": tree}, {}, score=0.0)

run_main(main)
"""


def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    # JAX sets it in the process of the tests when it is imported, and `run_main` in others.
    environment = {name: x for name, x in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/1: cannot be written (")
    assert done.stderr.count("\n") == 1, done.stderr


PRINTS = """
import sys
from pathlib import Path
from mlsh_jax.host.launch import run_main

def main(argv):
    for i in range(20_000):
        print("iteration", i)
    print("end", flush=True)
    Path(sys.argv[1]).write_text("done")

run_main(main)
"""


def test_a_program_whose_output_cannot_be_written_goes_on_and_says_it_once(tmp_path):
    result = tmp_path / "result"
    for command in (["-c", PRINTS, str(result)], ["-m", "experiments.moving_bandits", "--help"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
            )  # fmt: skip
        assert done.stderr == (
            "error: the output cannot be written (No space left on device); the program goes on "
            "without\n"
        )
        assert done.returncode == 1
    assert result.read_text() == "done"


@pytest.mark.parametrize(
    ("error", "line", "exit_code"),
    [
        (ConfigError("field: wrong\nand more"), "error: field: wrong and more", 2),
        (OSError(errno.ENOSPC, "No space left"), "error: No space left", 1),
        (OSError(errno.EACCES, "Forbidden", "a\x1bb"), "error: a\\x1bb: Forbidden", 1),
        (MemoryError(), "error: out of memory (); lower num_envs", 1),
    ],
)
def test_what_a_person_can_act_on_becomes_a_line(error, line, exit_code, capsys):
    with pytest.raises(SystemExit) as ended:
        exit_after(error)
    assert ended.value.code == exit_code
    assert capsys.readouterr().err.startswith(line)


WAITS_AT_ITS_END = """
import atexit, sys, time
from mlsh_jax.host.exits import exit_after

atexit.register(time.sleep, 1000)  # as Python waits for what a device is doing
exit_after(KeyboardInterrupt())
"""


def test_who_interrupts_does_not_wait_for_what_is_running():
    done = subprocess.run(
        [sys.executable, "-c", WAITS_AT_ITS_END], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_what_is_wrong_with_the_program_keeps_its_traceback():
    for error in (KeyError("x"), OSError("of a library, without a number")):
        with pytest.raises(type(error)) as raised:
            exit_after(error)
        assert raised.value is error


def test_pictures_that_cannot_be_written_are_said_to_be_all_that_is_missing(monkeypatch, tmp_path):
    class Run:
        directory = tmp_path

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(figures, "draw_run", fail)
    with pytest.raises(RunError, match=r"its pictures cannot be written \(.*No space left"):
        pipeline.draw(Run(), None, None, None)
