"""What experiments train and measure, as methods: φ, masters on frozen φ, baselines beside them."""

import dataclasses
import functools

import jax
from flax import struct

from experiments.harness.config import (
    AS_TRAINED,
    AdaptationConfig,
    EvaluationConfig,
    MakeEnv,
)
from mlsh_jax import adapt, mlsh
from mlsh_jax.adapt import Assessment, FrozenState
from mlsh_jax.agent import Agent, Master, SubPolicies, make_agent
from mlsh_jax.baselines.method import Method, Setting
from mlsh_jax.config import MLSHConfig
from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.host.devices import Layout
from mlsh_jax.metrics import Metrics
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.tasks import Tasks

CURVE = ("return", "episodes", "task_return")
"""What is kept of the adaptation; the last one where tasks are finite."""


@struct.dataclass
class Measured:
    """What the closing measurement of a hierarchy plays with.

    Attributes:
        subpolicies: φ.
        initial: untrained masters, `[G, ...]`.
        adapted: masters that have learned, `[G, ...]`.
        tasks: `[G, ...]`.
        curve: those of `CURVE` that there are, of each iteration of the adaptation,
            `[iterations, ...]`; empty where a stage of the run has recorded them.
    """

    subpolicies: SubPolicies
    initial: Master
    adapted: Master
    tasks: Tasks
    curve: Metrics = struct.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Closing:
    """The closing measurement of φ: masters adapt, and then they and each sub-policy alone play.

    Attributes:
        agent: on whole episodes, one of them an iteration in each environment.
        tasks: `[G, ...]`.
        layout: the devices that they are spread over, if evenly; None to say nothing of that.
        num_envs: episodes per task and behavior.
        iterations: of adaptation.
    """

    agent: Agent
    tasks: Tasks
    layout: Layout | None
    num_envs: int
    iterations: int

    def adapt(self, subpolicies: SubPolicies, key: jax.Array) -> Measured:
        """Fresh masters, before and after adaptation."""
        tasks = self.tasks
        if self.layout is not None:
            tasks = self.layout.spread_if_even(tasks)
        start = adapt.init_adaptation(self.agent, key, tasks)
        end, metrics = adapt.adapt(self.agent, subpolicies, start, self.iterations)
        curve = {name: metrics[name] for name in CURVE if name in metrics}
        return Measured(subpolicies, start.lives.masters, end.lives.masters, tasks, curve)

    def play(self, measured: Measured, key: jax.Array) -> tuple[Assessment, Metrics]:
        """Whole episodes of each, and the curve of the adaptation."""
        return _compare(self.agent, measured, key, self.num_envs), measured.curve


def closing_measurement(
    env: TaskEnvironment,
    config: MLSHConfig,
    evaluation: EvaluationConfig,
    tasks: Tasks,
    layout: Layout,
) -> Closing:
    """How φ that was trained with `config` is measured on whole episodes of `env`."""
    iterations = evaluation.iterations
    if iterations is None:
        iterations = config.warmup_iterations
    steps_per_iteration = config.num_envs * env.episode_length
    agent = make_agent(env, dataclasses.replace(config, steps_per_iteration=steps_per_iteration))
    return Closing(agent, tasks, layout, evaluation.num_envs, iterations)


def meta_training(agent: Agent, layout: Layout, closing: Closing | None) -> Method[mlsh.MetaState]:
    """φ, learned on many tasks; measured by fresh masters that adapt to the tasks of `closing`.

    Args:
        agent: on the episodes to learn from.
        layout: the devices that tasks are trained on.
        closing: how φ is measured; None where it is not.
    """

    def adapt_to_tasks(state: mlsh.MetaState, key: jax.Array) -> Measured:
        assert closing is not None, "φ is trained here and measured elsewhere"
        return closing.adapt(state.subpolicies, key)

    def play(measured: Measured, key: jax.Array) -> tuple[Assessment, Metrics]:
        assert closing is not None, "φ is trained here and measured elsewhere"
        return closing.play(measured, key)

    return Method(
        name="train",
        init=functools.partial(mlsh.init, agent),
        iteration=functools.partial(mlsh.meta_iteration, agent, shard=layout.spread),
        adapt=adapt_to_tasks,
        play=play,
        env_steps=agent.config.env_steps_per_meta_iteration,
        num_tasks=agent.config.num_tasks if closing is None else closing.tasks.index.shape[0],
    )


