"""handover_chain: what pays in the end is prepared before, by whoever acts then."""

import jax
import jax.numpy as jnp
from flax import struct

from envs.base import State
from envs.errors import EnvError
from envs.grids.indexed import IndexedTasks, first_state, next_state

AT_ONCE = 0.6
"""What not to prepare pays in the first step."""


@struct.dataclass
class ChainWorld:
    """What changes in an episode.

    Attributes:
        time: steps taken, int32 scalar.
        is_prepared: 1 as long as every action was 1, float32 scalar.
    """

    time: jax.Array
    is_prepared: jax.Array


class HandoverChain(IndexedTasks):
    """A probe of credit with a single task: whoever is paid is not who has earned it.

    Actions: 0 or 1. An episode has as many steps as the chain has links. In the first one action 0
    pays `AT_ONCE`. The last one pays 1, whatever is done there, if action 1 was taken in all before
    it. Observation, float32 [links]: which link it is, one-hot. Where a choice holds for a single
    step, sub-policies to which only their own slice counts stay at `AT_ONCE`.
    """

    name = "handover_chain"
    num_actions = 2
    action_size = 1
    task_names = ("only",)

    def __init__(self, links: int = 2) -> None:
        """Makes a chain.

        Args:
            links: steps of an episode, at least 2.

        Raises:
            EnvError: there are less than 2 links.
        """
        if not isinstance(links, int) or links < 2:
            raise EnvError(f"links must be an integer of at least 2, got {links!r}")
        self.episode_length = links

    @property
    def observation_size(self) -> int:
        """One-hot link."""
        return self.episode_length

    def best_action(self, observation: jax.Array, task: jax.Array) -> jax.Array:
        """The action of an optimal policy: to prepare."""
        del observation, task
        return jnp.ones((), jnp.int32)

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Starts at the first link."""
        del key
        world = ChainWorld(time=jnp.zeros((), jnp.int32), is_prepared=jnp.ones(()))
        return first_state(world, self._observe(world), task)

    def step(self, state: State, action: jax.Array) -> State:
        """Goes on to the next link."""
        world = state.pipeline_state
        prepares = jnp.reshape(action, ()).astype(jnp.float32)
        is_last = world.time == self.episode_length - 1
        at_once = AT_ONCE * (world.time == 0) * (1 - prepares)
        reward = jnp.where(is_last, world.is_prepared, at_once)
        world = ChainWorld(time=world.time + 1, is_prepared=world.is_prepared * prepares)
        return next_state(state, world, self._observe(world), reward)

    def _observe(self, world: ChainWorld) -> jax.Array:
        return jax.nn.one_hot(world.time, self.episode_length)
