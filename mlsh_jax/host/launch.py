"""The command line of an experiment: presets, overrides, one-line errors, run directories.

An experiment module defines `PRESETS` (name to `Preset`) and a `main(argv=None)` that starts with
`launch = parse("moving_bandits", PRESETS, argv)` and `run, config = start_run(launch)`, and ends
with `if __name__ == "__main__": run_main(main)`.
"""

import codecs
import dataclasses
import gc
import io
import json
import os
import resource
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host.exits import are_several, exit_after
from mlsh_jax.host.imports import refuse_code_from
from mlsh_jax.host.options import (
    Options,
    Session,
    argument,
    as_option,
    did_you_mean,
    read_options,
    typed_only,
    with_rules,
)
from mlsh_jax.host.output import replace_stdout
from mlsh_jax.host.paths import real_path
from mlsh_jax.host.serialization import experiment_of, from_json, to_json

if TYPE_CHECKING:
    from mlsh_jax.host.devices import Layout

ConfigT = TypeVar("ConfigT")

_ADDRESSES = 2**31
"""Bytes of address space that the smallest training takes on one core, most of them for threads and
libraries (2.21e9 with the smoke preset of moving_bandits)."""

NUM_SEEDS = 2**32
"""Beyond that JAX would cut a seed to the bits of another one."""


_SPELLED = {
    "→": ">", "–": "-", "…": "...", "×": "x", "φ": "phi", "θ": "theta", "π": "pi", "λ": "lambda",
    "γ": "gamma", "Σ": "sum",
}  # fmt: skip
"""Letters of the program's own texts, for screens without them."""


@dataclasses.dataclass(frozen=True)
class Preset(Generic[ConfigT]):
    """A named configuration.

    Attributes:
        config: the configuration.
        description: one line for `--help`.
    """

    config: ConfigT
    description: str


@dataclasses.dataclass(frozen=True)
class Launch(Generic[ConfigT]):
    """What was asked for on the command line.

    Attributes:
        experiment: name of the experiment.
        preset: name of the preset that the configuration started from, or of its file.
        config: the configuration; when resuming, that of the preset, to be replaced by the run's.
        run_root: the directory that new runs are made in.
        resume: the run to continue, if any.
        layout: the devices to use.
        track: where to send metrics beside the run directory, if anywhere.
        num_seeds: trainings side by side, with the seeds from that of the configuration on.
        command: the words that start this program again, with the options that a resume needs.
    """

    experiment: str
    preset: str
    config: ConfigT
    run_root: Path
    resume: Path | None
    layout: "Layout"
    track: str | None
    command: tuple[str, ...]
    num_seeds: int = 1


def parse(
    experiment: str,
    presets: Mapping[str, Preset[ConfigT]],
    argv: Sequence[str] | None = None,
) -> Launch[ConfigT]:
    """Reads the command line: `--preset`, `--config`, any field of the configuration, `--resume`.

    Args:
        experiment: name of the experiment module.
        presets: name to preset; must contain "default". All of one configuration class.
        argv: the arguments; those of the process by default.

    Raises:
        ConfigError: naming the first option that is unknown or has an impossible value.
    """
    program = _program(experiment, argv)
    argv = list(sys.argv[1:] if argv is None else argv)
    preset = _preset_name(argv, presets)
    file = argument(argv, "--config")
    config = with_rules(_read_config(file, presets[preset].config, experiment, argv), argv)
    default = Options(preset, file, Path("runs"), None, 1, Session(), config)
    prog = shlex.join(["python", *program[1:]])
    options = read_options(default, argv, prog, _listing(presets))
    try:
        check_seed(getattr(options.config, "seed", 0))
    except ConfigError as error:
        raise ConfigError(as_option(str(error))) from None
    launch = Launch(
        experiment=experiment,
        preset=preset if file is None else Path(file).stem,
        config=options.config,
        run_root=options.run_root,
        resume=options.resume,
        layout=_connect(options.session),
        track=options.session.track,
        command=(*program, *options.session.words()),
        num_seeds=options.num_seeds,
    )
    _require_alike(launch)
    return launch


