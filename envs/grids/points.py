"""Points in a square: moving_bandits, key_door and all_walk.

Frans et al. 2018, section 6.2 and the authors' released environments, whose numbers these are. An
agent in the middle of the square can stay or move by a stride; what differs is what pays. In
moving_bandits walking straight to the paying point earns 43.76 on average over an episode of 50
steps, the fewest moves to where it pays earn 43.81, and walking to another one 2.15.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import State, TaskEnv
from envs.grids.indexed import IndexedTasks, first_state, next_state, require_several
from envs.scene import NO_WALLS, Scene

SIZE = 400.0
"""Side of the square in which the points are drawn; also the unit of the observation."""
START = (200.0, 200.0)
"""Where the agent starts."""
STRIDE = 20.0
"""Distance covered by one move."""
RADIUS = 50.0
"""The reward is paid strictly within this distance of the task's point."""

DISTANCE_SCALE = 5000.0
"""What a distance is divided by in the reward of all_walk."""

_MOVES = ((0.0, 0.0), (STRIDE, 0.0), (-STRIDE, 0.0), (0.0, STRIDE), (0.0, -STRIDE))


@struct.dataclass
class BanditsWorld:
    """What moves and what does not, in world units.

    Attributes:
        agent: float32 [2], x and y; may leave the square.
        points: float32 [M, 2], uniform in the square.
    """

    agent: jax.Array
    points: jax.Array