def adaptation(
    make_env: MakeEnv,
    config: AdaptationConfig,
    trained: MLSHConfig,
    subpolicies: SubPolicies,
    tasks: Tasks,
    num_episodes: int,
) -> Method[FrozenState]:
    """Fresh masters that learn with φ frozen.

    Args:
        make_env: makes the environment.
        config: of the masters.
        trained: how the sub-policies were trained.
        subpolicies: φ, on the host: a program cannot close over arrays of other processes.
        tasks: `[G, ...]`.
        num_episodes: per master and behavior in the closing measurement.
    """
    agent, full_agent = (
        make_agent(make_env(length), adaptation_config(make_env, config, trained))
        for length in (config.episode_length, None)
    )
    num_tasks = tasks.index.shape[0]

    def init(key: jax.Array) -> FrozenState:
        return FrozenState(subpolicies, adapt.init_adaptation(agent, key, tasks))

    def beside_fresh(state: FrozenState, key: jax.Array) -> Measured:
        lives = state.adaptation.lives
        fresh = mlsh.init_masters(full_agent, key, num_tasks)
        return Measured(state.subpolicies, fresh, lives.masters, lives.tasks)

    return Method(
        name="adapt",
        init=init,
        iteration=functools.partial(adapt.iteration, agent),
        adapt=beside_fresh,
        play=lambda measured, key: _compare(full_agent, measured, key, num_episodes),
        env_steps=num_tasks * agent.config.steps_per_iteration,
        num_tasks=num_tasks,
        spread=("adaptation.lives",),
    )


def adaptation_config(
    make_env: MakeEnv, config: AdaptationConfig, trained: MLSHConfig
) -> MLSHConfig:
    """The algorithm's configuration of an adaptation in this environment."""
    return config.applied_to(trained, make_env(config.episode_length).episode_length)


def baseline_setting(
    make_env: MakeEnv,
    config: AdaptationConfig,
    learner: LearnerConfig,
    tasks: Tasks,
    num_episodes: int,
    num_shares: int = 1,
    option: str = "learner",
    trained: MLSHConfig | None = None,
) -> Setting:
    """The environments, tasks and batches that masters have, for what they are compared with.

    Args:
        make_env: makes the environment.
        config: of the masters.
        learner: how the baseline learns.
        tasks: `[G, ...]`.
        num_episodes: per task in the closing measurement.
        num_shares: in how many equal shares tasks lie on different devices.
        option: what the learner's options are called, for messages.
        trained: how the sub-policies of the masters were trained, whose K, N, view of the world
            and frozen actions a baseline has as well; None for the library's defaults.
    """
    # A baseline has no masters: an update rule of theirs must not refuse its batches.
    masterless = dataclasses.replace(config, master=LearnerConfig())
    alike = MLSHConfig()
    if trained is not None:
        names = ("num_subpolicies", "macro_length", *AS_TRAINED)
        alike = dataclasses.replace(
            alike,
            steps_per_iteration=alike.num_envs * trained.macro_length,
            **{name: getattr(trained, name) for name in names},
        )
    return Setting(
        env=make_env(config.episode_length),
        full_env=make_env(None),
        config=adaptation_config(make_env, masterless, alike),
        learner=learner,
        tasks=tasks,
        num_episodes=num_episodes,
        num_shares=num_shares,
        option=option,
    )


def _compare(agent: Agent, measured: Measured, key: jax.Array, num_envs: int) -> Assessment:
    return adapt.compare(
        agent,
        measured.subpolicies,
        measured.initial,
        measured.adapted,
        measured.tasks,
        key,
        num_envs,
    )
