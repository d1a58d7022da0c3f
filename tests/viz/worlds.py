"""Episodes of real worlds without bodies, played by a script, as a run would record them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.base import State
from envs.grids import points, taxi
from envs.grids.minigrid.rules import (
    FORWARD,
    LEFT,
    PICK_UP,
    RIGHT,
    TOGGLE,
    Layout,
)
from envs.scene import Scene
from experiments.harness import figures
from mlsh_jax.rollout import Rollout
from mlsh_jax.viz.replay import Recording


@dataclasses.dataclass(frozen=True)
class Played:
    """A recorded episode.

    Attributes:
        scene: its world.
        recording: where the agent and the items were, the start first.
    """

    scene: Scene
    recording: Recording


def play(name: str) -> Played:
    """Plays the episode of an environment that `WORLDS` has."""
    env = envs.make(name)
    task, first, actions = WORLDS[name](env)
    states, step = [first], jax.jit(env.step)
    for action in actions:
        states.append(step(states[-1], jnp.int32(action)))
    return record(env, task, states)


def record(env: Any, task: Any, states: list[State]) -> Played:
    """What is drawn of an episode in which sub-policy 0 acts, and 1 in its second half."""
    after = states[1:]
    length = len(after)

    def per_step(values: list[Any]) -> np.ndarray:  # [S, N, R], of a step, one, and one
        return np.stack([np.asarray(value) for value in values])[:, None, None]

    rollout = Rollout(
        observation=per_step([state.obs for state in states[:-1]]),
        action=np.zeros((length, 1, 1), np.int32),
        reward=per_step([state.reward for state in after]),
        weight=np.ones((length, 1, 1)),
        terminated=per_step([state.done > 0 for state in after]),
        truncated=np.zeros((length, 1), bool),
        failed=np.zeros((length, 1), bool),
        subpolicy=(np.arange(length) >= length / 2).astype(np.int32)[:, None],
        imposed=np.zeros((length, 1), bool),
        next_observation=np.stack([np.asarray(state.obs) for state in after])[:, None],
        env_metrics={
            name: per_step([state.metrics[name] for state in after]) for name in after[0].metrics
        },
    )
    played = figures.played(env, task, rollout)
    return Played(played.scenes[0], figures.record(env, played, 0))


Script = tuple[Any, State, list[int]]


def _fetch_and_bring(env: Any) -> Script:
    """The taxi starts at (4, 3), fetches the passenger at Y and brings it to R."""
    task = jnp.int32(env.task_names.index("Y-R"))
    first = env.reset_to_task(jax.random.key(0), task)
    world = first.pipeline_state.replace(cell=jnp.array([4, 3]), on_board=jnp.bool_(False))
    number = taxi.SIDE * 3 + 2
    first = first.replace(pipeline_state=world, obs=jax.nn.one_hot(number, first.obs.shape[-1]))
    left, down, up, serve = 4, 2, 1, 5
    return task, first, [left, left, down, down, serve, *[up] * 5, serve]


def _key_and_door(env: Any) -> Script:
    """A key to the right, a door above it."""
    first = env.reset_to_task(jax.random.key(0), jnp.int32(1))
    places = jnp.array([[40.0, 40.0], [300.0, 340.0], [300.0, 200.0]])
    first = first.replace(
        pipeline_state=first.pipeline_state.replace(points=places),
        obs=first.obs.at[2:8].set(places.reshape(-1) / points.SIZE),
    )
    right, up = 1, 3
    return jnp.int32(1), first, [right] * 4 + [up] * 5


def _door_key(env: Any) -> Script:
    """The agent takes the key in front of it, turns to the door, opens it and goes to the goal."""
    walls = np.ones(jax.eval_shape(env.sample_task, jax.random.key(0)).walls.shape, bool)
    walls[1:4, 1:4] = False
    walls[[2, 3], 2] = True
    layout = Layout(
        walls=jnp.asarray(walls),
        goal=jnp.array([3, 3]),
        door=jnp.array([2, 1]),
        key=jnp.array([1, 2]),
        start=jnp.array([1, 1]),
        start_direction=jnp.int32(1),
        see_through=jnp.asarray(False),
    )
    script = [PICK_UP, LEFT, TOGGLE, FORWARD, FORWARD, RIGHT, FORWARD, FORWARD]
    return layout, env.reset_to_task(jax.random.key(0), layout), script


def _empty(env: Any) -> Script:
    """Rooms without a door or a key."""
    layout = env.sample_task(jax.random.key(0))
    return layout, env.reset_to_task(jax.random.key(0), layout), [FORWARD, RIGHT, FORWARD, FORWARD]


def _rooms(env: Any) -> Script:
    """The first goal, toward which nobody goes: up and down again."""
    task = jax.tree.map(lambda x: x[0], env.all_tasks())
    return task, env.reset_to_task(jax.random.key(0), task), [0, 0, 1, 1]


def _point(env: Any) -> Script:
    """The first of two points: right and up."""
    return jnp.int32(0), env.reset_to_task(jax.random.key(1), jnp.int32(0)), [1, 1, 1, 3, 3, 3]


def _place(env: Any) -> Script:
    """A hidden place: left and down."""
    task = jnp.array([100.0, 120.0])
    return task, env.reset_to_task(jax.random.key(0), task), [2, 2, 2, 4, 4]


WORLDS: dict[str, Callable[[Any], Script]] = {
    "taxi": _fetch_and_bring,
    "key_door": _key_and_door,
    "minigrid_door_key_5x5": _door_key,
    "minigrid_empty": _empty,
    "minigrid_four_rooms": _empty,
    "minigrid_mixed": _door_key,
    "four_rooms": _rooms,
    "moving_bandits": _point,
    "all_walk": _place,
}
