"""What meta-training costs beyond the physics of the ant, and what Brax's own PPO costs."""

import dataclasses
import functools
import statistics
from collections.abc import Callable
from typing import Any, Literal

import jax
from brax.training.agents.ppo import networks as brax_networks
from brax.training.agents.ppo import train as brax_ppo

import envs
from benchmarks import growth
from benchmarks.measure import Contender, one_round, ratio
from experiments import ant_twowalk
from mlsh_jax import mlsh
from mlsh_jax.agent import Agent, make_agent
from mlsh_jax.host.compilation import compile_ahead
from mlsh_jax.host.devices import Layout, default_layout, split_cpu
from mlsh_jax.rollout import start_episodes
from mlsh_jax.tasks import Tasks, sample_tasks

BatchName = Literal["long", "brax", "short"]


@dataclasses.dataclass(frozen=True)
class Batch:
    """What both trainers learn from at a time.

    Attributes:
        length: env steps of an environment in an iteration.
        macro_length: N, of which Brax knows nothing.
        unroll: env steps after which Brax's trainer bootstraps.
        num_minibatches: gradient steps of an epoch.
        repeats: how often W 1 and U 2 are repeated in a meta-iteration.
    """

    length: int
    macro_length: int
    unroll: int
    num_minibatches: int
    repeats: int


BATCHES: dict[BatchName, Batch] = {
    "long": Batch(length=200, macro_length=50, unroll=50, num_minibatches=16, repeats=1),
    "brax": Batch(length=80, macro_length=20, unroll=5, num_minibatches=32, repeats=2),
    "short": Batch(length=5, macro_length=5, unroll=5, num_minibatches=32, repeats=40),
}
"""Batches like that of `ant_twowalk`; like that of Brax's own example of the ant, which has 16
unrolls of 5 steps of each environment in 32 minibatches; and one unroll of each, so that hardly
anything but gradient steps is left. All have 4 epochs."""

_EPISODE_LENGTH = 200
_BRAX_WARM_UP = 2
_PHYSICS, _ROLLOUTS, _MASTERS, _TRAINING, _BRAX = (
    "physics alone",
    "rollouts",
    "rollouts + masters",
    "meta-training",
    "Brax PPO",
)


def measure(
    num_envs: int, batch_name: BatchName, rounds: int, brax_on_one: bool
) -> list[dict[str, Any]]:
    """Physics alone, with more and more of meta-training added, and Brax PPO, in turns.

    All of them run on as many devices as an experiment does by default; Brax PPO too, or, for
    `brax_on_one`, on one, which is how JAX shows it a CPU if nothing else is said.
    """
    split_cpu()
    batch = BATCHES[batch_name]
    config = ant_config(num_envs, batch)
    layout = default_layout().largest_even(config.num_tasks)
    env = envs.make("ant_twowalk", episode_length=_EPISODE_LENGTH)
    agent = make_agent(env, config, num_shares=layout.num_devices)
    repeats = _EPISODE_LENGTH // batch.length  # so that all pieces timed are equally long
    contenders = [
        _physics(agent, layout, _EPISODE_LENGTH),
        _rollouts(agent, layout, repeats),
        _masters(agent, layout, repeats),
        _training(agent, layout),
    ]
    one_round(contenders)  # warm-up
    by_round: list[dict[str, float]] = []
    brax_devices = 1 if brax_on_one else layout.num_devices
    brax = brax_rates(
        agent, batch, brax_devices, rounds, lambda: by_round.append(one_round(contenders))
    )
    rates = {contender.name: [r[contender.name] for r in by_round] for contender in contenders}
    rates[_BRAX] = brax
    return [
        {
            "envs": num_envs,
            "batch": batch_name,
            "devices": brax_devices if name == _BRAX else layout.num_devices,
            "what": name,
            "steps/s": round(statistics.median(values)),
            "of physics": ratio(values, rates[_PHYSICS]),
            "of Brax PPO": ratio(values, rates[_BRAX]),
            "rounds": [round(value) for value in values],
        }
        for name, values in rates.items()
    ]


