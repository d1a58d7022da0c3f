"""The list of environments, and how a name becomes one.

A line of the table names an environment's module and class. It is imported when an environment is
made: importing this module costs nothing.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import TYPE_CHECKING, Any

from envs.errors import EnvError

if TYPE_CHECKING:
    from envs.base import TaskEnv
    from envs.wrappers import EpisodeWrapper

_ENTRIES: dict[str, str | type[TaskEnv]] = {
    "all_walk": "envs.grids.points:AllWalk",
    "ant_bandits": "envs.locomotion.ant_bandits:AntBandits",
    "ant_maze": "envs.locomotion.ant_maze:AntMaze",
    "ant_obstacle": "envs.locomotion.ant_obstacle:AntObstacle",
    "ant_obstacle_big": "envs.locomotion.ant_obstacle:AntObstacleBig",
    "ant_twowalk": "envs.locomotion.ant_twowalk:AntTwoWalk",
    "corner_rooms": "envs.grids.rooms:CornerRooms",
    "four_rooms": "envs.grids.four_rooms:FourRooms",
    "goal_corridor": "envs.grids.goals:Corridor",
    "goal_near": "envs.grids.goals:Near",
    "goal_race": "envs.grids.goals:Race",
    "goal_relay": "envs.grids.goals:Relay",
    "goal_ridges": "envs.grids.goals:Ridges",
    "goal_star": "envs.grids.goals:Star",
    "handover_chain": "envs.grids.chain:HandoverChain",
    "hidden_codes": "envs.grids.codes:HiddenCodes",
    "hidden_patterns": "envs.grids.switches:HiddenPatterns",
    "humanoid_course": "envs.locomotion.humanoid:HumanoidCourse",
    "humanoid_walk_crawl": "envs.locomotion.humanoid:HumanoidWalkCrawl",
    "key_door": "envs.grids.points:KeyDoor",
    "minigrid_door_key_5x5": "envs.grids.minigrid.tasks:DoorKey",
    "minigrid_empty": "envs.grids.minigrid.tasks:Empty",
    "minigrid_four_rooms": "envs.grids.minigrid.tasks:FourRooms",
    "minigrid_mixed": "envs.grids.minigrid.tasks:Mixed",
    "moving_bandits": "envs.grids.points:MovingBandits",
    "swimmer_bandits": "envs.locomotion.swimmer_bandits:SwimmerBandits",
    "taxi": "envs.grids.taxi:Taxi",
    "wheel_speeds": "envs.grids.wheel:WheelSpeeds",
}


def names() -> tuple[str, ...]:
    """Returns the names that `make` knows, sorted."""
    return tuple(sorted(_ENTRIES))


def register(name: str, entry: str | type[TaskEnv]) -> None:
    """Gives an environment a name, under which `make` finds it from then on.

    Registering the same entry once more changes nothing.

    Args:
        name: without a colon.
        entry: a subclass of `envs.base.TaskEnv`, or where to find one, "module:Class"; that module
            is imported when the environment is first made.

    Raises:
        EnvError: if the name belongs to another environment, or one of both cannot be used.
    """
    if not name or ":" in name:
        raise EnvError(f"{name!r} cannot be the name of an environment: it is empty or has a colon")
    if isinstance(entry, str):
        _split(entry)
    elif not isinstance(entry, type):
        raise EnvError(f'environment {name!r}: expected "module:Class" or a class, got {entry!r}')
    taken = _ENTRIES.get(name, entry)
    if _address(taken) != _address(entry):
        raise EnvError(f"the name {name!r} is taken by {_address(taken)}")
    # A class that was defined anew, as in a notebook, takes the place of its older self.
    _ENTRIES[name] = entry


def make(
    name: str | type[TaskEnv], *, episode_length: int | None = None, **options: Any
) -> EpisodeWrapper:
    """Makes a task distribution with a time limit.

    Args:
        name: one of `names()`, "module:Class" for an environment that has no name, or its class.
        episode_length: env steps until an episode is truncated; the environment's own if None.
        **options: keyword arguments of the environment's class, whose docstring explains them
            (`help(type(envs.make(name).unwrapped))`).

    Returns:
        The environment inside an `EpisodeWrapper`.

    Raises:
        EnvError: if the name, an option or its value is not known; the message lists what is.
    """
    cls: Any = _find(name)
    _check_options(cls, _address(name), options)
    env = _make_unlimited(cls, **dict(sorted(options.items())))
    wrappers = importlib.import_module("envs.wrappers")
    return wrappers.EpisodeWrapper(
        env, env.episode_length if episode_length is None else episode_length
    )


def _find(name: str | type[TaskEnv]) -> type[TaskEnv]:
    """Returns the class of a registered name, of "module:Class", or the class that is given."""
    if not isinstance(name, str):
        return _checked(name, _address(name))
    entry = _ENTRIES.get(name, name)
    if not isinstance(entry, str):
        return _checked(entry, name)
    if ":" not in entry:
        known = ", ".join(names())
        raise EnvError(f'unknown environment {name!r}; known: {known}, or any "module:Class"')
    module_name, class_name = _split(entry)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Of a module that exists but fails to import another one, the whole traceback is shown.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise EnvError(f"environment {name!r}: there is no module {error.name!r}") from error
    if not hasattr(module, class_name):
        raise EnvError(f"environment {name!r}: {module_name} has no class {class_name!r}")
    return _checked(getattr(module, class_name), name)


def _checked(cls: Any, name: str) -> type[TaskEnv]:
    """Returns `cls` if it is the class of a task distribution, else raises an EnvError."""
    base = importlib.import_module("envs.base")
    if not isinstance(cls, type) or not issubclass(cls, base.TaskEnv):
        raise EnvError(f"environment {name!r}: {_address(cls)} is no subclass of envs.base.TaskEnv")
    missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
    if missing:
        raise EnvError(f"environment {name!r}: {_address(cls)} does not define {missing}")
    return cls


def _split(entry: str) -> tuple[str, str]:
    """Splits "module:Class"; EnvError where it is not of that form."""
    module_name, _, class_name = entry.partition(":")
    is_module = all(part.isidentifier() for part in module_name.split("."))
    if not is_module or not class_name.isidentifier():
        raise EnvError(f'expected an environment as "module:Class", got {entry!r}')
    return module_name, class_name


def _address(entry: Any) -> str:
    """Where an environment is: "module:Class" for a class, a string as it is."""
    if isinstance(entry, type):
        return f"{entry.__module__}:{entry.__qualname__}"
    return str(entry)


@functools.lru_cache(typed=True)
def _make_unlimited(cls: type[TaskEnv], **options: Any) -> TaskEnv:
    """One instance per class and options: they hold no state, and JAX traces each only once."""
    env = cls(**options)
    if cls.__module__.partition(".")[0] != __package__:
        importlib.import_module("envs.contract").check(env, _address(cls))
    return env


def _check_options(cls: type, name: str, options: dict[str, Any]) -> None:
    """Raises an EnvError where the constructor of `cls` cannot be called with `options`."""
    parameters = inspect.signature(cls).parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    known = [parameter.name for parameter in named]
    for option, value in options.items():
        if option not in known and not takes_any:
            listed = ", ".join(known) if known else "none"
            raise EnvError(f"unknown option {option!r} for {name}; it takes: {listed}")
        try:
            hash(value)
        except TypeError:
            raise EnvError(
                f"option {option!r} of {name}: must be hashable, such as a tuple, got {value!r}"
            ) from None
    for parameter in named:
        if parameter.default is parameter.empty and parameter.name not in options:
            raise EnvError(f"{name} needs the option {parameter.name!r}, which has no default")
