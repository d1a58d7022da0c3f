"""hidden_patterns: six switches, of which a pattern pays that is not told."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import State
from envs.grids.indexed import IndexedTasks, first_state, next_state

SWITCHES = 6

_PATTERNS = np.array(
    [[0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1]], bool
)
"""Three to five switches from each other."""


@struct.dataclass
class SwitchesWorld:
    """What changes in an episode.

    Attributes:
        is_on: bool [6].
    """

    is_on: jax.Array


class HiddenPatterns(IndexedTasks):
    """Four patterns of six switches, of which one pays; the task (int32 scalar) is its index.

    Actions: 0 to 5 turn a switch on or off, 6 does nothing. Observation, float32 [7]: 1 for each
    switch that is on and -1 for each other one, and 1. Reward: 1 while the switches are as in the
    pattern of the task after the action, else 0. Episodes start with any pattern. Never terminates.
    """

    name = "hidden_patterns"
    episode_length = 30
    num_actions = SWITCHES + 1
    action_size = 1
    observation_size = SWITCHES + 1
    task_names = tuple("".join(map(str, pattern.astype(int))) for pattern in _PATTERNS)

    def best_action(self, observation: jax.Array, task: jax.Array) -> jax.Array:
        """The action of an optimal policy, which knows the task: the first switch that is wrong."""
        is_wrong = (observation[:SWITCHES] > 0) != jnp.asarray(_PATTERNS)[task]
        return jnp.argmax(jnp.append(is_wrong, True)).astype(jnp.int32)

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Starts with any pattern."""
        world = SwitchesWorld(is_on=jax.random.bernoulli(key, shape=(SWITCHES,)))
        return first_state(world, _observe(world), task)

    def step(self, state: State, action: jax.Array) -> State:
        """Turns a switch."""
        turned = jnp.arange(SWITCHES) == jnp.reshape(action, ())
        world = SwitchesWorld(is_on=state.pipeline_state.is_on ^ turned)
        is_right = jnp.all(world.is_on == jnp.asarray(_PATTERNS)[state.info["task"]])
        return next_state(state, world, _observe(world), is_right.astype(jnp.float32))


def _observe(world: SwitchesWorld) -> jax.Array:
    return jnp.append(jnp.where(world.is_on, 1.0, -1.0), 1.0)