def ant_config(num_envs: int, batch: Batch) -> Any:
    """That of `ant_twowalk` with W 1 and U 2, repeated, and this batch.

    Args:
        num_envs: of all tasks together.
        batch: what is learned from at a time.
    """
    config = growth.ant_config(num_envs // ant_twowalk.TRAINING.mlsh.num_tasks, _EPISODE_LENGTH)
    return dataclasses.replace(
        config,
        macro_length=batch.macro_length,
        steps_per_iteration=config.num_envs * batch.length,
        warmup_iterations=batch.repeats * config.warmup_iterations,
        joint_iterations=batch.repeats * config.joint_iterations,
        subpolicy=dataclasses.replace(config.subpolicy, num_minibatches=batch.num_minibatches),
    )


def brax_rates(
    agent: Agent, batch: Batch, num_devices: int, rounds: int, others_turn: Callable[[], None]
) -> list[float]:
    """Environment steps per second of Brax's PPO in every round.

    It has the same environments, networks, epochs and minibatches; all of its data is learned
    from. Its trainer reports after as many env steps as a meta-iteration has, and then it is the
    others' turn.
    The first two, in both of which it compiles, are not counted.
    """
    mlsh_config, ppo = agent.config, agent.config.subpolicy
    num_envs = mlsh_config.num_tasks * mlsh_config.num_envs
    unrolls = num_envs * batch.length // batch.unroll
    rates: list[float] = []

    def report(env_steps: int, metrics: Any) -> None:
        del env_steps
        rates.append(float(metrics["training/sps"]))
        if len(rates) > _BRAX_WARM_UP:
            others_turn()

    brax_ppo.train(
        environment=agent.env.unwrapped,
        num_timesteps=(rounds + _BRAX_WARM_UP) * mlsh_config.env_steps_per_meta_iteration,
        max_devices_per_host=num_devices,
        num_evals=rounds + _BRAX_WARM_UP + 1,  # one of them before training
        run_evals=False,
        progress_fn=report,
        episode_length=_EPISODE_LENGTH,
        num_envs=num_envs,
        unroll_length=batch.unroll,
        batch_size=unrolls // batch.num_minibatches,
        num_minibatches=batch.num_minibatches,
        num_updates_per_batch=ppo.epochs,
        normalize_observations=True,
        learning_rate=ppo.learning_rate,
        entropy_cost=ppo.entropy_coefficient,
        discounting=ppo.discount,
        gae_lambda=ppo.gae_lambda,
        clipping_epsilon=ppo.clip_epsilon,
        reward_scaling=mlsh_config.reward_scale,
        network_factory=functools.partial(
            brax_networks.make_ppo_networks,
            policy_hidden_layer_sizes=ppo.hidden_sizes,
            value_hidden_layer_sizes=ppo.hidden_sizes,
            activation=jax.nn.swish,
        ),
    )
    return rates[_BRAX_WARM_UP:]


def _tasks(agent: Agent) -> Tasks:
    return sample_tasks(agent.env, jax.random.key(0), agent.config.num_tasks, stratify=True)


def _physics(agent: Agent, layout: Layout, length: int) -> Contender:
    """The environment itself, without time limit, restarts or anything that learns."""
    env = agent.env.env
    num_tasks, num_envs = agent.config.num_tasks, agent.config.num_envs
    start = jax.vmap(lambda key, task: start_episodes(env, key, task, num_envs))
    keys = jax.random.split(jax.random.key(0), num_tasks)
    carry = (
        jax.device_put(jax.jit(start)(keys, _tasks(agent).task), layout.by_task),
        jax.device_put(jax.random.key(1), layout.replicated),
    )

    def step(state: Any, key: jax.Array) -> tuple[Any, None]:
        shape = (num_tasks, num_envs, env.action_size)
        action = layout.spread(jax.random.uniform(key, shape, minval=-1.0, maxval=1.0))
        return jax.vmap(jax.vmap(env.step))(state, action), None

    def steps(carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        state, key = carry
        key, key_steps = jax.random.split(key)
        return jax.lax.scan(step, state, jax.random.split(key_steps, length))[0], key

    shardings = layout.by_task, layout.replicated
    program = compile_ahead(steps, carry, out_shardings=shardings, donate=True)
    return Contender(_PHYSICS, program, carry, num_tasks * num_envs * length)


def _rollouts(agent: Agent, layout: Layout, repeats: int) -> Contender:
    """Masters and sub-policies act; nobody reads the rollouts, so XLA does not store them."""
    subpolicies = jax.device_put(mlsh.init(agent, jax.random.key(0)).subpolicies, layout.replicated)

    def iterations(lives: mlsh.Lives) -> mlsh.Lives:
        def iteration(lives: mlsh.Lives, key: jax.Array) -> tuple[mlsh.Lives, None]:
            return mlsh.collect(agent, subpolicies, lives, key)[0], None

        return jax.lax.scan(iteration, lives, jax.random.split(jax.random.key(2), repeats))[0]

    return _of_lives(_ROLLOUTS, agent, layout, iterations, repeats)


def _masters(agent: Agent, layout: Layout, repeats: int) -> Contender:
    subpolicies = jax.device_put(mlsh.init(agent, jax.random.key(0)).subpolicies, layout.replicated)

    def iterations(lives: mlsh.Lives) -> mlsh.Lives:
        return mlsh.warmup(agent, subpolicies, lives, jax.random.key(2), repeats)[0]

    return _of_lives(_MASTERS, agent, layout, iterations, repeats)


def _of_lives(
    name: str,
    agent: Agent,
    layout: Layout,
    iterations: Callable[[mlsh.Lives], mlsh.Lives],
    repeats: int,
) -> Contender:
    lives = mlsh.begin_lives(agent, jax.random.key(1), _tasks(agent))
    lives = jax.device_put(lives, layout.by_task)
    steps = repeats * agent.config.num_tasks * agent.config.steps_per_iteration
    program = compile_ahead(iterations, lives, out_shardings=layout.by_task)
    return Contender(name, program, lives, steps)


def _training(agent: Agent, layout: Layout) -> Contender:
    return Contender(_TRAINING, *growth.training(agent, layout))