class MovingBandits(IndexedTasks):
    """M points, one of which pays; the task (int32 scalar) is its index.

    Actions: 0 stay, 1 right (+x), 2 left, 3 up (+y), 4 down. Observation, float32 [2 + 2 M]:
    agent, point 0, point 1 … as x and y, divided by `SIZE`. Reward: 1 within `RADIUS` of
    the task's point after the move, else 0. Never terminates.
    """

    name = "moving_bandits"
    episode_length = 50
    num_actions = len(_MOVES)
    action_size = 1

    def __init__(self, num_points: int = 2):
        """Makes the square.

        Args:
            num_points: M, at least 2; the paper and the released code have 2.

        Raises:
            EnvError: there are less than 2 points.
        """
        require_several("num_points", num_points)
        self.num_points = num_points
        self.task_names = tuple(f"point_{index}" for index in range(num_points))

    @property
    def observation_size(self) -> int:
        """The places of the agent and of the points."""
        return 2 + 2 * self.num_points

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """The square; of an episode also the points and the area around the one that pays."""
        if observation is None:
            return SQUARE
        points = (SIZE * np.reshape(observation[2:], (-1, 2))).tolist()
        x, y = points[int(task)]
        marks = tuple((px, py, str(index)) for index, (px, py) in enumerate(points))
        return dataclasses.replace(SQUARE, goal=(x, y), goal_radius=RADIUS, marks=marks)

    def positions(self, observation: np.ndarray, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        """X and y of the agent, which are in the observation."""
        del metrics
        return SIZE * observation[..., :2]

    def best_returns(self, episode_length: int) -> np.ndarray:
        """By the fewest moves to where a point is near, from there on paid in every step.

        On average over 4,096 points, evenly spread.
        """
        return np.full(self.num_points, _paid_after(_moves_to_a_point(), episode_length))

    def best_action(self, observation: jax.Array, task: jax.Array) -> jax.Array:
        """The action of a policy that knows the task: straight on, along the longer way first.

        That is 0.05 less than `best_returns` in an episode of 50 steps, on average.
        """
        places = SIZE * jnp.reshape(observation, (-1, 2))
        offset = places[1 + task] - places[0]
        return jnp.where(jnp.sum(offset**2) < RADIUS**2, 0, _toward(offset))

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Puts the agent in the middle and draws the points anew."""
        world = BanditsWorld(
            agent=jnp.asarray(START, jnp.float32),
            points=jax.random.uniform(key, (self.num_points, 2), maxval=SIZE),
        )
        return first_state(world, _observe(world), task)

    def step(self, state: State, action: jax.Array) -> State:
        """Moves the agent by one stride or not at all."""
        world = state.pipeline_state
        world = world.replace(agent=_moved(world.agent, action))
        reward = _is_near(world.agent, world.points[state.info["task"]]).astype(jnp.float32)
        return next_state(state, world, _observe(world), reward)


@struct.dataclass
class KeyDoorWorld:
    """What moves and what does not, in world units.

    Attributes:
        agent: float32 [2], x and y; may leave the square.
        points: float32 [3, 2], uniform in the square: the two doors, then the key.
        has_key: whether the key was fetched, bool scalar.
    """

    agent: jax.Array
    points: jax.Array
    has_key: jax.Array


class KeyDoor(IndexedTasks):
    """Two doors of which one pays who has fetched the key; the task (int32 scalar) is its index.

    Actions as in `MovingBandits`. Observation, float32 [9]: agent, door 0, door 1 and key as x and
    y, divided by `SIZE`, and 1 with the key, else 0. The key is fetched strictly within `RADIUS` of
    it after a move; reward: 1 with the key and within `RADIUS` of the task's door after the move,
    which may be the same one, else 0. Never terminates.
    """

    name = "key_door"
    episode_length = 100
    num_actions = len(_MOVES)
    action_size = 1
    observation_size = 9
    task_names = ("door_0", "door_1")

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """The square; of an episode also the key, the doors and the area around the task's."""
        if observation is None:
            return SQUARE
        points = (SIZE * np.reshape(observation[2:8], (-1, 2))).tolist()
        x, y = points[int(task)]
        marks = tuple((*point, name) for point, name in zip(points, ("0", "1", "key"), strict=True))
        return dataclasses.replace(
            SQUARE, goal=(x, y), goal_radius=RADIUS, marks=marks, items=("key",)
        )

    def positions(self, observation: np.ndarray, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        """X and y of the agent, which are in the observation."""
        del metrics
        return SIZE * observation[..., :2]

    def item_positions(
        self, task: jax.Array, observation: np.ndarray, metrics: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """The key [R, 1 + T, 1, 2], which is where the agent is once it was fetched."""
        del task, metrics
        agent, key, has_key = observation[..., :2], observation[..., 6:8], observation[..., 8:]
        return SIZE * np.where(has_key > 0, agent, key)[..., None, :]

    def best_returns(self, episode_length: int) -> np.ndarray:
        """By the fewest moves to the key and from there to the door, as in `MovingBandits`.

        On average over 1,024 pairs, evenly spread.
        """
        return np.full(2, _paid_after(_moves_to_a_door(), episode_length))

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Puts the agent in the middle and draws the points anew."""
        world = KeyDoorWorld(
            agent=jnp.asarray(START, jnp.float32),
            points=jax.random.uniform(key, (3, 2), maxval=SIZE),
            has_key=jnp.zeros((), bool),
        )
        return first_state(world, self._observe(world), task)

    def step(self, state: State, action: jax.Array) -> State:
        """Moves the agent by one stride or not at all."""
        world = state.pipeline_state
        agent = _moved(world.agent, action)
        has_key = world.has_key | _is_near(agent, world.points[2])
        is_paid = has_key & _is_near(agent, world.points[state.info["task"]])
        world = world.replace(agent=agent, has_key=has_key)
        return next_state(state, world, self._observe(world), is_paid.astype(jnp.float32))

    def _observe(self, world: KeyDoorWorld) -> jax.Array:
        places = jnp.concatenate([world.agent, world.points.reshape(-1)]) / SIZE
        return jnp.append(places, world.has_key.astype(jnp.float32))


class AllWalk(TaskEnv):
    """A hidden place in the square to be near to; the task is the place, float32 [2].

    Actions as in `MovingBandits`. Observation, float32 [2]: x and y of the agent, divided by
    `SIZE`. Reward: minus the sum of the distances along x and y, divided by `DISTANCE_SCALE`.
    Never terminates.
    """

    name = "all_walk"
    episode_length = 50
    num_actions = len(_MOVES)
    action_size = 1
    observation_size = 2
    task_names = ()
    backend = "none"

    def sample_task(self, key: jax.Array) -> jax.Array:
        """Draws a place: float32 [2], uniform in the square."""
        return jax.random.uniform(key, (2,), maxval=SIZE)

    def all_tasks(self) -> None:
        """Returns None: tasks are infinitely many."""
        return None

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """The square and the place."""
        del observation
        x, y = np.asarray(task).tolist()
        return dataclasses.replace(SQUARE, goal=(x, y))

    def positions(self, observation: np.ndarray, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        """X and y of the agent, which are the observation."""
        del metrics
        return SIZE * observation

    def best_return_of(self, task: jax.Array, episode_length: int) -> float:
        """By moves along the longer way first, as long as they lead nearer."""
        away, total = np.abs(np.asarray(task, np.float64) - START), 0.0
        for _ in range(episode_length):
            longer = np.argmax(away)
            away[longer] = min(away[longer], abs(away[longer] - STRIDE))
            total -= away.sum() / DISTANCE_SCALE
        return total

    def best_action(self, observation: jax.Array, task: jax.Array) -> jax.Array:
        """The action of an optimal policy, which knows the task: as near to it as moves lead."""
        offset = task - SIZE * observation
        return jnp.where(jnp.abs(offset).max() <= STRIDE / 2, 0, _toward(offset))

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Puts the agent in the middle."""
        del key
        agent = jnp.asarray(START, jnp.float32)
        zero = jnp.zeros((), jnp.float32)
        info = {"task": jnp.asarray(task, jnp.float32)}
        return State(agent, agent / SIZE, zero, zero, {}, info)

    def step(self, state: State, action: jax.Array) -> State:
        """Moves the agent by one stride or not at all."""
        agent = _moved(state.pipeline_state, action)
        reward = -jnp.abs(state.info["task"] - agent).sum() / DISTANCE_SCALE
        return state.replace(pipeline_state=agent, obs=agent / SIZE, reward=reward)


SQUARE = Scene(
    walls=NO_WALLS,
    start=START,
    bounds=(-RADIUS, SIZE + RADIUS, -RADIUS, SIZE + RADIUS),
    agent_radius=STRIDE / 2,
)
"""The square without points."""


def _observe(world: BanditsWorld) -> jax.Array:
    return jnp.concatenate([world.agent, world.points.reshape(-1)]) / SIZE


def _moved(agent: jax.Array, action: jax.Array) -> jax.Array:
    """Where an action leads."""
    return agent + jnp.asarray(_MOVES, jnp.float32)[jnp.reshape(action, ()).astype(jnp.int32)]


def _is_near(agent: jax.Array, point: jax.Array) -> jax.Array:
    return jnp.sum((point - agent) ** 2) < RADIUS**2


def fewest_moves(*points: np.ndarray) -> np.ndarray:
    """How many moves it takes to have been near to one or two points in turn, int [D].

    Whoever is near at the start has to stay for a step.

    Args:
        points: float [D, 2] each, in world units.
    """
    first, *others = [_near_places(each) for each in points]
    places, is_near = first
    moves = np.where(is_near, np.maximum(np.abs(places).sum(axis=-1), 1), np.inf)  # [D, P]
    for places_after, is_near_after in others:
        between = np.abs(places[:, :, None] - places_after[:, None]).sum(axis=-1)  # [D, P, P]
        moves = np.where(is_near_after, (moves[:, :, None] + between).min(axis=1), np.inf)
        places = places_after
    return moves.min(axis=1).astype(int)


def _near_places(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places that moves lead to around each point, in strides from the start, [D, P, 2].

    And whether the point is near there, [D, P].
    """
    reach = np.arange(-3, 4)  # RADIUS is two and a half strides
    away = (points - START)[:, None] / STRIDE
    places = np.rint(away) + np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)
    distance = ((places - away) ** 2).sum(axis=-1)
    nearest = np.argsort(distance, axis=1)[:, :24]  # no circle of that radius has more of them
    places, distance = (
        np.take_along_axis(places, nearest[..., None], axis=1),
        np.take_along_axis(distance, nearest, axis=1),
    )
    return places, distance < (RADIUS / STRIDE) ** 2


@functools.cache
def _moves_to_a_point() -> np.ndarray:
    return fewest_moves(_evenly_spread(2, 12))


@functools.cache
def _moves_to_a_door() -> np.ndarray:
    return fewest_moves(*np.split(_evenly_spread(4, 10), 2, axis=1))


def _evenly_spread(dimensions: int, log2_count: int) -> np.ndarray:
    """Coordinates in the square, `[2**log2_count, dimensions]`."""
    from scipy.stats import qmc  # takes a second

    return SIZE * qmc.Sobol(dimensions, scramble=False).random_base2(log2_count)


def _paid_after(moves: np.ndarray, episode_length: int) -> float:
    """Steps that are paid if the last of so many moves is the first of them, on average."""
    return float(np.maximum(episode_length + 1 - moves, 0).mean())


def _toward(offset: jax.Array) -> jax.Array:
    """The move along the longer way to what is at `offset` [2]."""
    axis = jnp.argmax(jnp.abs(offset))
    return 1 + 2 * axis + (offset[axis] < 0)
