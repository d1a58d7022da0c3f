"""Whether what is asked for can be in memory at all, told before anything is compiled.

Counts what is certain to be in memory at one time, and no more, so that nothing is refused that
would run. What a program needs exactly is known when it has been compiled
(`mlsh_jax.host.compilation`). Accelerators say themselves that they have not enough.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from mlsh_jax import mlsh
from mlsh_jax.adapt import FrozenState
from mlsh_jax.agent import Agent
from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.compilation import free_memory
from mlsh_jax.rl.config import RULES, require

_WORD = 4  # bytes of a number


class Need(NamedTuple):
    """Something that has to be in memory.

    Attributes:
        field: that makes it large.
        what: it is, for people, in the plural.
        num_bytes: that it takes at least.
        way_out: what to lower, for people.
    """

    field: str
    what: str
    num_bytes: int
    way_out: str


def require_training(agent: Agent, num_trainings: int = 1, num_shares: int = 1) -> None:
    """Refuses a meta-training that cannot fit.

    Args:
        agent: on the episodes to learn from.
        num_trainings: whose states are in memory at the same time.
        num_shares: in how many equal shares tasks lie on different devices.

    Raises:
        ConfigError: naming the option that makes it large.
    """
    config = agent.config
    num_steps = config.num_tasks * config.steps_per_iteration
    of_step = agent.env.observation_size + agent.env.action_size + 1  # with the reward
    passes = config.subpolicy.num_passes if config.subpolicy.num_minibatches > 1 else 0
    require_memory(
        _subpolicies(agent, num_trainings),
        *_masters(agent, config.num_tasks),
        # Of each its key, its return, its phase, and two numbers of each sub-policy.
        _iterations(
            "warmup_iterations",
            config.warmup_iterations + config.joint_iterations,
            4 + 2 * config.num_subpolicies,
        ),
        _spread(
            "steps_per_iteration",
            f"the transitions of {config.num_tasks} tasks x {config.steps_per_iteration} steps",
            num_steps * of_step,
            "num_envs together with steps_per_iteration, or num_tasks",
        ),
        _spread(
            "subpolicy.epochs",
            f"the orders of transitions in {passes} epochs",
            num_steps * passes,
            "subpolicy.epochs",
        ),
    )
    require(
        num_steps // num_shares < 2**31,
        "num_tasks",
        f"{config.num_tasks} tasks x {config.steps_per_iteration} steps are more transitions in an "
        "iteration than 31 bits count; lower num_tasks or steps_per_iteration",
    )


def require_population(agent: Agent, num_trials: int, num_seeds: int) -> None:
    """Refuses a sweep with more trials side by side than can fit.

    Args:
        agent: none of the trials is smaller.
        num_trials: side by side.
        num_seeds: of each trial.

    Raises:
        ConfigError: naming the option.
    """
    of_trial = num_seeds * _bytes_of(functools.partial(mlsh.init, agent))
    require_memory(_several(num_trials, "trials side by side", of_trial, "--parallel", "--seeds"))


def require_masters(
    agent: Agent,
    num_tasks: int,
    num_envs: int,
    iterations: int,
    num_episodes: int,
    prefix: str = "",
) -> None:
    """Refuses an adaptation of fresh masters, and a closing measurement of it, that cannot fit.

    Args:
        agent: says what masters are like.
        num_tasks: at least so many masters.
        num_envs: of each master.
        iterations: of adaptation in one program.
        num_episodes: per master and behavior.
        prefix: of the fields in messages.

    Raises:
        ConfigError: naming the option that makes it large.
    """
    masters = _masters(agent, num_tasks, prefix)
    require_memory(
        *masters,
        _iterations(f"{prefix}iterations", iterations, 2),  # the keys
        environments(agent.env, num_tasks, num_envs, prefix),
    )
    behaviors = 2 + agent.config.num_subpolicies  # before and after, and each sub-policy alone
    episodes = f"{prefix}num_envs" if prefix else "episodes"
    require_memory(
        *masters,
        _spread(
            episodes,
            f"the closing episodes of {num_tasks} tasks x {num_episodes} of {behaviors} behaviors",
            num_tasks * num_episodes * behaviors * agent.env.observation_size,
            f"{episodes} or {prefix}num_tasks",
        ),
    )


def require_baseline(init: Callable[[jax.Array], Any], option: str) -> None:
    """Refuses what a baseline begins with that cannot fit.

    Args:
        init: makes it from a key.
        option: what the learner's options are called.

    Raises:
        ConfigError: naming the option.
    """
    size, state = f"{option}.hidden_sizes", jax.eval_shape(init, jax.random.key(0))
    if not isinstance(state, FrozenState):
        require_memory(Need(size, "the networks of a baseline", _bytes(state), size))
        return
    masters = f"num_tasks, {size} or {option}.replay_size"
    require_memory(
        Need("num_subpolicies", "sub-policies", _bytes(state.subpolicies), "num_subpolicies"),
        Need("num_tasks", "masters", _bytes(state.adaptation.lives.masters), masters),
    )


def environments(env: TaskEnvironment, num_tasks: int, num_envs: int, prefix: str = "") -> Need:
    """The observations of parallel environments.

    Args:
        env: what they are.
        num_tasks: at least so many tasks.
        num_envs: of each task.
        prefix: of the fields in messages.
    """
    return _spread(
        f"{prefix}num_tasks",
        f"the observations of {num_tasks} tasks x {num_envs} environments",
        num_tasks * num_envs * env.observation_size,
        f"{prefix}num_tasks or num_envs",
    )


def require_memory(*needs: Need) -> None:
    """Refuses what needs more memory than there is; leaves accelerators to themselves.

    Raises:
        ConfigError: naming the field that makes most of it.
    """
    if jax.default_backend() != "cpu":
        return
    total, free = sum(need.num_bytes for need in needs), free_memory(1)
    if total > free:
        largest = max(needs, key=lambda need: need.num_bytes)
        raise ConfigError(
            f"{largest.field}: {largest.what} need {largest.num_bytes / 1e9:,.1f} GB of memory at "
            f"least, and {free / 1e9:.1f} GB are free; lower {largest.way_out}"
        )


def _bytes_of(init: Callable[[jax.Array], Any]) -> int:
    """Bytes of a state that is made from a key."""
    return _bytes(jax.eval_shape(init, jax.random.key(0)))


def _bytes(state: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def _subpolicies(agent: Agent, num_trainings: int) -> Need:
    number, size = agent.config.num_subpolicies, "subpolicy.hidden_sizes"
    of_training = _bytes_of(functools.partial(mlsh.init, agent))
    if num_trainings == 1:
        return _several(number, "sub-policies", of_training // number, "num_subpolicies", size)
    return _several(num_trainings, "seeds side by side", of_training, "num_seeds", size)


def _masters(agent: Agent, num_tasks: int, prefix: str = "") -> tuple[Need, Need]:
    """Their networks with what learns these, and what they remember."""
    number, config, replay = f"{prefix}num_tasks", agent.config.master, 0
    if "replay_size" in RULES[config.rule].options:  # two observations and three numbers each
        replay = config.replay_size * (2 * len(agent.master_indices) + 3) * _WORD
    of_one = _bytes_of(functools.partial(mlsh.init_masters, agent, num_tasks=1)) - replay
    processes = jax.process_count()
    return (
        _several(num_tasks, "masters", of_one // processes, number, "master.hidden_sizes"),
        _several(num_tasks, "masters' replays", replay // processes, number, "master.replay_size"),
    )


def _several(number: int, what: str, of_one: int, number_field: str, size_field: str) -> Need:
    """Things of one size, of which there are too many where one alone would fit."""
    field = number_field if of_one <= free_memory(1) else size_field
    return Need(field, f"{number} {what}", number * of_one, f"{number_field} or {size_field}")


def _iterations(field: str, number: int, of_each: int) -> Need:
    return Need(field, f"the records of {number} iterations", number * of_each * _WORD, field)


def _spread(field: str, what: str, num_words: int, way_out: str) -> Need:
    """What has a task axis, of which each process has its share."""
    return Need(field, what, num_words * _WORD // jax.process_count(), way_out)
