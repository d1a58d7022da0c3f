"""Faults in the worlds."""

from .fault import Fault

_OF_MINIGRID = ("envs/test_minigrid.py",)

FAULTS = (
    # The rooms of minigrid.
    Fault(
        "minigrid: a closed door hides nothing",
        "envs/grids/minigrid/view.py",
        "is_clear = ~is_wall & ~(is_door & (world.door != OPEN))",
        "is_clear = ~is_wall",
        _OF_MINIGRID,
    ),
    Fault(
        "minigrid: a door opens without its key",
        "envs/grids/minigrid/rules.py",
        "is_door & ((world.door != LOCKED) | world.has_key)",
        "is_door",
        _OF_MINIGRID,
    ),
    Fault(
        "masters of the humanoid's course see no height",
        "envs/locomotion/humanoid.py",
        "return 0, 1, 2",
        "return 0, 1",
        ("envs/test_humanoid.py",),
    ),
    Fault(
        "minigrid: what is carried is not seen",
        "envs/grids/minigrid/view.py",
        "jnp.where(world.has_key, _KEY, _EMPTY)",
        "_EMPTY",
        _OF_MINIGRID,
    ),
    Fault(
        "minigrid: a key is dropped into an open door",
        "envs/grids/minigrid/rules.py",
        "~(is_wall | is_goal | is_door)",
        "~(is_wall | is_goal)",
        _OF_MINIGRID,
    ),
    Fault(
        "minigrid: the goal pays as if the step had not counted",
        "envs/grids/minigrid/tasks.py",
        "jnp.asarray(self._pay)[world.steps]",
        "jnp.asarray(self._pay)[world.steps - 1]",
        _OF_MINIGRID,
    ),
    Fault(
        "minigrid: the agent may start in the goal",
        "envs/grids/minigrid/layouts.py",
        "start = _pick_cell(chance[0], _with(~walls, goal, False))",
        "start = _pick_cell(chance[0], jnp.asarray(~walls))",
        _OF_MINIGRID,
    ),
)
