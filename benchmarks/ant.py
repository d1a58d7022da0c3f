"""What meta-training costs beyond the physics of the ant, and what Brax's own PPO costs."""

import dataclasses
import functools
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

import envs.quiet  # before Brax, which imports what would print

# isort: split
from brax.training.agents.ppo import networks as brax_networks
from brax.training.agents.ppo import train as brax_ppo

import envs
from benchmarks import bodies, growth
from benchmarks.config import BatchName, Config, ContenderName
from benchmarks.measure import Case, Contender, Report, Row, one_round, ratio, timing, warm_up
from envs.wrappers import EpisodeWrapper
from experiments import ant_twowalk
from mlsh_jax import mlsh
from mlsh_jax.agent import Agent, make_agent
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.compilation import compile_ahead
from mlsh_jax.host.devices import Layout, default_layout, split_cpu
from mlsh_jax.tasks import Tasks, sample_tasks


@dataclasses.dataclass(frozen=True)
class BatchShape:
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


BATCHES: dict[BatchName, BatchShape] = {
    "long": BatchShape(length=200, macro_length=50, unroll=50, num_minibatches=16, repeats=1),
    "brax": BatchShape(length=80, macro_length=20, unroll=5, num_minibatches=32, repeats=2),
    "short": BatchShape(length=5, macro_length=5, unroll=5, num_minibatches=32, repeats=40),
}
"""Batches like that of `ant_twowalk`; like that of Brax's own example of the ant, which has 16
unrolls of 5 steps of each environment in 32 minibatches; and one unroll of each, so that hardly
anything but gradient steps is left. All have 4 epochs."""

TITLE = "ant_twowalk: meta-training, the physics alone and Brax PPO"

_EPISODE_LENGTH = 200
_BRAX_WARM_UP = 2
_NAMES: dict[ContenderName, str] = {
    "physics": "physics alone",
    "rollouts": "rollouts",
    "masters": "rollouts + masters",
    "training": "meta-training",
    "brax": "Brax PPO",
    "brax-one": "Brax PPO",
}
_BRAX: tuple[ContenderName, ...] = ("brax", "brax-one")
_CALLS_OF_TRAINING = 3  # as many env steps as this many episodes: W 1 and U 2
# On 2 cores: seconds of compiling, and env steps per second.
_COSTS: dict[ContenderName, tuple[float, float]] = {
    "physics": (8.0, 38_000.0),
    "rollouts": (10.0, 38_000.0),
    "masters": (14.0, 37_000.0),
    "training": (20.0, 30_000.0),
    "brax": (40.0, 30_000.0),
    "brax-one": (40.0, 19_000.0),
}
_STARTING_SECONDS = 10.0


def cases(config: Config) -> list[Case]:
    """One case for each number of ants, each batch, and Brax on all devices and on one.

    Raises:
        ConfigError: Brax's PPO does not run here.
    """
    ours = tuple(name for name in _NAMES if name in config.contenders and name not in _BRAX)
    brax = [name for name in _BRAX if name in config.contenders]
    if brax and not hasattr(jax, "device_put_replicated"):  # up to jax 0.10
        others = " ".join(ours) or "others"
        raise ConfigError(
            f"--contenders: Brax's PPO does not run with jax {jax.__version__}; name {others}"
        )
    return [
        Case(
            f"{number} ants, {batch} batches, {', '.join(contenders)}, rounds: {config.rounds}",
            measure,
            (number, batch, config.rounds, contenders),
            _seconds(number, config.rounds, contenders),
        )
        for number, batch in itertools.product(config.ant_envs, config.batches)
        for contenders in ([(*ours, name) for name in brax] or [ours])
    ]


def _seconds(num_envs: int, rounds: int, contenders: Sequence[ContenderName]) -> float:
    """About how long a case takes on 2 cores."""
    seconds = _STARTING_SECONDS
    for name in contenders:
        compiling, rate = _COSTS[name]
        episodes = _CALLS_OF_TRAINING if name in ("training", *_BRAX) else 1
        calls = rounds + (_BRAX_WARM_UP if name in _BRAX else 1)
        seconds += compiling + calls * episodes * num_envs * _EPISODE_LENGTH / rate
    return seconds


def measure(
    report: Report,
    num_envs: int,
    batch_name: BatchName,
    rounds: int,
    contenders: Sequence[ContenderName],
) -> list[Row]:
    """Physics alone, with more and more of meta-training added, and Brax PPO, in turns.

    All of them run on as many devices as an experiment does by default; Brax PPO too, or, as
    "brax-one", on one, which is how JAX shows it a CPU if nothing else is said.
    """
    split_cpu()
    batch = BATCHES[batch_name]
    config = ant_config(num_envs, batch)
    layout = default_layout().largest_even(config.num_tasks)
    env = envs.make("ant_twowalk", episode_length=_EPISODE_LENGTH)
    agent = make_agent(env, config, num_shares=layout.num_devices)
    devices = dict.fromkeys(contenders, layout.num_devices) | {"brax-one": 1}
    ours = _compiled(agent, layout, batch, contenders, report)
    warm_up(ours)
    by_round: list[dict[str, float]] = []

    def our_turn() -> None:
        by_round.append(one_round(ours, len(by_round) + 1, report))

    brax = [name for name in contenders if name in _BRAX]
    rates: dict[ContenderName, list[float]] = {}
    if brax:
        rates[brax[0]] = brax_rates(agent, batch, devices[brax[0]], rounds, our_turn, report)
    else:
        for _ in range(rounds):
            our_turn()
    for name in contenders:
        if name in _MAKERS:
            rates[name] = [of_round[_NAMES[name]] for of_round in by_round]
    return [
        {"envs": num_envs, "batch": batch_name, "devices": devices[name]} | row
        for name, row in zip(contenders, _rows(contenders, rates), strict=True)
    ]


