"""A point among hidden goals: small worlds in which the best return is known.

In each of them a point moves on a line or in a plane, by `STRIDE` times the action, which counts as
no longer than 1. A task is an index into the goals and pays near its own; the observation tells
where the point is and not which goal pays.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import State
from envs.errors import EnvError
from envs.grids.indexed import IndexedTasks, first_state, next_state, require_several
from envs.scene import NO_WALLS, Scene

STRIDE = 0.3
"""Distance covered by an action of length 1."""
EDGE = 3.0
"""No coordinate leaves [-EDGE, EDGE]; also the unit of the observation."""

_CLEAR = 0.05  # inside of an area, so that roundings do not leave it


@struct.dataclass
class GoalsWorld:
    """What changes in an episode.

    Attributes:
        position: of the point, float32 [d].
        has_key: 1 once the key was touched, where there is one, float32 scalar.
    """

    position: jax.Array
    has_key: jax.Array


class HiddenGoals(IndexedTasks):
    """M tasks, each of which pays at a goal of its own or of others too.

    The task (int32 scalar) is its index. Actions: float32 [d]. Observation, float32 [d + 1]: the
    position divided by `EDGE`, and 1.
    Reward: the task's pay within `radius` of its goal after the move, else 0. Never terminates,
    unless a world says so.
    """

    episode_length = 30
    num_actions = None

    def __init__(
        self, goals: np.ndarray, pays: tuple[float, ...], start: float, radius: float = 0.5
    ):
        """Makes the world.

        Args:
            goals: where they are, [M, d].
            pays: reward of each per step, M numbers.
            start: episodes start uniformly in [-start, start] in every coordinate.
            radius: a goal pays within this distance.

        Raises:
            EnvError: there are not as many pays as goals, or one is not positive.
        """
        _require_pays(pays, len(goals))
        self.goals = np.asarray(goals, np.float32)
        self.pays = np.asarray(pays, np.float32)
        self.start = start
        self.radius = radius
        self.task_names = tuple(f"goal_{index}" for index in range(len(goals)))

    @property
    def observation_size(self) -> int:
        """The position and 1."""
        return self.action_size + 1

    @property
    def action_size(self) -> int:
        """d, dimensions of the world."""
        return self.goals.shape[1]

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """All goals, by the first task that pays there, and the area around the one that pays."""
        goals = np.pad(self.goals, ((0, 0), (0, 2 - self.action_size)))  # a line lies at y = 0
        x, y = goals[int(task)].tolist()
        # Of tasks that pay at the same goal the first one names it.
        firsts = np.unique(goals, axis=0, return_index=True)[1]
        edge = EDGE + self.radius
        height = edge if self.action_size == 2 else 2 * self.radius
        x_start, y_start = (0.0, 0.0) if observation is None else self.positions(observation, {})
        return Scene(
            walls=NO_WALLS,
            start=(float(x_start), float(y_start)),
            bounds=(-edge, edge, -height, height),
            goal=(x, y),
            goal_radius=self.radius,
            marks=tuple((*goals[i].tolist(), str(i)) for i in sorted(firsts.tolist())),
            agent_radius=STRIDE / 2,
        )

    def positions(self, observation: np.ndarray, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        """X and y of the point, which are in the observation; y is 0 on a line."""
        del metrics
        places = EDGE * observation[..., : self.action_size]
        return np.pad(places, [(0, 0)] * (places.ndim - 1) + [(0, 2 - self.action_size)])

    def best_action(self, observation: jax.Array, task: jax.Array) -> jax.Array:
        """The action `[d]` of an optimal policy, which knows the task: straight to the goal."""
        return self._toward(jnp.asarray(self.goals)[task], observation)

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Puts the point near the middle."""
        size = (self.action_size,)
        world = GoalsWorld(
            position=jax.random.uniform(key, size, minval=-self.start, maxval=self.start),
            has_key=jnp.zeros(()),
        )
        return first_state(world, self._observe(world), task)

    def step(self, state: State, action: jax.Array) -> State:
        """Moves the point and pays for where it is then."""
        action = jnp.clip(action, -1.0, 1.0)
        length = jnp.linalg.norm(action)
        stride = STRIDE * action / jnp.maximum(length, 1.0)
        world = state.pipeline_state
        position = jnp.clip(world.position + stride, -EDGE, EDGE)
        world = dataclasses.replace(world, position=position)
        world = self._arrive(world, state.info["task"])
        reward = self._reward(world, state.info["task"])
        return next_state(state, world, self._observe(world), reward)

    def _arrive(self, world: GoalsWorld, task: jax.Array) -> GoalsWorld:
        """What else happens where the point is now."""
        del task
        return world

    def _reward(self, world: GoalsWorld, task: jax.Array) -> jax.Array:
        is_there = self._is_at(jnp.asarray(self.goals)[task], world.position)
        return jnp.asarray(self.pays)[task] * is_there

    def _observe(self, world: GoalsWorld) -> jax.Array:
        return jnp.append(world.position / EDGE, 1.0)

    def _is_at(self, goal: jax.Array, position: jax.Array) -> jax.Array:
        return (jnp.linalg.norm(position - goal) <= self.radius).astype(jnp.float32)

    def _toward(self, goal: jax.Array, observation: jax.Array) -> jax.Array:
        offset = (goal - EDGE * observation[: self.action_size]) / STRIDE
        return offset / jnp.maximum(jnp.linalg.norm(offset), 1.0)