def start_run(
    launch: Launch[ConfigT], seed: int, accept: Callable[[ConfigT], None] = lambda config: None
) -> tuple[Any, ConfigT]:
    """Makes the run directory, or opens the one to resume, and says where it is.

    Args:
        launch: what was asked for.
        seed: of a new run, for its name.
        accept: raises an error where a run with this configuration may not be continued.

    Returns:
        The `mlsh_jax.host.runs.Run` and the configuration to use.

    Raises:
        ConfigError: several seeds were asked for, and this is one run.
    """
    if launch.num_seeds != 1:
        raise ConfigError("--num-seeds: is for experiments that train sub-policies alone")
    from mlsh_jax.host.compilation import enable_compilation_cache
    from mlsh_jax.host.failed_saves import silence
    from mlsh_jax.host.processes import is_first
    from mlsh_jax.host.runs import create_run, open_run
    from mlsh_jax.host.tracking import Tracker

    silence()
    enable_compilation_cache()
    experiment, layout, command = launch.experiment, launch.layout, launch.command
    try:
        if launch.resume is None:
            root, config = launch.run_root, launch.config
            run = create_run(root, experiment, launch.preset, seed, config, layout, command)
        else:
            config_class = type(launch.config)
            run, config = open_run(launch.resume, experiment, config_class, layout, command, accept)
    except (ConfigError, RunError) as error:
        message = str(error)
        if not message.startswith("--"):
            message = as_option(message) if launch.resume is None else f"--resume: {message}"
        raise type(error)(message) from None
    if launch.track is not None and is_first():
        run.tracker = Tracker(run.directory, experiment, to_json(config))
    print(f"run directory: {run.directory}")
    print(f"if interrupted, {run.how_to_continue}", flush=True)
    return run, config


def start_jax() -> None:
    """What a script of one process needs that makes tables and no runs: cores, and kept programs.

    Raises:
        ConfigError: the process may have too little memory.
    """
    _require_addresses()
    from mlsh_jax.host.compilation import enable_compilation_cache
    from mlsh_jax.host.devices import split_cpu

    enable_compilation_cache()
    split_cpu()


def run_main(
    main: Callable[[Sequence[str] | None], object], argv: Sequence[str] | None = None
) -> NoReturn:
    """Runs an experiment and exits; errors meant for a person become one line on stderr.

    Which ones, `mlsh_jax.host.exits.exit_after` says. Any other exception keeps its traceback. A
    program whose output cannot be written, as on a full disk, goes on and ends with exit code 1.
    """
    # JAX is imported only later, and XLA reads then what it should log: nothing that is not fatal,
    # as what really fails is raised as an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    codecs.register_error("spelled", _spelled)
    if sys.stdout is None:  # closed, as by `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    output = replace_stdout()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="spelled")
    # Imports and tracing make objects by the million, hardly any of them garbage. By default Python
    # goes over all of them again and again, which is a quarter of the time before the first step.
    gc.set_threshold(100_000, 100, 100)
    exit_code: Any = 0
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # by `experiments`, during imports
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            main(argv)
        finally:
            sys.stdout.flush()
    except SystemExit as ended:  # of --help
        exit_code = ended.code
    except (KeyboardInterrupt, Exception) as error:
        exit_after(error)
    sys.exit(exit_code or int(output is not None and output.has_failed))


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """What is shown in the place of letters that a screen does not have; none ends a program."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_SPELLED.get(letter, "?") for letter in letters), error.end


def _connect(session: Session) -> "Layout":
    """Joins the other processes, if any, and takes the devices that were asked for.

    Raises:
        ConfigError: they are not there, or a tracker is not.
    """
    _require_addresses()
    # Imported here so that --help and errors on the command line do not wait for JAX.
    from mlsh_jax.host.devices import default_layout, make_layout, split_cpu
    from mlsh_jax.host.processes import connect
    from mlsh_jax.host.tracking import require_wandb

    try:
        if session.track is not None:
            require_wandb()
        if not connect(session.coordinator, session.num_processes, session.process_id):
            split_cpu(session.num_devices)
        return default_layout() if session.devices is None else make_layout(session.num_devices)
    except ConfigError as error:
        raise ConfigError(as_option(str(error))) from None


def _require_addresses() -> None:
    """Refuses a limit of the process with which JAX could not start its threads.

    It would end the process in the middle, from a thread of its own and with no exception.

    Raises:
        ConfigError: the limit is lower than that.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _ADDRESSES:
        raise ConfigError(
            f"the memory of this process is limited to {limit / 1e9:.2f} GB (ulimit -v), of which "
            f"JAX takes {_ADDRESSES / 1e9:.2f} GB at least; raise the limit"
        )


