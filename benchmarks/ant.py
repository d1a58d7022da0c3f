"""What meta-training costs beyond the physics of the ant, and what Brax's own PPO costs."""

import functools
import statistics
from collections.abc import Callable
from typing import Any

import jax
from brax.training.agents.ppo import networks as brax_networks
from brax.training.agents.ppo import train as brax_ppo

import envs
from benchmarks import growth
from benchmarks.measure import Contender, one_round, ratio
from experiments import ant_twowalk
from mlsh_jax import mlsh
from mlsh_jax.compilation import compile_ahead
from mlsh_jax.learners import Agent, make_agent
from mlsh_jax.rollout import start_episodes
from mlsh_jax.tasks import Tasks, sample_tasks

_LENGTH = 200  # env steps of an environment in an iteration
_BRAX_WARM_UP = 2
_UNROLL = 50  # of Brax PPO, which has no slices
_PHYSICS, _ROLLOUTS, _MASTERS, _TRAINING = (
    "physics alone",
    "rollouts",
    "rollouts + masters",
    "meta-training",
)


def measure(num_envs: int, rounds: int) -> list[dict[str, Any]]:
    """Physics alone, with more and more of meta-training added, and Brax PPO, in turns."""
    config = growth.ant_config(num_envs // ant_twowalk.TRAINING.mlsh.num_tasks, _LENGTH)
    agent = make_agent(envs.make("ant_twowalk", episode_length=_LENGTH), config)
    contenders = [_physics(agent), _rollouts(agent), _masters(agent), _training(agent)]
    one_round(contenders)  # warm-up
    by_round: list[dict[str, float]] = []
    brax = brax_rates(agent, rounds, lambda: by_round.append(one_round(contenders)))
    rates = {contender.name: [r[contender.name] for r in by_round] for contender in contenders}
    rates["Brax PPO"] = brax
    return [
        {
            "envs": num_envs,
            "what": name,
            "steps/s": round(statistics.median(values)),
            "of physics": ratio(values, rates[_PHYSICS]),
            "of Brax PPO": ratio(values, rates["Brax PPO"]),
            "rounds": [round(value) for value in values],
        }
        for name, values in rates.items()
    ]


def brax_rates(agent: Agent, rounds: int, others_turn: Callable[[], None]) -> list[float]:
    """Environment steps per second of Brax's PPO in every round.

    It has the same environments, networks, epochs and minibatches; all of its data is learned
    from. Its trainer reports after every epoch of one batch, and then it is the others' turn.
    The first two, in both of which it compiles, are not counted.
    """
    mlsh_config, ppo = agent.config, agent.config.subpolicy
    num_envs = mlsh_config.num_tasks * mlsh_config.num_envs
    unrolls = num_envs * _LENGTH // _UNROLL
    iterations = mlsh_config.warmup_iterations + mlsh_config.joint_iterations
    rates: list[float] = []

    def report(env_steps: int, metrics: Any) -> None:
        del env_steps
        rates.append(float(metrics["training/sps"]))
        if len(rates) > _BRAX_WARM_UP:
            others_turn()

    brax_ppo.train(
        environment=agent.env.unwrapped,
        num_timesteps=(rounds + _BRAX_WARM_UP) * iterations * num_envs * _LENGTH,
        num_evals=rounds + _BRAX_WARM_UP + 1,  # one of them before training
        run_evals=False,
        progress_fn=report,
        episode_length=_LENGTH,
        num_envs=num_envs,
        unroll_length=_UNROLL,
        batch_size=unrolls // ppo.num_minibatches,
        num_minibatches=ppo.num_minibatches,
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


def _physics(agent: Agent) -> Contender:
    """The environment itself, without time limit, restarts or anything that learns."""
    env = agent.env.env
    num_tasks, num_envs = agent.config.num_tasks, agent.config.num_envs
    start = jax.vmap(lambda key, task: start_episodes(env, key, task, num_envs))
    keys = jax.random.split(jax.random.key(0), num_tasks)
    carry = jax.jit(start)(keys, _tasks(agent).task), jax.random.key(1)

    def step(state: Any, key: jax.Array) -> tuple[Any, None]:
        shape = (num_tasks, num_envs, env.action_size)
        action = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
        return jax.vmap(jax.vmap(env.step))(state, action), None

    def steps(carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        state, key = carry
        key, key_steps = jax.random.split(key)
        return jax.lax.scan(step, state, jax.random.split(key_steps, _LENGTH))[0], key

    program = compile_ahead(steps, carry, donate=True)
    return Contender(_PHYSICS, program, carry, num_tasks * num_envs * _LENGTH)


def _rollouts(agent: Agent) -> Contender:
    """Masters and sub-policies act; nobody reads the rollouts, so XLA does not store them."""
    subpolicies = mlsh.init(agent, jax.random.key(0)).subpolicies
    key = jax.random.key(2)
    return _of_lives(
        _ROLLOUTS, agent, lambda lives: mlsh.collect(agent, subpolicies, lives, key)[0]
    )


def _masters(agent: Agent) -> Contender:
    subpolicies = mlsh.init(agent, jax.random.key(0)).subpolicies
    key = jax.random.key(2)
    return _of_lives(
        _MASTERS, agent, lambda lives: mlsh.warmup(agent, subpolicies, lives, key, 1)[0]
    )


def _of_lives(name: str, agent: Agent, iteration: Callable[[mlsh.Lives], mlsh.Lives]) -> Contender:
    lives = mlsh.begin_lives(agent, jax.random.key(1), _tasks(agent))
    steps = agent.config.num_tasks * agent.config.steps_per_iteration
    return Contender(name, compile_ahead(iteration, lives), lives, steps)


def _training(agent: Agent) -> Contender:
    def meta_iteration(state: mlsh.MetaState) -> mlsh.MetaState:
        return mlsh.meta_iteration(agent, state)[0]

    state = mlsh.init(agent, jax.random.key(0))
    program = compile_ahead(meta_iteration, state, donate=True)
    return Contender(_TRAINING, program, state, agent.config.env_steps_per_meta_iteration)
