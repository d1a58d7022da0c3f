"""Random command lines: ones that are possible, changed in a few places."""

import dataclasses
import importlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments import table
from mlsh_jax.host.options import Session, _option_names

NUMBERS = [
    "-1", "0", "1", "2", "3", "7", "100", "2147483647", "2147483648", "4294967296", str(10**23),
    "1e30", "-1e30", "1e-320", "0.5", "-0.0", "nan", "inf", "-inf", "1e400", "0x10", "1_000",
]  # fmt: skip
TEXTS = [
    "", " ", "-", "--", "None", "null", "true", "ä→🐜", "a b", "[1]", "a[", "{}", "()", "*", "~",
    "$(touch pwned)", "`touch pwned`", "; touch pwned", "%s%n", "\\", "'", '"', "../x", "/",
    "/dev/null", "a\nb", "\x1b[31mred", "a\x7fb", "ppo", "smoke", "all", "os:system", "a:b:c", ".",
    "x" * 5000, "1 2", "\u202egnol",
]  # fmt: skip
LAUNCHER = ["--preset", "--config", "--resume", "--num-seeds", "--devices", "--process-id"]
LAUNCHER += ["--coordinator", "--num-processes", "--track"]
FILES = ["--config", "--checkpoint", "--subpolicies", "--space", "--run", "RUN"]

