"""Several processes on one machine that run as one program."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from launches import free_address
from meta_iterations import meta_iterations

from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host import processes as processes_module
from mlsh_jax.host import rendezvous
from mlsh_jax.host.devices import make_layout
from mlsh_jax.host.processes import connect
from mlsh_jax.host.rendezvous import meet

WORKER = Path(__file__).with_name("processes_worker.py")
TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [2, 4])
def test_processes_learn_what_one_device_does(num_processes, tmp_path):
    address, out = free_address(), tmp_path / "leaves.npz"
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # one device each
        "PYTHONPATH": f"{ROOT}:{TESTS}",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), address, str(num_processes), str(i), str(out)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(num_processes)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * num_processes, errors
    together = np.load(out)
    for name, one in zip(together.files, meta_iterations(make_layout(1)), strict=True):
        np.testing.assert_allclose(together[name], one, rtol=1e-4, atol=1e-5)


def test_a_process_may_be_asleep_for_a_minute(monkeypatch):
    given = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **options: given.update(options))
    monkeypatch.setattr(processes_module, "is_first", lambda: True)
    connect(free_address(), 1, 0)
    # There is a sign of life in every half of it.
    assert given["heartbeat_timeout_seconds"] / 2 > 60


@pytest.fixture
def start_together(start_toy):
    """Starts the toy experiment in several processes that belong together."""

    def start(count: int, *arguments: str) -> list[subprocess.Popen]:
        address = free_address()
        group = ["--coordinator", address, "--num-processes", str(count)]
        return [start_toy(*arguments, *group, "--process-id", str(i)) for i in range(count)]

    return start


@pytest.mark.whole
def test_two_processes_write_one_run_that_one_can_continue(start_together, start_toy, tmp_path):
    processes = start_together(2, "--iterations", "7")
    outputs, errors = zip(*(process.communicate(timeout=120) for process in processes), strict=True)
    assert [process.returncode for process in processes] == [0, 0], errors
    assert "digest" in outputs[0]
    assert "digest" not in outputs[1]
    assert "run directory" not in outputs[1]
    (directory,) = (tmp_path / "runs" / "toy").iterdir()
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [record["iteration"] for record in records] == [*range(1, 8)] * 2
    session = json.loads((directory / "provenance.json").read_text())["sessions"][0]
    assert session["processes"] == 2
    (directory / "summary.json").unlink()

    output, errors = start_toy("--resume", str(directory)).communicate(timeout=120)
    digests = [line for line in output.splitlines() if "digest" in line]
    assert digests == [line for line in outputs[0].splitlines() if "digest" in line]


def test_processes_that_were_started_otherwise_are_refused_by_name(start_toy, tmp_path):
    address = free_address()
    group = ["--coordinator", address, "--num-processes", "2", "--process-id"]
    processes = [start_toy("--walk.decay", d, *group, i) for i, d in (("0", "0.9"), ("1", "0.8"))]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], errors
    for text in errors:
        assert "error: process 1 was started otherwise than process 0" in text
        assert "options.walk.decay is 0.8 rather than 0.9" in text
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("coordinator", "number", "message"),
    [
        ("foo", 0, "coordinator: must be host:port, got 'foo'"),
        (":1234", 0, "coordinator: must be host:port"),
        ("host:0", 1, "coordinator: must be host:port"),
        ("host:70000", 1, "coordinator: must be host:port"),
        ("host:1234", 2, "process_id: must be from 0 to 1, got 2"),
        ("host:1234", -1, "process_id: must be from 0 to 1, got -1"),
    ],
)
def test_what_is_no_place_among_processes_is_refused(coordinator, number, message):
    with pytest.raises(ConfigError, match=message):
        connect(coordinator, 2, number)


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_port_that_somebody_has_is_refused(host):
    with socket.create_server((host, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(RunError, match=rf"cannot listen at port {port} .*in use.*another one"):
            connect(f"localhost:{port}", 2, 0)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(rendezvous, "JOIN_SECONDS", 0.4)
    monkeypatch.setattr(rendezvous, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(rendezvous, "_POLL_SECONDS", 0.05)


def test_a_process_says_for_whom_it_waits_and_not_for_ever(impatient, capsys):
    address = free_address()
    message = rf"after \d s process 0 at {address} does not answer \(Connection refused\)"
    with pytest.raises(RunError, match=message):
        connect(address, 2, 1)
    assert capsys.readouterr().err == f"waiting for process 0 at {address}\n"


def test_all_that_came_are_told_who_did_not(monkeypatch, capsys):
    monkeypatch.setattr(rendezvous, "JOIN_SECONDS", 2)
    monkeypatch.setattr(rendezvous, "PATIENCE_SECONDS", 1)
    address = free_address()
    message = "s these processes have not come: 1; start as many as num_processes says"
    with _started(address, 3, 2) as errors, pytest.raises(RunError, match=message):
        meet(address, 3, 0)
    (answer,) = errors
    assert message in answer
    assert "waiting for the other processes\n" in capsys.readouterr().err


def test_what_listens_and_never_answers_ends_a_process_with_a_line(impatient, capsys):
    message = r"after \d s the other processes have not come, or have begun with another"
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(RunError, match=message):
        connect(f"127.0.0.1:{other.getsockname()[1]}", 2, 1)
    assert capsys.readouterr().err == "waiting for the other processes\n"


def test_jax_itself_waits_with_a_line_and_not_for_ever():
    """Process 1 is lost after it has met process 0."""
    program = (
        "from mlsh_jax.host import processes; "
        "processes.meet = lambda *_: None; "
        "processes.JOIN_SECONDS, processes.PATIENCE_SECONDS = 4, 1; "
        f"processes.connect('{free_address()}', 2, 0)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "waiting for the other processes",
        "error: coordinator: the other processes did not come within 4 s",
    ]


@contextlib.contextmanager
def _started(address, num_processes, process_id):
    """Another process that meets those of `address`; gives the list its error is put in."""
    errors: list[str | None] = []

    def run():
        try:
            meet(address, num_processes, process_id)
            errors.append(None)
        except (ConfigError, RunError) as error:
            errors.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield errors
    thread.join(timeout=60)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_processes_meet(host):
    address = f"{host}:{free_address().rpartition(':')[2]}"
    with _started(address, 3, 1) as first, _started(address, 3, 2) as second:
        meet(address, 3, 0)
    assert first == second == [None]


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ((3, 1), (4, 2), "process 2 was started otherwise than process 0: num_processes is 4 rat"),
        ((3, 1), (2, 1), "process 1 was started otherwise than process 0: num_processes is 2 rat"),
        ((3, 2), (3, 2), "process_id: two processes were started as 2"),
    ],
)
def test_processes_that_do_not_fit_are_told_what_differs(monkeypatch, one, other, message):
    monkeypatch.setattr(rendezvous, "JOIN_SECONDS", 3)
    address = free_address()
    with (
        _started(address, *one) as first,
        _started(address, *other) as second,
        pytest.raises(ConfigError, match=message),
    ):
        meet(address, 3, 0)
    (answer,) = second
    assert message in answer
    # Who comes when process 0 has ended has nobody to ask.
    assert message in first[0] or "does not answer" in first[0]


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 9999,
        b"[]\n",
        b"[" * 4000 + b"\n",
        b'{"process_id": null, "num_processes": 2}\n',
        b'{"process_id": Infinity, "num_processes": 2}\n',
        b'{"process_id": 7, "num_processes": 3}\n',
        b'{"process_id": 1, "num_processes": "3"}\n',
    ],
)
def test_another_program_does_not_keep_processes_apart(words):
    address = free_address()
    with _started(address, 2, 0) as errors, _connected(address) as other:
        other.sendall(words)
        meet(address, 2, 1)
    assert errors == [None]


def test_another_program_that_says_nothing_does_not_keep_processes_apart(impatient):
    address = free_address()
    rendezvous.JOIN_SECONDS = 20  # of what the fixture has changed
    with _started(address, 2, 0) as errors, _connected(address):
        meet(address, 2, 1)
    assert errors == [None]


def _connected(address):
    """A connection to what listens there, or will soon."""
    host, port = address.split(":")
    for _ in range(1000):
        with contextlib.suppress(ConnectionError):
            return socket.create_connection((host, int(port)), timeout=10)
        time.sleep(0.01)
    raise TimeoutError(address)


def test_a_process_that_was_started_again_takes_its_place():
    address = free_address()
    with _started(address, 3, 0) as errors:
        with _connected(address) as before:
            before.sendall(b'{"process_id": 1, "num_processes": 3}\n')
        with _started(address, 3, 1) as again:
            meet(address, 3, 2)
    assert errors == again == [None]


@pytest.mark.whole
@pytest.mark.parametrize("lost", [0, 1])
def test_the_loss_of_a_process_ends_the_others_and_nothing_is_lost(
    start_together, start_toy, tmp_path, wait_until, lost
):
    processes = start_together(2, "--preset", "slow", "--iterations", "23")
    wait_until(lambda: list((tmp_path / "runs").glob("toy/*/first/checkpoints/5")))
    processes[lost].send_signal(signal.SIGKILL)
    other = processes[1 - lost]
    # Mostly noticed at once, when a connection breaks; at the latest after the toy's 30 s.
    _, errors = other.communicate(timeout=120)
    assert other.returncode not in (0, None)
    # JAX's own words, or ours where the failing communication is noticed first.
    assert "another task died" in errors or "another process of this run was lost" in errors
    (directory,) = (tmp_path / "runs" / "toy").iterdir()
    output, errors = start_toy("--resume", str(directory)).communicate(timeout=120)
    assert "second digest" in output, errors


@pytest.mark.whole
def test_stopping_one_process_stops_all_of_them(start_together, tmp_path, wait_until):
    processes = start_together(2, "--preset", "slow")
    runs = tmp_path / "runs"
    wait_until(lambda: any(path.stat().st_size for path in runs.glob("toy/*/metrics.jsonl")))
    processes[1].send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [143, 143], errors
    for i, text in enumerate(errors):
        _, command = text.split("continue in every process with: ")
        assert f"--num-processes 2 --process-id {i} --resume runs/toy/" in command


@pytest.mark.slow
def test_two_processes_transfer_what_one_has_learned(bandits_run, tmp_path):
    environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    address = free_address()
    command = [
        sys.executable, "-m", "experiments.transfer", "--checkpoint", str(bandits_run),
        "--env", "moving_bandits", "--episodes", "4", "--iterations", "1",
        "--num-tasks", "2", "--num-envs", "2",
        "--run-root", str(tmp_path / "runs"),
        "--coordinator", address, "--num-processes", "2", "--process-id",
    ]  # fmt: skip
    processes = [
        subprocess.Popen([*command, i], env=environment, stderr=subprocess.PIPE, text=True)
        for i in "01"
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    (directory,) = (tmp_path / "runs" / "transfer").iterdir()
    summary = json.loads((directory / "summary.json").read_text())
    assert len(summary["per_task"]) == 2
