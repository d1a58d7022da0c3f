"""The command line of an experiment: presets, overrides, one-line errors, run directories.

An experiment module defines `PRESETS` (name to `Preset`) and a `main(argv=None)` that starts with
`launch = parse("moving_bandits", PRESETS, argv)` and `run, config = start_run(launch)`, and ends
with `if __name__ == "__main__": run_main(main)`.
"""

import contextlib
import dataclasses
import difflib
import io
import json
import os
import re
import sys
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NoReturn, TypeVar

import tyro

from mlsh_jax.errors import ConfigError
from mlsh_jax.host.serialization import from_json

if TYPE_CHECKING:
    from mlsh_jax.host.devices import Layout

ConfigT = TypeVar("ConfigT")

_KEPT_ON_RESUME = ("--resume", "--devices", "--coordinator", "--num-processes", "--process-id")
_LAUNCHER_OPTIONS = ("--preset", "--config", "--run-root", *_KEPT_ON_RESUME)


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
    """

    experiment: str
    preset: str
    config: ConfigT
    run_root: Path
    resume: Path | None
    layout: "Layout"


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
    argv = list(sys.argv[1:] if argv is None else argv)
    preset = _preset_name(argv, presets)
    file = _argument(argv, "--config")
    config = _read_config(file, presets[preset].config)
    options_class = _options_class(presets, preset, config)
    options, unknown = _call_tyro(options_class, argv, experiment, presets)
    if unknown:
        raise ConfigError(_unknown_option(unknown[0], config))
    if options.resume is not None:
        _require_resume_alone(argv, options.resume)
    # Imported here so that --help and errors on the command line do not wait for JAX.
    from mlsh_jax.host.devices import default_layout, make_layout, split_cpu
    from mlsh_jax.host.processes import connect

    num_devices = _number_of_devices(options.devices)
    if not connect(options.coordinator, options.num_processes, options.process_id):
        split_cpu(num_devices)
    layout = default_layout() if options.devices is None else make_layout(num_devices)
    name = preset if file is None else Path(file).stem
    return Launch(experiment, name, options.config, options.run_root, options.resume, layout)


def start_run(launch: Launch[ConfigT], seed: int) -> tuple[Any, ConfigT]:
    """Makes the run directory, or opens the one to resume, and says where it is.

    Returns:
        The `mlsh_jax.host.runs.Run` and the configuration to use.
    """
    from mlsh_jax.host.compilation import enable_compilation_cache
    from mlsh_jax.host.runs import create_run, open_run

    enable_compilation_cache()
    experiment, layout = launch.experiment, launch.layout
    if launch.resume is None:
        config = launch.config
        run = create_run(launch.run_root, experiment, launch.preset, seed, config, layout)
    else:
        run, config = open_run(launch.resume, experiment, type(launch.config), layout)
    print(f"run directory: {run.directory}")
    print(f"if interrupted, {run.how_to_continue}", flush=True)
    return run, config


def run_main(
    main: Callable[[Sequence[str] | None], object], argv: Sequence[str] | None = None
) -> NoReturn:
    """Runs an experiment and exits; errors meant for a person become one line on stderr.

    Such an error has an `exit_code`. Any other exception keeps its traceback.
    """
    try:
        main(argv)
    except KeyboardInterrupt:
        _exit_with("interrupted", 130)
    except Exception as error:
        exit_code = getattr(error, "exit_code", None)
        if exit_code is None:
            if not _are_several():
                raise
            _exit_with(traceback.format_exc(), 1)
        label = "stopped" if exit_code > 128 else "error"
        _exit_with(f"{label}: {' '.join(str(error).split())}", exit_code)
    sys.exit(0)


def _exit_with(message: str, exit_code: int) -> NoReturn:
    """Prints one line and ends the process; the others, if any, are not waited for."""
    print(message, file=sys.stderr, flush=True)
    if _are_several():
        os._exit(exit_code)
    sys.exit(exit_code)


def _are_several() -> bool:
    """Whether this process has joined others; asks nothing of JAX if it was not imported."""
    processes = sys.modules.get("mlsh_jax.host.processes")
    return processes is not None and processes.are_several()


def _number_of_devices(text: str | None) -> int | None:
    """What `--devices` says; None for all of them, or where it says nothing."""
    if text is None or text == "all":
        return None
    if not text.isdecimal():
        raise ConfigError(f"--devices: must be a number or all, got {text!r}")
    return int(text)


def _argument(argv: Sequence[str], wanted: str) -> str | None:
    """The value of an option that has to be known before the others can be read."""
    found = None
    for i, argument in enumerate(argv):
        option, equals, value = argument.partition("=")
        if option == wanted:
            found = value if equals else next(iter(argv[i + 1 :]), "")
    return found


def _preset_name(argv: Sequence[str], presets: Mapping[str, Any]) -> str:
    name = _argument(argv, "--preset")
    if name is None:
        return "default"
    if name not in presets:
        hint = _did_you_mean(name, list(presets))
        raise ConfigError(f"--preset: unknown preset {name!r}{hint}; known: {', '.join(presets)}")
    return name


def _read_config(file: str | None, preset: ConfigT) -> ConfigT:
    """The configuration in a JSON file, such as a run's `config.json`; the preset without one.

    Raises:
        ConfigError: it cannot be read, or is of another experiment.
    """
    if file is None:
        return preset
    try:
        return from_json(type(preset), json.loads(Path(file).read_text(encoding="utf-8")))
    except ConfigError as error:
        raise ConfigError(f"--config: {file}: {error}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config: {file}: cannot be read ({error})") from None


def _options_class(presets: Mapping[str, Preset[Any]], preset: str, config: Any) -> type:
    """The configuration's own options, unprefixed, and those of the launcher."""
    names = Literal[tuple(presets)]  # type: ignore[valid-type]

    def option(hint: Any, metavar: str, text: str) -> Any:
        return Annotated[hint, tyro.conf.arg(metavar=metavar, help=text)]

    return dataclasses.make_dataclass(
        "Options",
        [
            (
                "preset",
                option(names, "NAME", "Preset that the other options start from."),
                dataclasses.field(default=preset),
            ),
            (
                "config_file",
                Annotated[
                    str | None,
                    tyro.conf.arg(
                        name="config",
                        metavar="FILE",
                        help="JSON file to start from instead, such as the config.json of a run.",
                    ),
                ],
                dataclasses.field(default=None),
            ),
            (
                "run_root",
                option(Path, "DIR", "Directory that new run directories are made in."),
                dataclasses.field(default=Path("runs")),
            ),
            (
                "resume",
                option(Path | None, "RUN", "Continue this run directory; takes no other option."),
                dataclasses.field(default=None),
            ),
            (
                "devices",
                option(
                    str | None,
                    "N|all",
                    "Devices to spread tasks over; by default the cores of a CPU (as many as "
                    "share the tasks evenly), 1 accelerator, or all devices of several processes.",
                ),
                dataclasses.field(default=None),
            ),
            (
                "coordinator",
                option(
                    str | None,
                    "HOST:PORT|auto",
                    "Process 0 of several that run together; "
                    "auto lets JAX find it, as it always does under SLURM and on TPU pods.",
                ),
                dataclasses.field(default=None),
            ),
            (
                "num_processes",
                option(int | None, "N", "How many processes run together."),
                dataclasses.field(default=None),
            ),
            (
                "process_id",
                option(int | None, "I", "Which of them this is, from 0."),
                dataclasses.field(default=None),
            ),
            (
                "config",
                Annotated[type(config), tyro.conf.arg(name="")],
                dataclasses.field(default=config),
            ),
        ],
    )