class Corridor(HiddenGoals):
    """A line whose left or right end pays; episodes start in [-1, 1]."""

    name = "goal_corridor"

    def __init__(
        self, pays: tuple[float, float] = (1.0, 1.0), tasks_each: tuple[int, int] = (1, 1)
    ):
        """Makes the line.

        Args:
            pays: reward per step at the left and at the right end.
            tasks_each: how many tasks pay at the left and at the right end.

        Raises:
            EnvError: pays or tasks_each are not two positive numbers.
        """
        _require_pays(pays, 2)
        ends = _repeated(np.asarray([[-EDGE], [EDGE]]), tasks_each)
        super().__init__(ends, tuple(_repeated(np.asarray(pays), tasks_each)), start=1.0)


def _require_pays(pays: tuple[float, ...], number: int) -> None:
    if len(pays) != number or not all(pay > 0 for pay in pays):
        raise EnvError(f"pays must be {number} positive numbers, got {pays}")


def _repeated(goals: np.ndarray, tasks_each: tuple[int, ...]) -> np.ndarray:
    """Goals `[M', ...]` with one row for each task that pays there, `[M, ...]`."""
    whole = all(isinstance(number, int) and number > 0 for number in tasks_each)
    if len(tasks_each) != len(goals) or not whole:
        raise EnvError(f"tasks_each must be {len(goals)} positive integers, got {tasks_each}")
    return np.repeat(goals, tasks_each, axis=0)


def _around(num_goals: int) -> np.ndarray:
    """Goals in equal distances on a circle of radius 2, `[num_goals, 2]`."""
    require_several("num_goals", num_goals)
    angles = 2 * np.pi * np.arange(num_goals) / num_goals
    return 2.0 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


class Star(HiddenGoals):
    """Goals in equal distances on a circle of radius 2 around the start."""

    name = "goal_star"

    def __init__(
        self,
        num_goals: int = 4,
        radius: float = 0.5,
        tasks_each: tuple[int, ...] = (),
        effort: float = 0.0,
    ):
        """Makes the plane.

        Args:
            num_goals: at least 2.
            radius: a goal pays within this distance.
            tasks_each: how many tasks pay at each goal, in the order of the goals; one, if empty.
            effort: what an action of length 1 costs, a shorter one by the square of its length; in
                [0, 1], so that it is worth its while to hurry.

        Raises:
            EnvError: there are less than 2 goals, or not as many numbers of tasks, or the effort is
                another number.
        """
        if not 0 <= effort <= 1:
            raise EnvError(f"effort must be between 0 and 1, got {effort}")
        goals = _repeated(_around(num_goals), tasks_each or (1,) * num_goals)
        super().__init__(goals, (1.0,) * len(goals), start=0.5, radius=radius)
        self.effort = effort

    def best_action(self, observation: jax.Array, task: jax.Array) -> jax.Array:
        """Straight to the goal; where moves cost, in equal ones and no further than it pays."""
        if not self.effort:
            return super().best_action(observation, task)
        offset = jnp.asarray(self.goals)[task] - EDGE * observation[: self.action_size]
        distance = jnp.maximum(jnp.linalg.norm(offset), 1e-6)
        missing = jnp.maximum(distance - self.radius, 0.0) / STRIDE
        # Into the area and not to its edge, which roundings may leave.
        missing = jnp.where(missing > 0, missing + _CLEAR, 0.0)
        return missing / jnp.maximum(jnp.ceil(missing), 1.0) * offset / distance

    def step(self, state: State, action: jax.Array) -> State:
        """Moves the point, for a price."""
        stepped = super().step(state, action)
        if not self.effort:
            return stepped
        length = jnp.minimum(jnp.linalg.norm(jnp.clip(action, -1.0, 1.0)), 1.0)
        return stepped.replace(reward=stepped.reward - self.effort * length**2)


