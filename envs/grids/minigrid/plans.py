"""How soon the goal can be entered, by search."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from envs.grids.minigrid.rules import AHEAD, Layout


class Situation(NamedTuple):
    """What of a world the way to the goal depends on.

    A key need not be dropped, since who carries it can do all that others can, and a door need not
    be closed.
    """

    x: int
    y: int
    direction: int
    has_key: bool
    is_open: bool


def fewest_steps(layout: Layout) -> int | None:
    """Env steps until the goal is entered, at least; None where it cannot be.

    Args:
        layout: a single one, whose values are known.
    """
    walls = np.asarray(layout.walls)
    goal, door, key = (
        tuple(np.asarray(place).tolist()) for place in (layout.goal, layout.door, layout.key)
    )
    x, y = np.asarray(layout.start).tolist()
    first = Situation(x, y, int(layout.start_direction), has_key=False, is_open=False)
    steps, queue = {first: 0}, deque([first])
    while queue:
        now = queue.popleft()
        for then in _successors(now, walls, door, key):
            if then in steps:
                continue
            steps[then] = steps[now] + 1
            if (then.x, then.y) == goal:
                return steps[then]
            queue.append(then)
    return None


def _successors(
    now: Situation, walls: np.ndarray, door: tuple[int, ...], key: tuple[int, ...]
) -> Iterator[Situation]:
    """What an env step can make of a situation."""
    for turn in (-1, 1):
        yield now._replace(direction=(now.direction + turn) % len(AHEAD))
    step_x, step_y = AHEAD[now.direction].tolist()
    front = now.x + step_x, now.y + step_y
    if front == key and not now.has_key:
        yield now._replace(has_key=True)
    elif front == door and not now.is_open:
        if now.has_key:
            yield now._replace(is_open=True)
    elif not walls[front[1], front[0]]:
        yield now._replace(x=front[0], y=front[1])
