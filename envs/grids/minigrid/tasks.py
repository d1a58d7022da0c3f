"""The task distributions: a way to draw layouts, and a time limit."""

import abc
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from envs.base import State, TaskEnv
from envs.grids.minigrid import layouts, view
from envs.grids.minigrid.plans import fewest_steps
from envs.grids.minigrid.rules import AHEAD, DONE, OPEN, Layout, World, act, begin
from envs.scene import Scene

UNIT = 8.0
"""Unit of the view in the observation: the largest number that is ever in it, that of a goal, and a
power of two, so that `UNIT` times the observation is exactly the package's image."""

_VIEW_SIZE = 3 * view.SIZE**2


class MiniGrid(TaskEnv):
    """Layouts under the rules of `minigrid`; the task is a `Layout`.

    Actions: 0 turn left, 1 turn right, 2 go forward, 3 pick up, 4 drop, 5 toggle the door, 6 done,
    which does nothing. Observation, float32 [151]: the package's image of the 7 x 7 cells ahead,
    divided by `UNIT` (first what is in each cell, then the colors, then the states, by column and
    row); and the direction, one-hot in the order right, down, left, up. Reward: 1 - 0.9 t / T in
    the step t that enters the goal, else 0; entering it terminates. T is that of the definition,
    also where `envs.make` is given another time limit; later than T the goal pays 0.1.

    A last step that enters the goal has terminated and is not truncated as well, unlike in the
    package. Layouts are drawn and not listed, since even the smallest distribution has dozens.
    """

    backend = "none"
    num_actions = DONE + 1
    action_size = 1
    observation_size = _VIEW_SIZE + len(AHEAD)
    task_names = ()

    def __init__(self) -> None:
        """Computes what the goal pays."""
        # In double precision, as in the package, and only then rounded.
        share = np.arange(self.episode_length + 1) / self.episode_length
        self._pay = (1 - 0.9 * share).astype(np.float32)

    @abc.abstractmethod
    def sample_task(self, key: jax.Array) -> Layout:
        """Draws a layout as the package does in a reset."""

    def all_tasks(self) -> None:
        """None: layouts are too many to be listed."""
        return None

    def best_return_of(self, task: Layout, episode_length: int) -> float:
        """What the shortest way to the goal pays, 0 where it is longer than an episode."""
        steps = fewest_steps(task)
        if steps is None or steps > episode_length:
            return 0.0
        return float(self._pay[min(steps, len(self._pay) - 1)])

    def reset_to_task(self, key: jax.Array, task: Layout) -> State:
        """Starts where the layout says; nothing else is random."""
        del key
        zero = jnp.zeros((), jnp.float32)
        world = begin(task)
        return State(
            world, _observe(task, world), zero, zero, _metrics(world, zero), {"task": task}
        )

    def step(self, state: State, action: jax.Array) -> State:
        """Acts; the episode ends in the goal."""
        task = state.info["task"]
        world, arrives = act(task, state.pipeline_state, jnp.reshape(action, ()).astype(jnp.int32))
        success = arrives.astype(jnp.float32)
        return state.replace(
            pipeline_state=world,
            obs=_observe(task, world),
            reward=success * jnp.asarray(self._pay)[world.steps],
            done=success,
            metrics=_metrics(world, success),
        )

    def scene(self, task: Layout, observation: np.ndarray | None = None) -> Scene:
        """The grid, a cell being 1 by 1, with its first row on top; door and key at their start."""
        del observation
        walls = np.asarray(task.walls)
        last_y, last_x = np.argwhere(~walls).max(axis=0) + 1  # the rest of a padded grid is wall
        rows, columns = np.nonzero(walls[: last_y + 1, : last_x + 1])
        half = np.full(len(rows), 0.5)
        places = {"door": _picture_point(task.door), "key": _picture_point(task.key)}
        return Scene(
            walls=np.stack([columns, -rows, half, half], axis=-1).astype(np.float32),
            start=_picture_point(task.start),
            bounds=(-0.5, float(last_x) + 0.5, -float(last_y) - 0.5, 0.5),
            goal=_picture_point(task.goal),
            goal_radius=0.5,
            marks=tuple((x, y, name) for name, (x, y) in places.items() if x >= 0),
            items=tuple(name for name, (x, _) in places.items() if x >= 0),
            agent_radius=0.3,
        )

    def headings(self, observation: np.ndarray) -> np.ndarray:
        """Where the agent faces, as the observation says."""
        ahead = AHEAD[np.argmax(observation[..., _VIEW_SIZE:], axis=-1)]
        return np.arctan2(-ahead[..., 1], ahead[..., 0])  # rows are counted from the top

    def item_positions(
        self, task: Layout, observation: np.ndarray, metrics: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """The door while it is not open, and the key, carried or not."""
        key_at_first, door = _picture_point(task.key), _picture_point(task.door)
        starts = np.broadcast_to(key_at_first, (len(observation), 1, 2))
        key = np.stack([metrics["key_x"], metrics["key_y"]], axis=-1)
        is_open = np.pad(metrics["door_open"], ((0, 0), (1, 0)))[..., None] > 0
        paths = {
            "door": np.where(is_open, np.nan, door),
            "key": np.concatenate([starts, key], axis=1),
        }
        there = [paths[name] for name in self.scene(task).items]
        none = super().item_positions(task, observation, metrics)
        return np.stack(there, axis=-2) if there else none


class Empty(MiniGrid):
    """One room, 8 x 8 with its walls, the goal in a corner, the agent anywhere; walls hide nothing.

    `MiniGrid-Empty-8x8-v0` with the random start of the package's `Empty-Random` rooms
    (`agent_start_pos=None`), without which it has a single layout.
    """

    name = "minigrid_empty"
    episode_length = 4 * layouts.EMPTY_SIZE**2

    def sample_task(self, key: jax.Array) -> Layout:
        """Draws where the agent starts."""
        return layouts.draw_empty(layouts.chances(key))


class DoorKey(MiniGrid):
    """A key, a locked door that it opens, and the goal behind: `MiniGrid-DoorKey-5x5-v0`."""

    name = "minigrid_door_key_5x5"
    episode_length = 10 * layouts.DOOR_KEY_SIZE**2

    def sample_task(self, key: jax.Array) -> Layout:
        """Draws where the door, the key and the agent are."""
        return layouts.draw_door_key(layouts.chances(key))


class FourRooms(MiniGrid):
    """Four rooms with gaps between them, 19 x 19 with walls: `MiniGrid-FourRooms-v0`."""

    name = "minigrid_four_rooms"
    episode_length = 100

    def sample_task(self, key: jax.Array) -> Layout:
        """Draws where the gaps, the goal and the agent are."""
        return layouts.draw_four_rooms(layouts.chances(key))


class Mixed(MiniGrid):
    """A third of the layouts are those of `Empty`, `DoorKey` and `FourRooms` each.

    All have the time limit of the longest, as the package has it with `max_steps=256`.
    """

    name = "minigrid_mixed"
    episode_length = max(kind.episode_length for kind in (Empty, DoorKey, FourRooms))

    def sample_task(self, key: jax.Array) -> Layout:
        """Draws one of the three and its layout."""
        return layouts.draw_any(layouts.chances(key))


def _observe(layout: Layout, world: World) -> jax.Array:
    image = [channel.reshape(-1) / UNIT for channel in view.look(layout, world)]
    return jnp.concatenate([*image, jax.nn.one_hot(world.direction, len(AHEAD))])


def _metrics(world: World, success: jax.Array) -> dict[str, jax.Array]:
    x, y = world.place.astype(jnp.float32)
    key_x, key_y = jnp.where(world.has_key, world.place, world.key).astype(jnp.float32)
    is_open = (world.door == OPEN).astype(jnp.float32)
    return {
        "success": success,
        "x_position": x,
        "y_position": -y,
        "key_x": key_x,
        "key_y": -key_y,
        "door_open": is_open,
    }


def _picture_point(place: jax.Array) -> tuple[float, float]:
    """Where a place is drawn, whose rows are counted from the top."""
    x, y = np.asarray(place).tolist()
    return float(x), -float(y)
