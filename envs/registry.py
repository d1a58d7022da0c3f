"""The list of environments, and how a name becomes one.

Environments are named here by module and class and imported when they are made: importing
this module costs nothing.
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

_CLASSES = {
    "ant_bandits": ("envs.locomotion.ant_bandits", "AntBandits"),
    "ant_maze": ("envs.locomotion.ant_maze", "AntMaze"),
    "ant_obstacle": ("envs.locomotion.ant_obstacle", "AntObstacle"),
    "ant_obstacle_big": ("envs.locomotion.ant_obstacle", "AntObstacleBig"),
    "ant_twowalk": ("envs.locomotion.ant_twowalk", "AntTwoWalk"),
    "moving_bandits": ("envs.grids.points", "MovingBandits"),
    "swimmer_bandits": ("envs.locomotion.swimmer_bandits", "SwimmerBandits"),
}


def names() -> tuple[str, ...]:
    """Returns the names that `make` knows, sorted."""
    return tuple(sorted(_CLASSES))


def make(name: str, *, episode_length: int | None = None, **options: Any) -> EpisodeWrapper:
    """Makes a task distribution with a time limit.

    Args:
        name: one of `names()`.
        episode_length: env steps until an episode is truncated; the environment's own if None.
        **options: keyword arguments of the environment's class; its docstring says more:
            `backend` (all but moving_bandits): "spring" or "generalized" for ants, "mjx" or
                "generalized" for the swimmer.
            `position_visible` (all but moving_bandits): whether sub-policies see x and y.
            `reward`: "pace", "velocity" or "distance" (ant_twowalk), "progress" or "distance"
                (ant_bandits, swimmer_bandits), "pace" or "velocity" (ant_maze).
            `layouts` (ant_maze): "training", "unseen" or "all".
            `start` (ant_maze): "fixed" or "anywhere".

    Returns:
        The environment inside an `EpisodeWrapper`.

    Raises:
        EnvError: if the name, an option or its value is not known; the message lists what is.
    """
    if name not in _CLASSES:
        raise EnvError(f"unknown environment {name!r}; known: {', '.join(names())}")
    module, class_name = _CLASSES[name]
    cls = getattr(importlib.import_module(module), class_name)
    known = _option_names(cls)
    for option in options:
        if option not in known:
            listed = ", ".join(known) if known else "none"
            raise EnvError(f"unknown option {option!r} for {name}; it takes: {listed}")
    env = _make_unlimited(cls, tuple(sorted(options.items())))
    wrappers = importlib.import_module("envs.wrappers")
    return wrappers.EpisodeWrapper(
        env, env.episode_length if episode_length is None else episode_length
    )


@functools.lru_cache
def _make_unlimited(cls: type[TaskEnv], options: tuple[tuple[str, Any], ...]) -> TaskEnv:
    """One instance per class and options: they hold no state, and JAX traces each only once."""
    return cls(**dict(options))


def _option_names(cls: type) -> tuple[str, ...]:
    """Returns the keyword arguments of a class's constructor, none if it has no constructor."""
    return tuple(inspect.signature(cls).parameters)
