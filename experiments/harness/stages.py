"""The stages that experiments are made of: train φ, restore φ, adapt masters, assess.

A stage joins the pure functions of `mlsh_jax` to the host loop and to an environment.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from flax import struct

from experiments.harness.config import (
    AdaptationConfig,
    EvaluationConfig,
    MakeEnv,
    TrainingConfig,
)
from mlsh_jax import adapt, mlsh
from mlsh_jax.baselines import single_policy
from mlsh_jax.config import MLSHConfig, PPOConfig
from mlsh_jax.errors import CheckpointError
from mlsh_jax.host.checkpoint import restore_subpolicies
from mlsh_jax.host.compilation import compile_ahead
from mlsh_jax.host.devices import Layout
from mlsh_jax.host.runs import Run
from mlsh_jax.host.serialization import from_json, to_json
from mlsh_jax.host.telemetry import Metrics
from mlsh_jax.host.train import FitResult, fit
from mlsh_jax.learners import Agent, SubPolicies, init_subpolicies, make_agent
from mlsh_jax.tasks import Tasks

# Streams of random numbers that belong to one seed.
_TRAINING, _EVALUATION_TASKS, _ASSESSMENT, _ADAPTATION, _SINGLE_POLICY, _EPISODES = range(6)


@dataclasses.dataclass(frozen=True)
class Timed:
    """A result and what it cost.

    Attributes:
        value: the result.
        wall_seconds: without compilation.
        compile_seconds: compilation.
    """

    value: Any
    wall_seconds: float
    compile_seconds: float


def _key(seed: int, stream: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), stream)


def training_key(seed: int) -> jax.Array:
    """What everything random in the training of sub-policies comes from."""
    return _key(seed, _TRAINING)


def _timed(run: Run, field: str, layout: Layout, function: Callable, *arguments: Any) -> Timed:
    """Calls a function of a closing measurement; `field` says how many episodes it plays."""
    print("closing measurement: compiling", flush=True)
    way_out = (
        f"what was trained is saved: lower {field} in {run.directory / 'config.json'}, "
        f"which is read again, and {run.how_to_continue}"
    )
    program = compile_ahead(function, *arguments, out_shardings=layout.replicated, way_out=way_out)
    print(f"closing measurement: {program}", flush=True)
    started = time.monotonic()
    value = jax.device_get(program(*arguments))
    return Timed(value, time.monotonic() - started, program.compile_seconds)


def check_training(make_env: MakeEnv, training: TrainingConfig, layout: Layout) -> None:
    """Checks, before a run directory is made, that sub-policies can be trained like this.

    Raises:
        ConfigError: episodes do not consist of whole slices, or tasks cannot be spread evenly
            over the devices; naming `macro_length` or `num_tasks`.
        EnvError: the environment or one of its options is unknown.
    """
    _check_episodes(make_env, training.episode_length, training.mlsh)
    layout.check("num_tasks", training.mlsh.num_tasks)


def check_adaptation(
    make_env: MakeEnv, config: AdaptationConfig, trained: MLSHConfig, layout: Layout
) -> None:
    """Checks, before a run directory is made, that masters can learn like this.

    Raises:
        ConfigError: as in `check_training`.
        EnvError: the environment or one of its options is unknown.
    """
    _check_episodes(make_env, config.episode_length, adaptation_config(make_env, config, trained))
    num_tasks = evaluation_tasks(make_env(None), config.num_tasks, seed=0).index.shape[0]
    layout.check("num_tasks", num_tasks)


def _check_episodes(make_env: MakeEnv, episode_length: int | None, config: MLSHConfig) -> None:
    for length in (episode_length, None):
        make_agent(make_env(length), config)


def train_subpolicies(
    run: Run, make_env: MakeEnv, config: TrainingConfig, seed: int
) -> FitResult[mlsh.MetaState]:
    """Meta-trains φ; stage "train" of the run."""
    run.layout.check("num_tasks", config.mlsh.num_tasks)
    layout = run.layout.largest_even(config.mlsh.num_tasks)
    agent = make_agent(make_env(config.episode_length), config.mlsh, num_shares=layout.num_devices)
    return fit(
        run,
        "train",
        functools.partial(mlsh.meta_iteration, agent, shard=layout.spread),
        lambda: mlsh.init(agent, training_key(seed)),
        num_iterations=config.meta_iterations,
        env_steps_per_iteration=config.mlsh.env_steps_per_meta_iteration,
        describe=describe_meta_iteration,
        score=lambda metrics: metrics["return"],
        checkpoint_every=config.checkpoint_every,
        keep_last=config.keep_checkpoints,
        subpolicies=lambda state: state.subpolicies,
        spec=subpolicy_spec(agent),
        layout=layout,
    )


def subpolicy_spec(agent: Agent) -> dict[str, Any]:
    """What a checkpoint says of its sub-policies: enough to rebuild them and judge their fit."""
    return {
        "env": agent.env.name,
        "observation_size": len(agent.subpolicy_indices),
        "action_size": agent.env.action_size,
        "num_actions": agent.env.num_actions,
        "mlsh": to_json(agent.config),
    }


def restore(path: Path, env: Any) -> tuple[SubPolicies, MLSHConfig]:
    """Sub-policies from a checkpoint, for use in `env`, and how they were trained.

    Raises:
        CheckpointError: there are none, or they do not fit the environment.
    """

    def abstract(spec: dict[str, Any]) -> SubPolicies:
        for name, here in (
            ("observation_size", len(env.subpolicy_observation_indices)),
            ("action_size", env.action_size),
            ("num_actions", env.num_actions),
        ):
            if spec[name] != here:
                raise CheckpointError(
                    f"{path}: its sub-policies were trained on {spec['env']} with {name} "
                    f"{spec[name]}, but {env.name} has {here}; choose a checkpoint or an "
                    "environment that fits"
                )
        config = from_json(MLSHConfig, spec["mlsh"])
        agent = make_agent(env, dataclasses.replace(config, macro_length=1))
        return jax.eval_shape(lambda: init_subpolicies(agent, jax.random.key(0))[0])

    subpolicies, spec = restore_subpolicies(path, abstract)
    return subpolicies, from_json(MLSHConfig, spec["mlsh"])


def assess(
    run: Run,
    make_env: MakeEnv,
    training: TrainingConfig,
    subpolicies: SubPolicies,
    evaluation: EvaluationConfig,
    seed: int,
) -> Timed:
    """`adapt.assess` on episodes of full length, one an iteration in each environment."""
    config = training.mlsh
    iterations = evaluation.iterations
    if iterations is None:
        iterations = config.warmup_iterations
    env = make_env(None)
    steps_per_iteration = config.num_envs * env.episode_length
    agent = make_agent(env, dataclasses.replace(config, steps_per_iteration=steps_per_iteration))
    tasks = evaluation_tasks(env, evaluation.num_tasks, seed)
    layout = run.layout.largest_even(tasks.index.shape[0])

    def measure(subpolicies: SubPolicies, tasks: Tasks, key: jax.Array) -> adapt.Assessment:
        tasks = layout.spread_if_even(tasks)
        return adapt.assess(agent, subpolicies, tasks, key, evaluation.num_envs, iterations)[0]

    arguments = subpolicies, tasks, _key(seed, _ASSESSMENT)
    return _timed(run, "evaluation.num_envs", layout, measure, *layout.replicate(arguments))


def evaluation_tasks(env: Any, num_tasks: int, seed: int) -> Tasks:
    """The tasks on which the masters of a run with this seed are measured."""
    return adapt.evaluation_tasks(env, _key(seed, _EVALUATION_TASKS), num_tasks)


def adaptation_config(
    make_env: MakeEnv, config: AdaptationConfig, trained: MLSHConfig
) -> MLSHConfig:
    """The algorithm's configuration of an adaptation in this environment."""
    return config.applied_to(trained, make_env(config.episode_length).episode_length)


