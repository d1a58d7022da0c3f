"""Options as tyro reads them: those of the launcher and one for every field of a configuration.

Every mistake is a `ConfigError` of one line that names the option.
"""

import dataclasses
import difflib
import inspect
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NoReturn, TypeVar

import tyro

# Not public, and yet the only way to tyro's complaints other than to take apart the boxes that it
# prints: it hands them over as values. `pyproject.toml` holds tyro to versions that have it.
from tyro import _errors as tyro_errors

from mlsh_jax.errors import ConfigError

ConfigT = TypeVar("ConfigT")


@dataclasses.dataclass(frozen=True)
class Session:
    """Options that a run is given each time it is started or continued.

    Attributes:
        devices: Devices to spread tasks over; by default the cores of a CPU (as many as share the
            tasks evenly), 1 accelerator, or all devices of several processes.
        coordinator: Process 0 of several that run together; auto lets JAX find it, as it always
            does under SLURM and on TPU pods.
        num_processes: How many processes run together.
        process_id: Which of them this is, from 0.
        track: Send the metrics there as well; WANDB_MODE=offline keeps them in the run directory.
    """

    devices: Annotated[str | None, tyro.conf.arg(metavar="N|all")] = None
    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT|auto")] = None
    num_processes: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    process_id: Annotated[int | None, tyro.conf.arg(metavar="I")] = None
    track: Annotated[Literal["wandb"] | None, tyro.conf.arg(metavar="wandb")] = None

    def __post_init__(self) -> None:
        """Raises `ConfigError` for what is no number of devices."""
        if self.devices not in (None, "all") and not str(self.devices).isdecimal():
            raise ConfigError(f"devices: must be a number or all, got {self.devices!r}")

    @property
    def num_devices(self) -> int | None:
        """How many devices were asked for; None for all of them, or where nothing was said."""
        return None if self.devices in (None, "all") else int(str(self.devices))

    def words(self) -> tuple[str, ...]:
        """The options that were given, as on the command line."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        pairs = [(_option(n), str(value)) for n, value in given.items() if value is not None]
        return tuple(word for pair in pairs for word in pair)


@dataclasses.dataclass(frozen=True)
class Options(Generic[ConfigT]):
    """What the command line consists of: options of the launcher and of the configuration.

    Attributes:
        preset: Preset that the other options start from.
        config_file: JSON file to start from instead, such as the config.json of a run.
        run_root: Directory that new run directories are made in.
        resume: Continue this run directory; takes no option of the configuration.
        num_seeds: Train so many seeds, from that of the configuration on, side by side as one
            program; each has a run directory of its own.
        session: what goes with `--resume` as well.
        config: the configuration.
    """

    preset: Annotated[str, tyro.conf.arg(metavar="NAME")]
    config_file: Annotated[str | None, tyro.conf.arg(name="config", metavar="FILE")]
    run_root: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN")]
    num_seeds: Annotated[int, tyro.conf.arg(metavar="N")]
    session: Annotated[Session, tyro.conf.arg(name="")]
    config: Annotated[ConfigT, tyro.conf.arg(name="")]


def read_options(
    default: Options[ConfigT], argv: Sequence[str], prog: str, description: str
) -> Options[ConfigT]:
    """Reads a command line.

    Args:
        default: what is not given.
        argv: the arguments.
        prog: how the program is called, for `--help`.
        description: what `--help` begins with.

    Raises:
        ConfigError: naming the first option that is unknown or has an impossible value.
    """
    options_class: Any = Options  # of a configuration whose class is known only here
    try:
        with tyro_errors.on_parse_error(lambda event: _refuse(event, default.config)):
            options, unknown = tyro.cli(
                options_class[type(default.config)],
                default=default,
                args=argv,
                prog=prog,
                description=description,
                return_unknown_args=True,
            )
    except ConfigError as error:  # of the configuration itself
        raise ConfigError(as_option(str(error), ())) from None
    if unknown:
        known = ["--preset", "--config", "--run-root", "--num-seeds"]
        known += [*_kept_on_resume(), *_option_names(default.config)]
        raise ConfigError(_unknown_option(unknown[0], known))
    if options.num_seeds < 1:
        raise ConfigError(f"--num-seeds: must be at least 1, got {options.num_seeds}")
    if options.resume is None and argument(argv, "--resume") is not None:
        # For tyro "None" is no run, and whoever wants to continue one would train from the start.
        raise ConfigError("--resume: must be a run directory, got None")
    if options.resume is not None:
        _require_resume_alone(argv, options.resume, options.config)
    return options


def call(function: Callable[..., Any], argv: Sequence[str] | None, prog: str) -> None:
    """Calls a function with what a command line says, for tools without presets.

    Args:
        function: its parameters are the options.
        argv: the arguments; those of the process for None.
        prog: how the program is called, for `--help`.

    Raises:
        ConfigError: naming the first option that is unknown, missing or has an impossible value.
    """
    known = [_option(name) for name in inspect.signature(function).parameters]

    def refuse(event: tyro_errors.ParseErrorEvent) -> NoReturn:
        unknown = getattr(event, "tokens", None) or getattr(event, "unrecognized_tokens", None)
        if unknown:
            raise ConfigError(_unknown_option(unknown[0], known)) from None
        for missing in getattr(event, "missing_arguments", ()):
            raise ConfigError(f"{_name_of(missing.arg)}: is required; see --help") from None
        _refuse(event, None)

    with tyro_errors.on_parse_error(refuse):
        tyro.cli(function, prog=prog, args=argv)


def argument(argv: Sequence[str], wanted: str) -> str | None:
    """The value of an option that has to be known before the others can be read."""
    found = None
    for i, word in enumerate(argv):
        option, equals, value = word.partition("=")
        if option == wanted:
            found = value if equals else next(iter(argv[i + 1 :]), "")
    return found


def with_rules(config: ConfigT, argv: Sequence[str], prefix: str = "--") -> ConfigT:
    """The configuration with the update rules that the command line names (`--master.rule`).

    Options that a preset gives to its own rule and that the named one does not have are left out;
    what else the command line says is read on top.

    Args:
        config: of an experiment, or a part of it.
        argv: the arguments.
        prefix: of the options of that part.

    Raises:
        ConfigError: there is no such rule, or it is not for that level.
    """
    hints = typing.get_type_hints(type(config), include_extras=True)
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if not dataclasses.is_dataclass(value):
            continue
        inner = prefix if _is_flat(hints[field.name]) else f"{prefix}{_words(field.name)}."
        changed[field.name] = with_rules(value, argv, inner)
    rule = argument(argv, f"{prefix}rule") if hasattr(config, "with_rule") else None
    try:
        if rule is not None:
            return config.with_rule(rule)  # type: ignore[attr-defined]
        return dataclasses.replace(config, **changed)  # type: ignore[type-var]
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from None


def as_option(message: str, path: Sequence[str] | None = None) -> str:
    """Completes a validation message, which starts with a field's name, to the option's.

    Args:
        message: the message; one that starts with no name stays as it is.
        path: the fields on the way to the configuration that refused its values, which may name a
            field of its parts (`master.num_minibatches`); None where that is not known, and what
            has a dot may as well be a file.
    """
    field, colon, reason = message.partition(": ")
    parts = [field] if path is None else field.split(".")
    if not colon or not all(part.isidentifier() for part in parts):
        return message
    path = path or ()
    return f"{_option('.'.join([*path, field]))}: {reason}"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The known names that are most like an unknown one, in words; nothing if none is."""
    name = name.replace("_", "-")
    last_part = name.strip("-").rpartition(".")[2]
    close = [k for k in known if last_part and k.strip("-").rpartition(".")[2] == last_part]
    close += [k for k in difflib.get_close_matches(name, known, n=2, cutoff=0.7) if k not in close]
    return f" (did you mean {' or '.join(close[:3])}?)" if close else ""


