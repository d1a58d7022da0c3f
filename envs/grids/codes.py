"""hidden_codes: a clock, and at each of its times one button that pays; the task is the code."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import State
from envs.grids.indexed import IndexedTasks, first_state, next_state, require_several

NUM_TIMES = 6
"""Times of the clock."""
NUM_BUTTONS = 4
"""Buttons that can be pressed."""


@struct.dataclass
class CodesWorld:
    """What changes in an episode.

    Attributes:
        time: of the clock, int32 scalar.
    """

    time: jax.Array


class HiddenCodes(IndexedTasks):
    """M codes of which one pays; the task (int32 scalar) is its index.

    Actions: which button is pressed. Observation, float32 [6]: the time, one-hot; it goes on by one
    in every step, from 5 to 0. Reward: 1 for the button that the code of the task has for the time
    before the step, else 0. Episodes start at any time. Never terminates.
    """

    name = "hidden_codes"
    episode_length = 30
    num_actions = NUM_BUTTONS
    action_size = 1

    def __init__(self, num_codes: int = 4) -> None:
        """Draws the codes, always the same.

        Args:
            num_codes: M, at least 2.

        Raises:
            EnvError: there are less than 2 codes.
        """
        require_several("num_codes", num_codes)
        draw = np.random.default_rng(0)
        self.codes = draw.integers(NUM_BUTTONS, size=(num_codes, NUM_TIMES)).astype(np.int32)
        self.task_names = tuple(f"code_{index}" for index in range(num_codes))

    @property
    def observation_size(self) -> int:
        """One-hot time."""
        return NUM_TIMES

    def best_action(self, observation: jax.Array, task: jax.Array) -> jax.Array:
        """The action of an optimal policy, which knows the task: the button of its code."""
        return jnp.asarray(self.codes)[task, jnp.argmax(observation)]

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Starts at any time."""
        world = CodesWorld(time=jax.random.randint(key, (), 0, NUM_TIMES, dtype=jnp.int32))
        return first_state(world, _observe(world), task)

    def step(self, state: State, action: jax.Array) -> State:
        """Presses a button; the clock goes on."""
        time = state.pipeline_state.time
        pressed = jnp.reshape(action, ()).astype(jnp.int32)
        right = jnp.asarray(self.codes)[state.info["task"], time]
        reward = (pressed == right).astype(jnp.float32)
        world = CodesWorld(time=(time + 1) % NUM_TIMES)
        return next_state(state, world, _observe(world), reward)


def _observe(world: CodesWorld) -> jax.Array:
    return jax.nn.one_hot(world.time, NUM_TIMES)