def _require_alike(launch: Launch[Any]) -> None:
    """Refuses processes that were started together and not alike."""
    if not are_several():
        return
    from mlsh_jax.host.compilation import matmul_precision
    from mlsh_jax.host.processes import require_alike
    from mlsh_jax.host.runs import code_and_versions, digest_of_code

    facts: dict[str, Any] = {"experiment": launch.experiment, "num_seeds": launch.num_seeds}
    facts |= {"devices": launch.layout.num_devices, "matmul_precision": matmul_precision()}
    if launch.resume is None:
        facts |= {"run_root": str(real_path(launch.run_root)), "options": to_json(launch.config)}
    else:
        facts["resume"] = str(real_path(launch.resume))
        facts |= {name: getattr(launch.config, name) for name in typed_only(launch.config)}
    code = code_and_versions() | {"code": digest_of_code()}
    # Whether files were changed may take too long to say on one of several machines.
    code["git"] = (code["git"] or {}).get("commit")
    require_alike(facts | code)


def _program(experiment: str, argv: Sequence[str] | None) -> tuple[str, ...]:
    """The words that start this program, without its options.

    Args:
        experiment: name of the experiment.
        argv: the arguments; None for those of the process. Other arguments than those of the
            process come from a call in Python, such as that of a notebook, and say nothing of how
            the experiment is started: then it is one of `experiments`.
    """
    main: Any = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    python = _from_here(sys.executable)
    if argv is None or list(argv) == sys.argv[1:]:
        if spec is not None:
            return python, "-m", spec.name.removesuffix(".__main__")
        if file is not None:
            return python, _from_here(file)
    return python, "-m", f"experiments.{experiment}"


def _from_here(file: str) -> str:
    """A path as it is typed in this directory."""
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _listing(presets: Mapping[str, Preset[Any]]) -> str:
    """The presets, for `--help`."""
    width = max(map(len, presets))
    lines = [f"  {name:{width}}  {preset.description}" for name, preset in presets.items()]
    return "\n".join(["Presets:", *lines])


def _preset_name(argv: Sequence[str], presets: Mapping[str, Any]) -> str:
    name = argument(argv, "--preset")
    if name is None:
        return "default"
    if name not in presets:
        hint = did_you_mean(name, list(presets))
        raise ConfigError(f"--preset: unknown preset {name!r}{hint}; known: {', '.join(presets)}")
    return name


def _read_config(
    file: str | None, preset: ConfigT, experiment: str, argv: Sequence[str]
) -> ConfigT:
    """The preset with what is in a JSON file, such as a run's `config.json`, if there is one.

    Raises:
        ConfigError: it cannot be read, is of another experiment, or sets what only the command line
            may.
    """
    if file is None:
        return preset
    path = Path(file)
    try:
        if (owner := _owner(path)) not in (None, experiment):
            raise ConfigError(f"is the configuration of {owner}, not of {experiment}")
        for folder in real_path(path).parents:
            if (folder / "provenance.json").is_file():  # a file of a run, whatever its name
                refuse_code_from(folder)
        data = json.loads(path.read_text(encoding="utf-8"))
        config = from_json(type(preset), data, base=preset)
        for name, option in typed_only(preset).items():
            value = getattr(config, name)
            if value != getattr(preset, name) and argument(argv, option) is None:
                # Not with its value, in which there may be a password.
                raise ConfigError(f"{name}: only the command line sets it: add {option}")
        return config
    except ConfigError as error:
        raise ConfigError(f"--config: {file}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"--config: {file}: cannot be read ({error})") from None


def _owner(config: Path) -> Any:
    """The experiment whose run has this `config.json`; None if it is no run's."""
    provenance = config.with_name("provenance.json")
    if config.name != "config.json" or not provenance.is_file():
        return None
    return experiment_of(json.loads(provenance.read_text(encoding="utf-8")))


def check_seed(seed: int) -> None:
    """Raises `ConfigError` for a seed that JAX would cut to the bits of another one."""
    if not 0 <= seed < NUM_SEEDS:
        raise ConfigError(f"seed: must be from 0 to {NUM_SEEDS - 1}, got {seed}")
