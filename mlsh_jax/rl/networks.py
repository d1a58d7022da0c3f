"""Policy and value networks, and the stacking of K sub-policies.

A `Network` is two pure functions of explicit parameters. Sub-policies are one such network
whose parameters carry a leading axis K.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.distributions import Categorical, Distribution, Gaussian

Params = Any

_ACTIVATIONS = {"tanh": nn.tanh, "swish": nn.swish}
# Initial standard deviation of continuous actions, exp(-0.5) ≈ 0.6: most of [-1, 1].
_INITIAL_LOG_STD = -0.5


class MLP(nn.Module):
    """Multi-layer perceptron with orthogonal initialization.

    Attributes:
        hidden_sizes: widths of the hidden layers.
        output_size: width of the linear output.
        activation: key of the nonlinearity.
        output_scale: gain of the last layer; small for policies, which then start uniform.
    """

    hidden_sizes: tuple[int, ...]
    output_size: int
    activation: str
    output_scale: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., inputs]` to `[..., output_size]`."""
        for size in self.hidden_sizes:
            x = nn.Dense(size, kernel_init=nn.initializers.orthogonal(2**0.5))(x)
            x = _ACTIVATIONS[self.activation](x)
        kernel_init = nn.initializers.orthogonal(self.output_scale)
        return nn.Dense(self.output_size, kernel_init=kernel_init)(x)


class CategoricalPolicy(nn.Module):
    """Policy over `num_actions` discrete actions."""

    mlp: MLP

    def __call__(self, observation: jax.Array) -> Categorical:
        """Distribution of actions at `observation` `[..., O]`."""
        return Categorical(logits=self.mlp(observation))


class GaussianPolicy(nn.Module):
    """Policy over continuous actions with a state-independent standard deviation."""

    mlp: MLP

    @nn.compact
    def __call__(self, observation: jax.Array) -> Gaussian:
        """Distribution of actions at `observation` `[..., O]`."""
        mean = self.mlp(observation)
        log_std = self.param(
            "log_std", nn.initializers.constant(_INITIAL_LOG_STD), (self.mlp.output_size,)
        )
        return Gaussian(mean=mean, log_std=jnp.broadcast_to(log_std, mean.shape))


class Network(NamedTuple):
    """A policy and a value function as pure functions of the same parameters.

    Attributes:
        init: `key -> params`.
        policy: `(params, observation [..., O]) -> Distribution [...]`.
        value: `(params, observation [..., C]) -> [...]`.
    """

    init: Callable[[jax.Array], Params]
    policy: Callable[[Params, jax.Array], Distribution]
    value: Callable[[Params, jax.Array], jax.Array]


def make_network(
    config: LearnerConfig,
    observation_size: int,
    num_outputs: int,
    *,
    discrete: bool,
    critic_size: int,
) -> Network:
    """Builds the networks of one level of the hierarchy.

    Args:
        config: layer sizes and activation.
        observation_size: O, what the policy sees.
        num_outputs: number of discrete actions (or sub-policies), or size of the action.
        discrete: whether the policy is categorical rather than Gaussian.
        critic_size: C, what the value function sees.

    Returns:
        Separate policy and value networks over parameters `{"policy": …, "value": …}`.
    """

    def mlp(output_size: int, output_scale: float) -> MLP:
        return MLP(config.hidden_sizes, output_size, config.activation, output_scale)

    head = CategoricalPolicy if discrete else GaussianPolicy
    policy_module = head(mlp(num_outputs, 0.01))
    value_module = mlp(1, 1.0)

    def init(key: jax.Array) -> Params:
        key_policy, key_value = jax.random.split(key)
        return {
            "policy": policy_module.init(key_policy, jnp.zeros((observation_size,))),
            "value": value_module.init(key_value, jnp.zeros((critic_size,))),
        }

    def policy(params: Params, observation: jax.Array) -> Distribution:
        distribution: Any = policy_module.apply(params["policy"], observation)
        return distribution

    def value(params: Params, observation: jax.Array) -> jax.Array:
        output: Any = value_module.apply(params["value"], observation)
        return output[..., 0]

    return Network(init=init, policy=policy, value=value)


def init_stack(network: Network, key: jax.Array, count: int) -> Params:
    """Parameters of `count` independently initialized copies, leading axis `[K, ...]`."""
    return jax.vmap(network.init)(jax.random.split(key, count))


def for_all(function: Callable, params: Params, observation: jax.Array) -> Any:
    """A function of each of K parameter sets at the same observations.

    Evaluating all of them and then selecting is cheaper for small networks than gathering
    parameters for each observation.

    Args:
        function: `(params, observation) -> [...]`, such as `Network.policy`.
        params: stacked, `[K, ...]`.
        observation: `[..., O]`.

    Returns:
        `[K, ...]`.
    """
    return jax.vmap(function, in_axes=(0, None))(params, observation)


def choose(condition: jax.Array, when_true: Any, when_false: Any) -> Any:
    """Chooses between two trees of arrays `[K, ...]` by `condition`, bool `[K]`."""
    of_one = jax.vmap(lambda c, *trees: jax.tree.map(functools.partial(jnp.where, c), *trees))
    return of_one(condition, when_true, when_false)


def select(stacked: Any, index: jax.Array) -> Any:
    """Picks, for each position, the entry of the stack that `index` names.

    Args:
        stacked: pytree of arrays `[K, *index.shape, ...]`.
        index: int32, any shape.

    Returns:
        Pytree of arrays `[*index.shape, ...]`.
    """

    def pick(leaf: jax.Array) -> jax.Array:
        expanded = index.reshape((1, *index.shape) + (1,) * (leaf.ndim - index.ndim - 1))
        return jnp.take_along_axis(leaf, expanded, axis=0)[0]

    return jax.tree.map(pick, stacked)