def _compiled(
    agent: Agent,
    layout: Layout,
    batch: BatchShape,
    contenders: Sequence[ContenderName],
    report: Report,
) -> list[Contender]:
    """All that is not Brax, each reported when it is compiled."""
    ours = []
    for name in contenders:
        if name in _MAKERS:
            contender = _MAKERS[name](agent, layout, batch)
            report({"what": contender.name, "compile s": contender.program.compile_seconds})
            ours.append(contender)
    return ours


def _rows(
    contenders: Sequence[ContenderName], rates: Mapping[ContenderName, Sequence[float]]
) -> list[Row]:
    """What the table says of each contender, beside the physics and Brax where these took part."""
    references = [name for name in contenders if name in ("physics", *_BRAX)]
    columns = {"physics": "of physics", "brax": "of Brax PPO", "brax-one": "of Brax PPO"}
    return [
        {
            "what": _NAMES[name],
            "steps/s": round(statistics.median(rates[name])),
            **{columns[other]: ratio(rates[name], rates[other]) for other in references},
            "rounds": [round(value) for value in rates[name]],
        }
        for name in contenders
    ]


def ant_config(num_envs: int, batch: BatchShape) -> Any:
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
    agent: Agent,
    batch: BatchShape,
    num_devices: int,
    rounds: int,
    others_turn: Callable[[], None],
    report: Report,
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

    def progress(env_steps: int, metrics: Any) -> None:
        del env_steps
        rates.append(float(metrics["training/sps"]))
        number = len(rates) - _BRAX_WARM_UP
        if number <= 0:
            report({"what": _NAMES["brax"], "warm-up": f"{len(rates)} of {_BRAX_WARM_UP}"})
            return
        report(timing(_NAMES["brax"], number, rates[-1]))
        others_turn()

    assert isinstance(agent.env, EpisodeWrapper)
    brax_ppo.train(
        environment=agent.env.unwrapped,
        num_timesteps=(rounds + _BRAX_WARM_UP) * mlsh_config.env_steps_per_meta_iteration,
        max_devices_per_host=num_devices,
        num_evals=rounds + _BRAX_WARM_UP + 1,  # one of them before training
        run_evals=False,
        progress_fn=progress,
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


def _physics(agent: Agent, layout: Layout, batch: BatchShape) -> Contender:
    """The environment itself, for as many env steps as an episode has."""
    del batch
    assert isinstance(agent.env, EpisodeWrapper)
    config = agent.config
    return bodies.physics_alone(
        _NAMES["physics"], agent.env.env, layout, config.num_tasks, config.num_envs, _EPISODE_LENGTH
    )


def _rollouts(agent: Agent, layout: Layout, batch: BatchShape) -> Contender:
    """Masters and sub-policies act; nobody reads the rollouts, so XLA does not store them."""
    subpolicies = jax.device_put(mlsh.init(agent, jax.random.key(0)).subpolicies, layout.replicated)

    def iterations(lives: mlsh.Lives) -> mlsh.Lives:
        def iteration(lives: mlsh.Lives, key: jax.Array) -> tuple[mlsh.Lives, None]:
            return mlsh.collect(agent, subpolicies, lives, key)[0], None

        keys = jax.random.split(jax.random.key(2), _repeats(batch))
        return jax.lax.scan(iteration, lives, keys)[0]

    return _of_lives(_NAMES["rollouts"], agent, layout, iterations, _repeats(batch))


def _masters(agent: Agent, layout: Layout, batch: BatchShape) -> Contender:
    subpolicies = jax.device_put(mlsh.init(agent, jax.random.key(0)).subpolicies, layout.replicated)

    def iterations(lives: mlsh.Lives) -> mlsh.Lives:
        return mlsh.warmup(agent, subpolicies, lives, jax.random.key(2), _repeats(batch))[0]

    return _of_lives(_NAMES["masters"], agent, layout, iterations, _repeats(batch))


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
    program = compile_ahead(iterations, lives, out_shardings=layout.by_task, has_physics=True)
    return Contender(name, program, lives, steps)


def _training(agent: Agent, layout: Layout, batch: BatchShape) -> Contender:
    del batch
    return Contender(_NAMES["training"], *growth.training(agent, layout))


def _repeats(batch: BatchShape) -> int:
    """Iterations with which rollouts and masters have as many env steps as the physics."""
    return _EPISODE_LENGTH // batch.length


_MAKERS: dict[ContenderName, Callable[[Agent, Layout, BatchShape], Contender]] = {
    "physics": _physics,
    "rollouts": _rollouts,
    "masters": _masters,
    "training": _training,
}
