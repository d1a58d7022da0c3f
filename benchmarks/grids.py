"""Grid worlds on one core, beside the packages whose rules they have."""

import importlib.util
import statistics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import envs
from benchmarks.config import Config
from benchmarks.measure import (
    Case,
    Contender,
    Report,
    Row,
    pin_to_one_core,
    ratio,
    take_turns,
)  # fmt: skip
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.compilation import Program, compile_ahead

TITLE = "grid worlds on one core, beside the original package"

NUM_ENVS = 1024
"""Instances of ours at once."""
NUM_STEPS = 512
"""Of each of them in a round."""
ORIGINAL_STEPS = 8_000
"""Of the one instance of the package in a round."""

_ORIGINALS: dict[str, tuple[str, dict[str, Any]]] = {
    "minigrid_empty": ("MiniGrid-Empty-8x8-v0", {"agent_start_pos": None}),
    "minigrid_door_key_5x5": ("MiniGrid-DoorKey-5x5-v0", {}),
    "minigrid_four_rooms": ("MiniGrid-FourRooms-v0", {}),
}
"""The package's name and options of each of ours."""


def cases(config: Config) -> list[Case]:
    """One case per environment.

    Raises:
        ConfigError: the package is not installed.
    """
    if importlib.util.find_spec("minigrid") is None:
        raise ConfigError("grids: the package minigrid is missing: pip install -e '.[dev]'")
    rounds = config.rounds
    seconds = 15.0 + 5.0 * (rounds + 1)
    return [
        Case(f"{name}, rounds: {rounds}", measure, (name, rounds), seconds) for name in _ORIGINALS
    ]


def measure(report: Report, name: str, rounds: int) -> list[Row]:
    """Random actions in ours and in the package, both with the restarts of ended episodes."""
    pin_to_one_core()
    ours, original = _ours(name, NUM_ENVS, NUM_STEPS), _original(name, ORIGINAL_STEPS)
    rates = take_turns([ours, original], rounds, report)
    return [
        {
            "env": name,
            "steps/s": round(statistics.median(rates[ours.name])),
            "package steps/s": round(statistics.median(rates[original.name])),
            "times": ratio(rates[ours.name], rates[original.name]),
            "compile s": ours.program.compile_seconds,
        }
    ]


def _ours(name: str, num_envs: int, num_steps: int) -> Contender:
    """Layouts drawn anew in every call; an episode that ends starts again in its layout."""
    env = envs.make(name)

    def play(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        key, _ = carry
        key, key_tasks, key_actions = jax.random.split(key, 3)
        tasks = jax.vmap(env.sample_task)(jax.random.split(key_tasks, num_envs))
        first = jax.vmap(env.reset_to_task, in_axes=(None, 0))(key_tasks, tasks)
        shape = (num_steps, num_envs)
        actions = jax.random.randint(key_actions, shape, 0, env.num_actions or 0)

        def step(state: Any, action_and_first: tuple[jax.Array, Any]) -> Any:
            action, first = action_and_first
            state = env.step(state, action)
            return jax.tree.map(lambda a, b: jnp.where(state.done > 0, a, b), first, state)

        def step_all(states: Any, action: jax.Array) -> tuple[Any, None]:
            return jax.vmap(step)(states, (action, first)), None

        # The last observations are a result, so that none is left out as not needed.
        return key, jax.lax.scan(step_all, first, actions)[0].obs

    start = jax.random.key(0), jnp.zeros((num_envs, env.observation_size))
    return Contender(name, compile_ahead(play, start), start, num_envs * num_steps)


def _original(name: str, num_steps: int) -> Contender:
    """One instance of the package, without Gymnasium's checks."""
    import gymnasium
    import minigrid  # noqa: F401  (registers its environments)

    address, options = _ORIGINALS[name]
    env = gymnasium.make(address, **options).unwrapped
    actions = np.random.default_rng(0).integers(7, size=num_steps).tolist()
    env.reset(seed=0)

    def play(count: int) -> int:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return count + num_steps

    return Contender(address, Program(play, 0.0, 0, 0.0), 0, num_steps)