def _call_tyro(
    options_class: type, argv: list[str], experiment: str, presets: Mapping[str, Preset[Any]]
) -> tuple[Any, list[str]]:
    width = max(map(len, presets))
    listing = "\n".join(f"  {name:{width}}  {p.description}" for name, p in presets.items())
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return tyro.cli(
                options_class,
                args=argv,
                prog=f"python -m experiments.{experiment}",
                description=f"Presets:\n{listing}",
                return_unknown_args=True,
            )
    except ConfigError as error:
        raise ConfigError(_as_option([], str(error))) from None
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        config = presets["default"].config
        raise ConfigError(_one_line(captured.getvalue(), config)) from None


def _one_line(box: str, config: Any) -> str:
    """The message of one of tyro's boxes, as `option: what is wrong`."""
    lines = [line.strip("│ \t") for line in box.splitlines()]
    message: list[str] = []
    for line in lines[1:]:
        if not line.strip("─╰╯"):
            break
        message.append(line)
    text = " ".join(message)
    nested = re.match(r"Error parsing (\S+): (.*)", text)
    if nested is None:
        return text
    where, reason = nested.groups()
    if where.startswith("-"):
        return f"{where}: {reason}"
    return _as_option(_visible_part(where.split(".")[1:], config), reason)


def _visible_part(path: Sequence[str], config: Any) -> list[str]:
    """The fields on the way to a nested configuration that its options are prefixed with."""
    visible: list[str] = []
    for name in path:
        hints = typing.get_type_hints(type(config), include_extras=True)
        if name not in hints:
            return [*visible, name]
        if not _is_flat(hints[name]):
            visible.append(name)
        config = getattr(config, name)
    return visible


def _as_option(path: Sequence[str], message: str) -> str:
    """Completes a validation message, which starts with the field's name, to the option's."""
    field, colon, reason = message.partition(": ")
    if not colon or not field.isidentifier():
        return message
    option = ".".join([*path, field]).replace("_", "-")
    return f"--{option}: {reason}"


def _unknown_option(argument: str, config: Any) -> str:
    if not argument.startswith("-"):
        return f"unexpected value {argument!r}; see --help (a switch is --flag or --no-flag)"
    name = argument.partition("=")[0]
    hint = _did_you_mean(name, [*_LAUNCHER_OPTIONS, *_option_names(config)])
    return f"{name}: unknown option{hint}; see --help"


def _option_names(config: Any, prefix: str = "--") -> list[str]:
    names = []
    hints = typing.get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            names += _option_names(value, prefix if _is_flat(hints[field.name]) else name + ".")
        else:
            names.append(name)
            if isinstance(value, bool):
                names.append(f"{prefix}no-{field.name.replace('_', '-')}")
    return names


def _is_flat(hint: Any) -> bool:
    """Whether a nested configuration's options carry no prefix (`Flat`)."""
    return any(getattr(mark, "name", None) == "" for mark in getattr(hint, "__metadata__", ()))


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    name = name.replace("_", "-")
    last_part = name.strip("-").rpartition(".")[2]
    close = [k for k in known if last_part and k.strip("-").rpartition(".")[2] == last_part]
    close += [k for k in difflib.get_close_matches(name, known, n=2, cutoff=0.7) if k not in close]
    return f" (did you mean {' or '.join(close[:3])}?)" if close else ""


def _require_resume_alone(argv: Sequence[str], resume: Path) -> None:
    for argument in argv:
        option = argument.partition("=")[0].replace("_", "-")
        if option.startswith("-") and option not in _KEPT_ON_RESUME:
            raise ConfigError(
                f"{option}: cannot be given with --resume, which continues with the configuration "
                f"in {resume / 'config.json'}"
            )
