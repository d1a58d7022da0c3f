"""Run directories: where everything that one run of an experiment writes is kept together.

    runs/NAME/<YYYYmmdd-HHMMSS>-<preset>-s<seed>/
        config.json       the configuration, enough to start the run again
        provenance.json   code, versions, devices and command line, of the start and each resume
        metrics.jsonl     one line per iteration
        summary.json      the closing numbers, once the run is finished
        <stage>/checkpoints/<iteration>/

A run directory is never overwritten, and only one process at a time may write to it.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

import jax

from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host import processes
from mlsh_jax.host.checkpoint import check_directory
from mlsh_jax.host.compilation import matmul_precision
from mlsh_jax.host.devices import Layout, make_layout
from mlsh_jax.host.foreign import require_no_way_out
from mlsh_jax.host.imports import refuse_code_from
from mlsh_jax.host.serialization import (
    experiment_of,
    finite_or_null,
    from_json,
    leaves,
    read_json,
    reading,
    to_json,
    write_json,
)
from mlsh_jax.host.tracking import Tracker

ConfigT = TypeVar("ConfigT")

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "brax", "mujoco")


@dataclasses.dataclass
class Run:
    """A locked run directory; the lock is held until `close` or the end of the process.

    Of several processes only the first holds the lock and writes anything but checkpoints.

    Attributes:
        directory: the run directory.
        experiment: name of the experiment.
        preset: name of the preset that it was started with.
        layout: the devices that the run uses.
        stages: names of the stages that this process has entered so far.
        command: the words that start this program again, if it has any; `--resume` goes after them.
        tracker: where the metrics are sent beside the directory, if anywhere.
    """

    directory: Path
    experiment: str
    preset: str
    _lock: TextIO | None
    layout: Layout = dataclasses.field(default_factory=lambda: make_layout(1))
    stages: set[str] = dataclasses.field(default_factory=set)
    command: Sequence[str] = ()
    tracker: Tracker | None = None

    @property
    def how_to_continue(self) -> str:
        """What to do to continue this run, ending with what to type."""
        everywhere = " in every process" if processes.are_several() else ""
        return f"continue{everywhere} with: {_resuming(self.command, self.directory)}"

    def stopped(self, saved: str, signal: int) -> "StoppedError":
        """What to raise when a signal ends the run.

        Args:
            saved: what was saved.
            signal: the number of the signal.
        """
        return StoppedError(f"saved {saved}; {self.how_to_continue}", exit_code=128 + signal)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes `summary.json`, completely or not at all; null where a number is not finite."""
        if processes.is_first():
            write_json(self.directory / "summary.json", finite_or_null(dict(summary)))

    def close(self) -> None:
        """Lets another process write to the directory."""
        if self._lock is not None:
            self._lock.close()


class StoppedError(RunError):
    """The run was asked to stop, has saved its state, and can be continued.

    Args:
        message: one line that says how to continue.
        exit_code: 128 plus the number of the signal, as shells report it.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        """Keeps the exit code of this interruption."""
        super().__init__(message)
        self.exit_code = exit_code


def create_run(
    root: Path,
    experiment: str,
    preset: str,
    seed: int,
    config: Any,
    layout: Layout | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Makes a new run directory below `root/experiment` and records what is about to run.

    Args:
        root: holds all runs.
        experiment: name of the experiment.
        preset: name of the preset.
        seed: of everything random.
        config: enough to start the run again.
        layout: the devices to use; None for one.
        command: the words that start this program again.

    Raises:
        ConfigError: checkpoints could not be read back from there.
        RunError: the directory cannot be written.
    """
    try:
        check_directory(root)
    except ConfigError as error:
        raise ConfigError(f"run_root: {error}") from None
    started = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{started}-{preset}-s{seed}"
    layout = layout or make_layout(1)
    lock = None

    def make() -> str:
        nonlocal lock
        with _explained(root / experiment, "run_root: "):
            (root / experiment).mkdir(parents=True, exist_ok=True)
            directory = _make_unique(root / experiment, name)
            lock = _acquire(directory)
            provenance = {"experiment": experiment, "preset": preset, "seed": seed}
            provenance["sessions"] = [_session(layout, command, config)]
            write_json(directory / "provenance.json", provenance)
            write_json(directory / "config.json", to_json(config))
        return str(directory)

    directory = Path(processes.from_first(make))
    return Run(directory, experiment, preset, lock, layout, command=command)