@struct.dataclass
class AdaptationStage:
    """Masters that are learning and the φ they learn on, so that both are resumed together.

    Attributes:
        subpolicies: φ, which stays as it is.
        adaptation: the masters.
    """

    subpolicies: SubPolicies
    adaptation: adapt.AdaptationState


def adapt_masters(
    run: Run,
    make_env: MakeEnv,
    config: AdaptationConfig,
    trained: MLSHConfig,
    subpolicies: SubPolicies,
    seed: int,
) -> FitResult[AdaptationStage]:
    """Fresh masters learn with φ frozen; stage "adapt" of the run."""
    mlsh_config = adaptation_config(make_env, config, trained)
    agent = make_agent(make_env(config.episode_length), mlsh_config)
    tasks = evaluation_tasks(agent.env, config.num_tasks, seed)
    run.layout.check("num_tasks", tasks.index.shape[0])
    layout = run.layout.largest_even(tasks.index.shape[0])
    # On the host: a program cannot close over arrays of other processes.
    subpolicies = jax.device_get(subpolicies)

    def step(state: AdaptationStage) -> tuple[AdaptationStage, Mapping]:
        adaptation, metrics = adapt.adapt(agent, state.subpolicies, state.adaptation, 1)
        state = dataclasses.replace(state, adaptation=adaptation)
        return state, {name: values[0] for name, values in metrics.items()}

    return fit(
        run,
        "adapt",
        step,
        lambda: AdaptationStage(
            subpolicies, adapt.init_adaptation(agent, _key(seed, _ADAPTATION), tasks)
        ),
        num_iterations=config.iterations,
        env_steps_per_iteration=tasks.index.shape[0] * mlsh_config.steps_per_iteration,
        describe=describe_iteration,
        score=lambda metrics: metrics["return"],
        checkpoint_every=config.checkpoint_every,
        keep_last=config.keep_checkpoints,
        spread=("adaptation.lives",),
        layout=layout,
    )


