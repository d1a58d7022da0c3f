"""How speed and memory grow with the number of tasks G and of sub-policies K."""

import dataclasses
import statistics

import jax

import envs
from benchmarks.config import Config, GrowthEnv
from benchmarks.measure import Case, Contender, Report, Row, peak_memory, take_turns
from experiments import ant_twowalk, moving_bandits
from mlsh_jax import mlsh
from mlsh_jax.agent import Agent, make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.environment import has_physics
from mlsh_jax.host.compilation import Program, compile_ahead
from mlsh_jax.host.devices import Layout, default_layout, split_cpu

TITLE = "speed and memory with G tasks and K sub-policies"

_NUM_ENVS = 8  # of each task of the ant
_LENGTH = 50  # env steps of an ant in an iteration


# On 2 cores: seconds until it is compiled, and of one task in a meta-iteration.
_SECONDS = {"moving_bandits": (16.0, 0.4), "ant_twowalk": (30.0, 0.045)}


def cases(config: Config) -> list[Case]:
    """One case for each environment, G with K 2, and the second G with each K."""
    middle = config.num_tasks[min(1, len(config.num_tasks) - 1)]
    sizes = dict.fromkeys(
        [(g, 2) for g in config.num_tasks] + [(middle, k) for k in config.num_subpolicies]
    )
    return [
        Case(
            f"{env}, G {g}, K {k}, rounds: {config.rounds}",
            measure,
            (env, g, k, config.rounds),
            _SECONDS[env][0] + _SECONDS[env][1] * g * (config.rounds + 1),
        )
        for env in config.growth_envs
        for g, k in sizes
    ]


def measure(
    report: Report, name: GrowthEnv, num_tasks: int, num_subpolicies: int, rounds: int
) -> list[Row]:
    """Meta-training with G tasks and K sub-policies."""
    split_cpu()
    if name == "moving_bandits":
        length = None
        config = moving_bandits.PRESETS["default"].config.training.mlsh
    else:
        length = _LENGTH
        config = ant_config(_NUM_ENVS, _LENGTH)
    config = dataclasses.replace(config, num_tasks=num_tasks, num_subpolicies=num_subpolicies)
    layout = default_layout().largest_even(num_tasks)
    env = envs.make(name, episode_length=length)
    agent = make_agent(env, config, num_shares=layout.num_devices)
    contender = Contender("meta-training", *training(agent, layout))
    program = contender.program
    rates = take_turns([contender], rounds, report)[contender.name]
    return [
        {
            "env": name,
            "G": num_tasks,
            "K": num_subpolicies,
            "envs": num_tasks * config.num_envs,
            "devices": layout.num_devices,
            "steps/s": round(statistics.median(rates)),
            "µs/step": 1e6 / statistics.median(rates),
            "compile s": program.compile_seconds,
            "array MB": round(program.memory_bytes / 1e6),
            "peak MB": round(peak_memory() / 1e6),
        }
    ]


def training(agent: Agent, layout: Layout) -> tuple[Program, mlsh.MetaState, int]:
    """A compiled meta-iteration, the state it begins with, and its env steps."""

    def meta_iteration(state: mlsh.MetaState) -> mlsh.MetaState:
        return mlsh.meta_iteration(agent, state, layout.spread)[0]

    state = jax.device_put(mlsh.init(agent, jax.random.key(0)), layout.replicated)
    program = compile_ahead(
        meta_iteration,
        state,
        out_shardings=layout.replicated,
        donate=True,
        has_physics=has_physics(agent.env),
    )
    return program, state, agent.config.env_steps_per_meta_iteration


def ant_config(num_envs: int, length: int) -> MLSHConfig:
    """That of `ant_twowalk` with shorter phases of the same proportion, W 1 and U 2.

    Args:
        num_envs: of each task.
        length: env steps of an environment in an iteration.
    """
    return dataclasses.replace(
        ant_twowalk.TRAINING.mlsh,
        num_envs=num_envs,
        steps_per_iteration=num_envs * length,
        warmup_iterations=1,
        joint_iterations=2,
    )
