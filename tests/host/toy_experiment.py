"""A random walk dressed as an experiment; the host tests run it as a process of its own."""

import dataclasses
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mlsh_jax.errors import ConfigError
from mlsh_jax.host import processes
from mlsh_jax.host.launch import Preset, parse, run_main, start_run
from mlsh_jax.host.train import fit, make_programs


@dataclasses.dataclass(frozen=True)
class WalkConfig:
    """The walk.

    Attributes:
        decay: how much of the position is kept.
        sizes: two sizes [a pair].
    """

    decay: float = 0.9
    sizes: tuple[int, ...] = (4, 4)

    def __post_init__(self) -> None:
        """Raises `ConfigError` for an impossible decay."""
        if self.decay <= 0:
            raise ConfigError(f"decay: must be > 0, got {self.decay}")


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    """A toy.

    Attributes:
        seed: seed of the walk.
        iterations: iterations of each of the two stages.
        work: matrix products in one iteration, to make it slow.
        walk: the walk.
        fast: a switch.
    """

    seed: int = 0
    iterations: int = 12
    work: int = 1
    walk: WalkConfig = WalkConfig()
    fast: bool = True

    def __post_init__(self) -> None:
        """Raises `ConfigError` for an impossible number of iterations."""
        if self.iterations < 1:
            raise ConfigError(f"iterations: must be at least 1, got {self.iterations}")


PRESETS = {
    "default": Preset(ToyConfig(), "a short walk"),
    "slow": Preset(ToyConfig(iterations=100, work=200), "a walk that can be interrupted"),
    "endless": Preset(ToyConfig(work=1_000_000), "a walk whose first step takes minutes"),
}


@struct.dataclass
class Walk:
    """Where the walk is."""

    key: jax.Array
    position: jax.Array
    noise: jax.Array


def main(argv=None) -> None:
    """Two stages of the same walk; prints a digest of the final states."""
    launch = parse("toy", PRESETS, argv)
    run, config = start_run(launch, launch.config.seed)

    def init() -> Walk:
        return Walk(jax.random.key(config.seed), jnp.zeros(3), jnp.ones((128, 128)))

    def step(walk: Walk):
        key, key_noise = jax.random.split(walk.key)
        noise = jax.random.normal(key_noise, walk.noise.shape)
        noise = jax.lax.fori_loop(0, config.work, lambda _, x: jnp.tanh(x @ walk.noise), noise)
        position = config.walk.decay * walk.position + noise[0, :3]
        return Walk(key, position, noise), {"return": position.mean(), "usage": position}

    for stage in ("first", "second"):
        result = fit(
            run,
            stage,
            make_programs(step, init, run.layout, spread=("noise",)),
            num_iterations=config.iterations,
            env_steps_per_iteration=2**31,
            describe=lambda metrics: {"return": f"{metrics['return']:.2f}"},
            score=lambda metrics: metrics["return"],
            checkpoint_every=5,
            subpolicies=lambda walk: {"position": walk.position},
            spec={"size": 3},
        )
        # What every process has whole; the noise, which is spread, decides on later positions.
        leaves = (jax.random.key_data(result.state.key), result.state.position)
        digest = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))
        print(f"{stage} digest {digest.hexdigest()}")
    run.write_summary({"env_steps": result.env_steps})


if __name__ == "__main__":
    # Where a broken connection is not noticed, tests wait for as long as this.
    processes._HEARTBEAT_SECONDS = 30
    run_main(main)