def open_run(
    directory: Path,
    experiment: str,
    config_class: type[ConfigT],
    layout: Layout | None = None,
    command: Sequence[str] = (),
    accept: Callable[[ConfigT], None] = lambda config: None,
) -> tuple[Run, ConfigT]:
    """Opens an existing run to continue it, with the configuration it was started with.

    Args:
        directory: the run directory.
        experiment: name of the experiment that the run must be of.
        config_class: of its configuration.
        layout: the devices to use, not necessarily those of before; None for one.
        command: the words that start this program again.
        accept: raises an error where a run with this configuration may not be continued, before
            anything is written.

    Raises:
        ConfigError: missing, not a run, of another experiment, or with a `config.json` that does
            not fit `config_class`.
        RunError: in use by another process, or not writable.
    """
    config_path, provenance_path = directory / "config.json", directory / "provenance.json"
    if not directory.is_dir():
        raise ConfigError(f"{directory}: no such run directory")
    if not (config_path.is_file() and provenance_path.is_file()):
        raise ConfigError(
            f"{directory}: not a run directory (without config.json and provenance.json)"
        )
    refuse_code_from(directory)
    require_no_way_out(directory)
    provenance = read_json(provenance_path)
    owner = experiment_of(provenance)
    if owner != experiment:
        hint = _other_way(provenance, directory)
        raise ConfigError(f"{directory}: is a run of {owner}, not of {experiment}{hint}")
    with reading(provenance_path):
        preset, sessions = str(provenance["preset"]), list(provenance["sessions"])
        before = leaves(sessions[-1].get("config", {})) if sessions else {}
    try:
        config = from_json(config_class, read_json(config_path))
    except ConfigError as error:
        raise ConfigError(f"{config_path}: {error}") from None
    accept(config)
    layout = layout or make_layout(1)
    lock = None

    def record() -> str:
        nonlocal lock
        with _explained(directory):
            lock = _acquire(directory)
            provenance["sessions"] = [*sessions, _session(layout, command, config)]
            write_json(provenance_path, provenance)
        for name, value in leaves(to_json(config)).items():
            if before.get(name, value) != value:
                print(
                    f"{config_path}: {name} is {value!r} now, {before[name]!r} in the last session"
                )
        return ""

    processes.from_first(record)
    run = Run(directory, experiment, preset, lock, layout, command=command)
    return run, config


def _resuming(command: Sequence[str], directory: Path) -> str:
    """What to type in a shell to continue a run."""
    return shlex.join([*command, "--resume", str(directory)])


def _other_way(provenance: Any, directory: Path) -> str:
    """How to continue a run of another experiment of this project, where it is one.

    None of its own words are shown, which somebody may have written for others to type.
    """
    owner = experiment_of(provenance)
    try:
        command = provenance["sessions"][0]["command"]
        is_ours = owner.isidentifier() and f"experiments.{owner}" in command
    except (TypeError, LookupError, AttributeError):  # older runs do not say
        return ""
    if not is_ours:
        return ""
    return f"; use {_resuming(['python', '-m', f'experiments.{owner}'], directory)}"


def _make_unique(parent: Path, name: str) -> Path:
    suffix = 1
    while True:
        directory = parent / (name if suffix == 1 else f"{name}-{suffix}")
        try:
            directory.mkdir()
        except FileExistsError:
            suffix += 1
        else:
            return directory


def _acquire(directory: Path) -> TextIO:
    lock = (directory / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise RunError(f"{directory}: another process is writing this run; stop it first") from None
    return lock


def _session(layout: Layout, command: Sequence[str], config: Any) -> dict[str, Any]:
    """What this process is: the part of the provenance that a resume may change."""
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        "command": list(command),
        "config": to_json(config),
        **code_and_versions(),
        "devices": [
            f"{device.platform}: {device.device_kind}" for device in layout.mesh.devices.flat
        ],
        "matmul_precision": matmul_precision(),
        "processes": jax.process_count(),
    }


def code_and_versions() -> dict[str, Any]:
    """What runs: the commit of this code, Python and the packages that matter."""
    return {
        "git": _git_state(),
        "python": platform.python_version(),
        "packages": _package_versions(),
    }


def digest_of_code(root: Path = Path(__file__).parents[2]) -> str:
    """What tells copies of this code apart that are in no commit."""
    digest = hashlib.sha256()
    for package in ("mlsh_jax", "envs", "experiments"):
        for file in sorted((root / package).rglob("*.py")):
            digest.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _package_versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout that this module is tracked in; `None` for an installed package."""
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name)
    commit = _git("rev-parse", "HEAD")
    if tracked is None or commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


@contextlib.contextmanager
def _explained(directory: Path, field: str = "") -> Iterator[None]:
    """Says in one line that a directory cannot be written, and which field named it."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{field}{directory}: cannot be written ({error.strerror})") from None