class OneTaskEach(HiddenGoals):
    """The goals of a star, of which each is that of one task; episodes start within `START`."""

    START = 0.5

    def __init__(self, num_goals: int = 4):
        """Makes the plane.

        Args:
            num_goals: M, at least 2.

        Raises:
            EnvError: there are less than 2 goals.
        """
        super().__init__(_around(num_goals), (1.0,) * num_goals, start=self.START)


class Near(OneTaskEach):
    """The goals of a star, where every step costs the distance from the goal of the task."""

    name = "goal_near"

    def _reward(self, world: GoalsWorld, task: jax.Array) -> jax.Array:
        return -jnp.linalg.norm(world.position - jnp.asarray(self.goals)[task])


class Race(OneTaskEach):
    """The goals of a star, where every step costs 1 and the goal of the task ends the episode."""

    name = "goal_race"

    def __init__(self, num_goals: int = 3):
        """Makes the plane.

        Args:
            num_goals: M, at least 2.

        Raises:
            EnvError: there are less than 2 goals.
        """
        super().__init__(num_goals)

    def step(self, state: State, action: jax.Array) -> State:
        """Moves the point, which costs 1; it is over where the goal is."""
        stepped = super().step(state, action)
        return stepped.replace(reward=-jnp.ones(()), done=stepped.reward)


class Ridges(OneTaskEach):
    """The goals of a star, with ways to them off which one falls, and that is the end.

    On a disc in the middle and on a straight way of half a width `HALF_WIDTH` to each goal and
    beyond it there is ground.
    """

    HALF_WIDTH = 0.5
    DISC = 0.8

    name = "goal_ridges"
    START = 0.3

    def step(self, state: State, action: jax.Array) -> State:
        """Moves the point, which falls where there is no ground."""
        stepped = super().step(state, action)
        position = stepped.pipeline_state.position
        directions = jnp.asarray(self.goals) / jnp.linalg.norm(self.goals, axis=1, keepdims=True)
        along = directions @ position  # [M]
        across = jnp.linalg.norm(position - along[:, None] * directions, axis=1)
        has_ground = jnp.any((along >= 0) & (across <= self.HALF_WIDTH))
        has_ground |= jnp.linalg.norm(position) <= self.DISC
        return stepped.replace(done=1.0 - has_ground.astype(jnp.float32))


class Relay(HiddenGoals):
    """A line with a key at one end and a door at the other, which pays whoever has the key.

    The task says at which end the door is, -1 (0) or 1 (1). Sub-policies see the position and 1,
    masters also whether the key was touched: whoever fetches it is paid for what another one makes
    of it.
    """

    name = "goal_relay"
    episode_length = 60

    def __init__(self):
        """Makes the line."""
        super().__init__(np.asarray([[-1.0], [1.0]]), (1.0, 1.0), start=0.3)

    @property
    def observation_size(self) -> int:
        """The position, 1, and whether the key was touched."""
        return 3

    @property
    def subpolicy_observation_indices(self) -> tuple[int, ...]:
        """All but the key."""
        return (0, 1)

    def best_action(self, observation: jax.Array, task: jax.Array) -> jax.Array:
        """Just into reach of the key, then to the door."""
        door = jnp.asarray(self.goals)[task]
        # Nobody goes further than that: each move back from there would have to be made again.
        reach = -door * (1 - self.radius + _CLEAR)
        return self._toward(jnp.where(observation[2] > 0, door, reach), observation)

    def _arrive(self, world: GoalsWorld, task: jax.Array) -> GoalsWorld:
        at_key = self._is_at(-jnp.asarray(self.goals)[task], world.position)
        return dataclasses.replace(world, has_key=jnp.maximum(world.has_key, at_key))

    def _reward(self, world: GoalsWorld, task: jax.Array) -> jax.Array:
        return world.has_key * super()._reward(world, task)

    def _observe(self, world: GoalsWorld) -> jax.Array:
        return jnp.append(super()._observe(world), world.has_key)