# What makes every run a small one; options that come later win.
_TRAINING = ["--preset", "smoke"]
POSSIBLE: dict[str, list[str]] = {
    **{name: _TRAINING for name in table.names("training", "course")},
    "transfer": [*_TRAINING, "--checkpoint", "{run}", "--env", "moving_bandits"],
    "baseline": [*_TRAINING, "--env", "moving_bandits"],
    "sweep": _TRAINING,
    "ablation": ["--seeds", "1", "--meta-iterations", "1"],
    "rules": ["--seeds", "1", "--meta-iterations", "1"],
    "separation": ["--seeds", "1", "--meta-iterations", "1", "--cases", "corridor"],
    "limits": ["--steps", "1", "--num-subpolicies", "2", "--macro-lengths", "25"],
    "report": ["{run}"],
    "bundle": ["--run", "{run}", "--directory", "root/bundled"],
}
ROOT_OPTION = {"report": "--out"} | dict.fromkeys(
    ("ablation", "limits", "rules", "separation"), "--results"
)
TOOL_OPTIONS = {
    "ablation": ["--results", "--seeds", "--meta-iterations", "--only"],
    "rules": ["--results", "--seeds", "--meta-iterations", "--only"],
    "separation": ["--results", "--seeds", "--meta-iterations", "--cases", "--variants"],
    "limits": [
        "--results",
        "--num-subpolicies",
        "--macro-lengths",
        "--steps",
        "--starts",
    ],
    "report": ["--out", "--metric", "RUN"],
    "bundle": ["--run"],
}


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A command line and where it may write.

    Attributes:
        name: of the experiment.
        arguments: what follows it.
        root: what it may make below the directory that it is typed in.
    """

    name: str
    arguments: list[str]
    root: str


def command_line(rng: random.Random, files: Sequence[Path], run: Path) -> CommandLine:
    """A random command line.

    Args:
        rng: what is random.
        files: of all kinds, good and bad ones, and directories.
        run: of moving_bandits, finished.
    """
    name = rng.choice(list(table.TABLE))
    if rng.random() < 0.1 and name not in TOOL_OPTIONS:
        return _resuming(rng, name, files)
    arguments = [argument.replace("{run}", str(run)) for argument in POSSIBLE[name]]
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3])):
        arguments = _change(rng, name, arguments, files)
    root = "root"
    if rng.random() < 0.1 and name != "bundle":
        root = rng.choice([text for text in TEXTS if not text.startswith(("/", "-", ".", "~"))])
    if name != "bundle":
        # As one word, so that no text is taken for an option.
        arguments.append(f"{ROOT_OPTION.get(name, '--run-root')}={root}")
    if rng.random() < 0.03:
        arguments.append(rng.choice(["--help", "-h"]))
    return CommandLine(name, arguments, root)


def options_of(name: str) -> list[str]:
    """The options of an experiment, but for the one that says where it writes."""
    if name in TOOL_OPTIONS:
        return [option for option in TOOL_OPTIONS[name] if option != ROOT_OPTION.get(name)]
    presets = importlib.import_module(table.module_name(name)).PRESETS
    return [*LAUNCHER, *_option_names(presets["default"].config)]


def _resuming(rng: random.Random, name: str, files: Sequence[Path]) -> CommandLine:
    """A run is to be continued: a copy in `root/run`, or something that is none."""
    name = rng.choice([name, "moving_bandits", "moving_bandits"])
    run = rng.choice(["root/run", *map(str, files), *TEXTS])
    arguments = _given(rng, "--resume", run)
    option = rng.choice(options_of(name))
    more = [[], [], [], [option], _given(rng, option, rng.choice(NUMBERS)), [rng.choice(TEXTS)]]
    return CommandLine(name, [*arguments, *rng.choice(more)], "root")


def _change(
    rng: random.Random, name: str, arguments: list[str], files: Sequence[Path]
) -> list[str]:
    """The command line with something else in it."""
    options = options_of(name)
    option = rng.choice(options)
    switches = [other for other in options if _switch(other) in options or "no-" in other]
    valued = rng.choice([other for other in options if other not in switches])
    changes: list[tuple[int, Callable[[], list[str]]]] = [
        (10, lambda: [*arguments, *_given(rng, valued, rng.choice(NUMBERS))]),
        (2, lambda: [*arguments, *_given(rng, option, rng.choice(NUMBERS))]),
        (4, lambda: [*arguments, *_given(rng, valued, rng.choice(TEXTS))]),
        (4, lambda: [*arguments, *_given(rng, _file_option(rng, name), str(rng.choice(files)))]),
        (2, lambda: [*arguments, option]),
        (2, lambda: [*arguments, rng.choice(switches or options)]),
        (2, lambda: [*arguments, *_given(rng, _misspelled(rng, option), rng.choice(NUMBERS))]),
        (1, lambda: [*arguments, rng.choice(TEXTS + NUMBERS)]),
        (2, lambda: [*arguments, *_given(rng, valued, _known(rng))]),
        (1, lambda: arguments[rng.randrange(len(arguments) + 1) :]),
        (1, lambda: rng.sample(arguments, len(arguments))),
    ]
    (change,) = rng.choices([c for _, c in changes], [weight for weight, _ in changes])
    return change()


def _switch(option: str) -> str:
    """What switches an option off, if it is a switch."""
    prefix, dot, name = option.removeprefix("--").rpartition(".")
    return f"--{prefix}{dot}no-{name}"


def _given(rng: random.Random, option: str, value: str) -> list[str]:
    """An option with its value, in one word or in two."""
    if option == "RUN":
        return [value]
    return [f"{option}={value}"] if rng.random() < 0.5 else [option, value]


def _file_option(rng: random.Random, name: str) -> str:
    """An option that takes a file, of this experiment where it has any."""
    own = [option for option in FILES if option in options_of(name)]
    return rng.choice(own or FILES)


def _misspelled(rng: random.Random, option: str) -> str:
    place = rng.randrange(2, len(option))
    return option[:place] + rng.choice(["", "x", "_", "."]) + option[place + 1 :]


def _known(rng: random.Random) -> str:
    """A word that means something somewhere."""
    words = ["ppo", "dqn", "trpo", "a2c", "paper", "default", "ant_maze", "ant_twowalk", "grid"]
    words += [
        "policy_per_task",
        "untrained_subpolicies",
        "num_points=3",
        "goals=unseen",
        "split=test",
        "backend=mjx",
    ]
    words += ["single_policy", "moving_bandits", "swimmer_bandits", "random", "hierarchy"]
    words += [*table.TABLE, *(field.name for field in dataclasses.fields(Session))]
    return rng.choice(words)
