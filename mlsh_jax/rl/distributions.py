"""Action distributions: what a policy network returns.

Both heads have the same small interface (`sample`, `log_prob`, `entropy`, `kl_divergence`,
`mode`) and are pytrees, so they pass through `vmap` and can be indexed along leading axes.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Categorical:
    """A choice among discrete actions or sub-policies.

    Attributes:
        logits: unnormalized log-probabilities, `[..., A]`.
    """

    logits: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws action indices, int32 `[...]`."""
        return jax.random.categorical(key, self.logits)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-probability of `action` (int, `[...]`), `[...]`."""
        log_probs = jax.nn.log_softmax(self.logits)
        return jnp.take_along_axis(log_probs, action[..., None], axis=-1)[..., 0]

    def entropy(self) -> jax.Array:
        """Shannon entropy in nats, `[...]`."""
        log_probs = jax.nn.log_softmax(self.logits)
        return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)

    def kl_divergence(self, other: Any) -> jax.Array:
        """Kullback-Leibler divergence of this from `other`, of this kind, in nats, `[...]`."""
        log_probs = jax.nn.log_softmax(self.logits)
        difference = log_probs - jax.nn.log_softmax(other.logits)
        return jnp.sum(jnp.exp(log_probs) * difference, axis=-1)

    def probabilities(self) -> jax.Array:
        """Of every action, `[..., A]`."""
        return jax.nn.softmax(self.logits)

    def mode(self) -> jax.Array:
        """The most probable action, int32 `[...]`."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)


@struct.dataclass
class Gaussian:
    """Independent normal distributions over the entries of a continuous action.

    Attributes:
        mean: `[..., A]`.
        log_std: logarithm of the standard deviation, broadcastable to `mean`.
    """

    mean: jax.Array
    log_std: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws actions `[..., A]`, unbounded: environments clip to their own range."""
        noise = jax.random.normal(key, self.mean.shape)
        return self.mean + jnp.exp(self.log_std) * noise

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-density of `action` `[..., A]`, summed over its entries, `[...]`."""
        standardized = (action - self.mean) * jnp.exp(-self.log_std)
        log_density = -0.5 * standardized**2 - self.log_std - 0.5 * math.log(2 * math.pi)
        return jnp.sum(log_density, axis=-1)

    def entropy(self) -> jax.Array:
        """Differential entropy in nats, `[...]`."""
        log_std = jnp.broadcast_to(self.log_std, self.mean.shape)
        return jnp.sum(log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    def kl_divergence(self, other: Any) -> jax.Array:
        """Kullback-Leibler divergence of this from `other`, of this kind, in nats, `[...]`."""
        log_ratio = other.log_std - self.log_std
        distance = (self.mean - other.mean) ** 2 * jnp.exp(-2 * other.log_std)
        return jnp.sum(log_ratio + 0.5 * (jnp.exp(-2 * log_ratio) + distance - 1.0), axis=-1)

    def mode(self) -> jax.Array:
        """The mean, `[..., A]`."""
        return self.mean


Distribution = Categorical | Gaussian