def _refuse(event: tyro_errors.ParseErrorEvent, config: Any) -> NoReturn:
    """Turns one of tyro's complaints into one line, `option: what is wrong`."""
    message = " ".join(getattr(event, "message", "needs a value").split())
    message = message.partition(". Got errors:")[0]  # of every type that it might have been
    argument = getattr(event, "argument", None)
    if argument is None:  # a configuration refused its fields, and the exception says which
        path = str(getattr(sys.exception(), "arg", "")).split(".")[1:]
        raise ConfigError(as_option(message, _visible_part(path, config))) from None
    if isinstance(event, tyro_errors.InvalidChoice):
        message = f"must be one of {', '.join(event.choices)}, got {event.value!r}"
    raise ConfigError(f"{_name_of(argument)}: {message}") from None


def _name_of(argument: Any) -> str:
    """One of tyro's arguments as it is typed."""
    return "/".join(argument.lowered.name_or_flags)


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


def _option(path: str) -> str:
    """The option of a field."""
    return f"--{_words(path)}"


def _words(path: str) -> str:
    """A field as it is called in options."""
    return path.replace("_", "-")


def _unknown_option(argument: str, known: Sequence[str]) -> str:
    if not argument.startswith("-"):
        return f"unexpected value {argument!r}; see --help (a switch is --flag or --no-flag)"
    name = argument.partition("=")[0]
    return f"{name}: unknown option{did_you_mean(name, known)}; see --help"


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


def _kept_on_resume() -> list[str]:
    return ["--resume", *(_option(field.name) for field in dataclasses.fields(Session))]


def typed_only(config: Any) -> dict[str, str]:
    """The options of fields that no file may set: a configuration's class lists them in `TYPED`."""
    return {name: _option(name) for name in getattr(config, "TYPED", ())}


def _require_resume_alone(argv: Sequence[str], resume: Path, config: Any) -> None:
    kept = [*_kept_on_resume(), *typed_only(config).values()]
    for argument in argv:
        option = argument.partition("=")[0].replace("_", "-")
        if option.startswith("-") and option not in kept:
            raise ConfigError(
                f"{option}: cannot be given with --resume, which continues with the configuration "
                f"in {resume / 'config.json'}"
            )
