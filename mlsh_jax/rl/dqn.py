"""Deep Q-learning with a target network and a replay memory, for masters.

Mnih et al. 2015 (Nature 518); actions of the target are chosen by the network that learns (double
Q-learning, van Hasselt et al. 2016, arXiv 1509.06461). What is learned are the values of the
sub-policies at the start of a slice, on macro transitions. The memory is that of one life: a new
task begins with an empty one. Observations are kept as they were seen and normalized when they are
learned from, since what normalizes them changes during a life.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mlsh_jax.rl import updates
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.distributions import Categorical, Distribution
from mlsh_jax.rl.losses import Means
from mlsh_jax.rl.networks import Network, Params
from mlsh_jax.rl.rules import Rule, Transitions, merge_time


@struct.dataclass
class Replay:
    """The newest transitions of a life, in a ring of C places.

    Attributes:
        observation: `[C, O]`.
        action: int32 `[C]`.
        reward: `[C]`.
        next_observation: `[C, O]`.
        continues: 0 where the episode ended for good, else 1, `[C]`.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    next_observation: jax.Array
    continues: jax.Array


@struct.dataclass
class DQNState:
    """What is kept beside the network.

    Attributes:
        opt_state: moments of the optimizer.
        target: parameters of the target network.
        replay: the memory.
        added: transitions that were ever added to it, int32 scalar.
        iteration: updates so far, int32 scalar.
    """

    opt_state: optax.OptState
    target: Params
    replay: Replay
    added: jax.Array
    iteration: jax.Array


def init(config: LearnerConfig, params: Params, observation_size: int) -> DQNState:
    """An empty memory, and a target network that is the network."""
    size = config.replay_size
    replay = Replay(
        observation=jnp.zeros((size, observation_size)),
        action=jnp.zeros((size,), jnp.int32),
        reward=jnp.zeros((size,)),
        next_observation=jnp.zeros((size, observation_size)),
        continues=jnp.zeros((size,)),
    )
    zero = jnp.zeros((), jnp.int32)
    opt_state = updates.make_optimizer(config).init(params)
    return DQNState(opt_state, target=params, replay=replay, added=zero, iteration=zero)


def q_values(network: Network, params: Params, observation: jax.Array) -> jax.Array:
    """Q of every action, `[..., A]`: what the network of the policy puts out."""
    distribution = network.policy(params, observation)
    assert isinstance(distribution, Categorical)
    return distribution.logits


def exploration(config: LearnerConfig, iteration: jax.Array) -> jax.Array:
    """ε, the share of random choices: linear from 1 to the final one."""
    progress = jnp.minimum(iteration / config.exploration_iterations, 1.0)
    return 1.0 + (config.final_exploration - 1.0) * progress


def policy(
    network: Network,
    config: LearnerConfig,
    params: Params,
    state: DQNState,
    observation: jax.Array,
) -> Distribution:
    """ε-greedy choices at normalized observations `[..., O]`."""
    return _mostly_greedy(network, params, observation, exploration(config, state.iteration))


def play(
    network: Network,
    config: LearnerConfig,
    params: Params,
    state: DQNState,
    observation: jax.Array,
) -> Distribution:
    """The best choices as far as is known: any before the first update, then the greedy ones."""
    del config
    return _mostly_greedy(network, params, observation, jnp.where(state.iteration > 0, 0.0, 1.0))


def remember(
    replay: Replay, added: jax.Array, transitions: Transitions
) -> tuple[Replay, jax.Array]:
    """Puts transitions `[T, E, ...]` in the place of the oldest.

    Args:
        replay: the memory.
        added: transitions that were ever added to it.
        transitions: in the order of time; of more than fit the newest are kept.

    Returns:
        The memory, and transitions that were ever added to it.
    """
    size = replay.action.shape[0]
    new = jax.tree.map(lambda x: x[-size:], merge_time(transitions))  # [T * E, ...]
    count = new.action.shape[0]
    place = (added + jnp.arange(count)) % size

    def put(memory: jax.Array, values: jax.Array) -> jax.Array:
        return memory.at[place].set(values.astype(memory.dtype))

    replay = Replay(
        observation=put(replay.observation, new.observation),
        action=put(replay.action, new.action),
        reward=put(replay.reward, new.reward),
        next_observation=put(replay.next_observation, new.next_observation),
        continues=put(replay.continues, ~new.terminated),
    )
    return replay, added + count


def td_errors(
    network: Network,
    config: LearnerConfig,
    params: Params,
    target: Params,
    batch: Replay,
    normalize: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """Double Q-learning's errors of a batch `[B]` (van Hasselt et al. 2016, equation 4)."""
    observation, following = normalize(batch.observation), normalize(batch.next_observation)
    best = jnp.argmax(q_values(network, params, following), axis=-1)  # [B]
    next_value = _pick(q_values(network, target, following), best)
    goal = batch.reward + config.discount * batch.continues * next_value
    value = _pick(q_values(network, params, observation), batch.action)
    return value - jax.lax.stop_gradient(goal)


def update(
    network: Network,
    config: LearnerConfig,
    params: Params,
    state: DQNState,
    transitions: Transitions,
    normalize: Callable[[jax.Array], jax.Array],
    key: jax.Array,
) -> tuple[Params, DQNState, Means]:
    """Adds the transitions to the memory and makes gradient steps on what is in it."""
    optimizer = updates.make_optimizer(config)
    replay, added = remember(state.replay, state.added, transitions)
    filled = jnp.minimum(added, config.replay_size)

    def loss(params: Params, target: Params, batch: Replay) -> jax.Array:
        errors = td_errors(network, config, params, target, batch, normalize)
        return optax.huber_loss(errors).mean()

    def step(carry: tuple[Params, Params, optax.OptState], inputs: tuple[jax.Array, jax.Array]):
        (params, target, opt_state), (number, key) = carry, inputs
        rows = jax.random.randint(key, (config.replay_batch,), 0, filled)
        batch = jax.tree.map(lambda x: x[rows], replay)
        error, gradient = jax.value_and_grad(loss)(params, target, batch)
        change, opt_state = optimizer.update(gradient, opt_state, params)
        params = optax.apply_updates(params, change)
        is_due = (number + 1) % config.target_period == 0
        target = jax.tree.map(lambda new, old: jnp.where(is_due, new, old), params, target)
        return (params, target, opt_state), error

    numbers = state.iteration * config.gradient_steps + jnp.arange(config.gradient_steps)
    (params, target, opt_state), errors = jax.lax.scan(
        step,
        (params, state.target, state.opt_state),
        (numbers, jax.random.split(key, config.gradient_steps)),
    )
    metrics = {
        "td_loss": errors.mean(),
        "value": q_values(network, params, normalize(transitions.observation)).max(-1).mean(),
        "exploration": exploration(config, state.iteration),
    }
    return params, DQNState(opt_state, target, replay, added, state.iteration + 1), metrics


def _mostly_greedy(
    network: Network, params: Params, observation: jax.Array, epsilon: jax.Array
) -> Distribution:
    """Greedy choices but for a share ε of random ones."""
    values = q_values(network, params, observation)
    num_actions = values.shape[-1]
    greedy = jax.nn.one_hot(jnp.argmax(values, axis=-1), num_actions)
    return Categorical(jnp.log((1.0 - epsilon) * greedy + epsilon / num_actions))


def _pick(values: jax.Array, action: jax.Array) -> jax.Array:
    """The entry of `values` `[..., A]` that `action` `[...]` names."""
    return jnp.take_along_axis(values, action[..., None], axis=-1)[..., 0]


DQN = Rule(init=init, policy=policy, update=update, play=play)