def evaluate_masters(
    run: Run,
    make_env: MakeEnv,
    config: MLSHConfig,
    state: AdaptationStage,
    episodes: int,
    seed: int,
) -> Timed:
    """Plays full episodes with untrained masters, adapted masters and each sub-policy alone."""
    agent = make_agent(make_env(None), config)

    def measure(state: AdaptationStage, key: jax.Array) -> adapt.Assessment:
        key_fresh, key_play = jax.random.split(key)
        lives = state.adaptation.lives
        fresh = mlsh.init_masters(agent, key_fresh, lives.tasks.index.shape[0])
        return adapt.compare(
            agent, state.subpolicies, fresh, lives.masters, lives.tasks, key_play, episodes
        )

    layout = run.layout.largest_even(state.adaptation.lives.tasks.index.shape[0])
    key = layout.replicate(_key(seed, _EPISODES))
    return _timed(run, "episodes", layout, measure, state, key)


def train_single_policy(
    run: Run,
    make_env: MakeEnv,
    config: AdaptationConfig,
    ppo: PPOConfig,
    seed: int,
) -> FitResult[single_policy.SinglePolicyState]:
    """One policy without hierarchy learns from as many env steps; stage "single_policy"."""
    agent = single_policy_agents(make_env, config, ppo)[0]
    tasks = evaluation_tasks(agent.env, config.num_tasks, seed)
    layout = run.layout.largest_even(tasks.index.shape[0])
    agent = dataclasses.replace(agent, num_shares=layout.num_devices)
    return fit(
        run,
        "single_policy",
        functools.partial(single_policy.iteration, agent),
        lambda: single_policy.init(agent, _key(seed, _SINGLE_POLICY), tasks),
        num_iterations=config.iterations,
        env_steps_per_iteration=tasks.index.shape[0] * agent.config.steps_per_iteration,
        describe=describe_iteration,
        score=lambda metrics: metrics["return"],
        checkpoint_every=config.checkpoint_every,
        keep_last=config.keep_checkpoints,
        spread=("tasks", "env_states"),
        layout=layout,
    )


def evaluate_single_policy(
    run: Run,
    make_env: MakeEnv,
    config: AdaptationConfig,
    ppo: PPOConfig,
    state: single_policy.SinglePolicyState,
    episodes: int,
    seed: int,
) -> Timed:
    """Plays full episodes with the single policy."""
    agent = single_policy_agents(make_env, config, ppo)[1]

    def measure(state: single_policy.SinglePolicyState, key: jax.Array) -> adapt.Episodes:
        return single_policy.evaluate(agent, state.policy, state.tasks, key, episodes)

    layout = run.layout.largest_even(state.tasks.index.shape[0])
    key = layout.replicate(_key(seed, _EPISODES))
    return _timed(run, "episodes", layout, measure, state, key)


def single_policy_agents(
    make_env: MakeEnv, config: AdaptationConfig, ppo: PPOConfig
) -> tuple[Agent, Agent]:
    """A single policy that learns, and one that plays full episodes.

    It has the environments and batch sizes of the masters. Nothing happens for it at the ends of
    slices, so they are as long as a rollout and both kinds of episodes allow: its advantages are
    those of plain PPO.

    Raises:
        ConfigError: naming what does not fit.
    """
    training_env, full_env = make_env(config.episode_length), make_env(None)
    length = training_env.episode_length
    steps = config.steps_per_iteration or config.num_envs * length
    slice_length = math.gcd(steps // config.num_envs, length, full_env.episode_length)
    config = dataclasses.replace(config, macro_length=slice_length)
    one_policy = config.applied_to(MLSHConfig(num_subpolicies=1), length)
    one_policy = dataclasses.replace(one_policy, subpolicy=ppo)
    return (
        single_policy.make_single_policy(training_env, one_policy),
        single_policy.make_single_policy(full_env, one_policy),
    )


def describe_meta_iteration(metrics: Metrics) -> dict[str, str]:
    """What the progress line shows of a meta-iteration."""
    text = {"return": f"{metrics['return_start']:.2f} → {metrics['return']:.2f}"}
    return text | _describe_tasks(metrics)


def describe_iteration(metrics: Metrics) -> dict[str, str]:
    """What the progress line shows of an iteration of adaptation or of a single policy."""
    return {"return": f"{metrics['return']:.2f}"} | _describe_tasks(metrics)


def _describe_tasks(metrics: Metrics) -> dict[str, str]:
    text = {}
    if "success_rate" in metrics:
        text["success"] = f"{metrics['success_rate']:.0%}"
    if metrics["physics_failures"] > 0:
        text["physics failures"] = f"{metrics['physics_failures']:.0f}"
    if len(metrics.get("task_return", ())) > 1:
        text["tasks"] = " ".join(f"{value:.1f}" for value in metrics["task_return"])
    if len(metrics["usage"]) > 1:
        text["usage"] = " ".join(f"{value:.2f}" for value in metrics["usage"])
    return text
