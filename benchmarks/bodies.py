"""What the physics of bodies costs, without time limits, restarts or anything that learns."""

import statistics
from typing import Any

import jax

import envs
from benchmarks.config import Config
from benchmarks.measure import Case, Contender, Report, Row, ratio, take_turns
from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.host.compilation import compile_ahead
from mlsh_jax.host.devices import Layout, default_layout, split_cpu
from mlsh_jax.rollout import start_episodes
from mlsh_jax.tasks import sample_tasks

TITLE = "the physics of bodies alone, with random torques"

BODIES = ("ant_twowalk", "humanoid_walk_crawl")
"""The first is what others are compared with."""

_NUM_TASKS = 8
_NUM_STEPS = 200
_SECONDS, _RATE = 60.0, 15_000.0  # of starting and compiling, and env steps/s, on 2 cores


def cases(config: Config) -> list[Case]:
    """One case for each number of bodies."""
    return [
        Case(
            f"{number} bodies, rounds: {config.rounds}",
            measure,
            (number, config.rounds),
            _SECONDS + (config.rounds + 1) * len(BODIES) * number * _NUM_STEPS / _RATE,
        )
        for number in config.num_bodies
    ]


def measure(report: Report, num_bodies: int, rounds: int) -> list[Row]:
    """All bodies in turns, on as many devices as an experiment takes by default."""
    split_cpu()
    layout = default_layout().largest_even(_NUM_TASKS)
    contenders = [
        physics_alone(name, envs.make(name).unwrapped, layout, _NUM_TASKS, num_bodies // _NUM_TASKS)
        for name in BODIES
    ]
    rates = take_turns(contenders, rounds, report)
    return [
        {
            "env": contender.name,
            "bodies": num_bodies,
            "devices": layout.num_devices,
            "steps/s": round(statistics.median(rates[contender.name])),
            f"of {BODIES[0]}": ratio(rates[contender.name], rates[BODIES[0]]),
            "compile s": contender.program.compile_seconds,
        }
        for contender in contenders
    ]


def physics_alone(
    name: str,
    env: TaskEnvironment,
    layout: Layout,
    num_tasks: int,
    num_envs: int,
    num_steps: int = _NUM_STEPS,
) -> Contender:
    """An environment itself, without time limit, restarts or anything that learns.

    Args:
        name: what it is called in the table.
        env: without the wrapper of the time limit.
        layout: devices to spread tasks over.
        num_tasks: G.
        num_envs: of each task.
        num_steps: env steps of each environment in a call.
    """
    start = jax.vmap(lambda key, task: start_episodes(env, key, task, num_envs))
    keys = jax.random.split(jax.random.key(0), num_tasks)
    tasks = sample_tasks(env, jax.random.key(0), num_tasks, stratify=True)
    carry = (
        jax.device_put(jax.jit(start)(keys, tasks.task), layout.by_task),
        jax.device_put(jax.random.key(1), layout.replicated),
    )

    def step(state: Any, key: jax.Array) -> tuple[Any, None]:
        shape = (num_tasks, num_envs, env.action_size)
        action = layout.spread(jax.random.uniform(key, shape, minval=-1.0, maxval=1.0))
        return jax.vmap(jax.vmap(env.step))(state, action), None

    def steps(carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        state, key = carry
        key, key_steps = jax.random.split(key)
        return jax.lax.scan(step, state, jax.random.split(key_steps, num_steps))[0], key

    shardings = layout.by_task, layout.replicated
    program = compile_ahead(steps, carry, out_shardings=shardings, donate=True, has_physics=True)
    return Contender(name, program, carry, num_tasks * num_envs * num_steps)
