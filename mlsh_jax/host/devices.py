"""Where arrays live: on one device, on several, or on those of many processes.

What has a leading task axis is spread over all devices, everything else is on each of them, and
XLA inserts the reductions between them. The algorithm itself knows nothing of this: it is handed
`Layout.spread`, and `mlsh_jax.host.train.fit` the shardings of its state.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mlsh_jax.errors import ConfigError
from mlsh_jax.host import container

TASK_AXIS = "tasks"
"""The one axis of the mesh."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """A mesh of devices over which tasks are spread.

    Attributes:
        mesh: one axis, `TASK_AXIS`, over devices of any number of processes.
        is_chosen: whether a person chose the devices, so that numbers of tasks have to suit them;
            if not, work that suits fewer of them uses fewer (`largest_even`).
    """

    mesh: Mesh
    is_chosen: bool = True

    @property
    def num_devices(self) -> int:
        """Devices that share the work."""
        return self.mesh.size

    @property
    def replicated(self) -> NamedSharding:
        """Sharding of what every device has whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def by_task(self) -> NamedSharding:
        """Sharding of arrays `[G, ...]` of which each device has G / num_devices tasks."""
        return NamedSharding(self.mesh, PartitionSpec(TASK_AXIS))

    def spread(self, tree: Any) -> Any:
        """Spreads arrays `[G, ...]` over the devices; for use inside `jax.jit`."""
        return jax.lax.with_sharding_constraint(tree, self.by_task)

    def replicate(self, tree: Any) -> Any:
        """Puts arrays that every process has alike on every device, wherever they were before."""

        def put(leaf: Any) -> jax.Array:
            if getattr(leaf, "sharding", None) == self.replicated:
                return leaf
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                data = jax.device_put(np.asarray(jax.random.key_data(leaf)), self.replicated)
                return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
            return jax.device_put(np.asarray(leaf), self.replicated)

        return jax.tree.map(put, tree)

    def per_device(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of arrays `[G, ...]` that every device runs on its own share of G.

        For what has nothing to do with the rest, such as the trials of a sweep.
        """
        spec = PartitionSpec(TASK_AXIS)
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=spec, out_specs=spec, check_vma=False
        )

    def spread_if_even(self, tree: Any) -> Any:
        """Spreads arrays `[G, ...]` if G allows it; otherwise every device does the same work."""
        num_tasks = jax.tree.leaves(tree)[0].shape[0]
        return tree if num_tasks % self.num_devices else self.spread(tree)

    def largest_even(self, number: int) -> "Layout":
        """The layout for so many tasks: this one, unless it may use fewer devices."""
        if self.is_chosen:
            return self
        count = next(n for n in range(self.num_devices, 0, -1) if number % n == 0)
        return _over(list(self.mesh.devices.flat)[:count], is_chosen=False)

    def check(self, field: str, number: int, of: str = "tasks") -> None:
        """Refuses a number of tasks that leaves some chosen devices with more than others.

        Args:
            field: the name of the number, for the message.
            number: the number.
            of: what there are so many of.

        Raises:
            ConfigError: naming the field and the nearest valid numbers.
        """
        devices = self.num_devices
        if not self.is_chosen or number % devices == 0:
            return
        below = number // devices * devices
        nearest = f"{below} or {below + devices}" if below else f"{devices}"
        raise ConfigError(
            f"{field}: {number} {of} cannot be spread evenly over {devices} devices; "
            f"use {nearest}, or another number of devices"
        )


def for_each(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of trees of arrays `[P, ...]` that calls one of a single one P times.

    In step on accelerators, which are hardly busy with one; one after another on a core, where
    what is worked on then stays in its cache.
    """
    if jax.default_backend() == "cpu":
        return lambda stacked: jax.lax.map(function, stacked)
    return jax.vmap(function)


def split_cpu(num_devices: int | None = None) -> None:
    """Makes JAX see a CPU as several devices; call before anything else is done with JAX.

    One device hardly uses a second core, since the arrays of a step are small. Says nothing where
    `XLA_FLAGS` or `JAX_NUM_CPU_DEVICES` has decided already.

    Args:
        num_devices: how many; None for one a core.

    Raises:
        ConfigError: so many are wanted, and JAX has begun already.
    """
    decided = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if decided or "JAX_NUM_CPU_DEVICES" in os.environ:
        return
    try:
        jax.config.update("jax_num_cpu_devices", num_devices or num_cores())
    except RuntimeError as error:  # a backend has been started
        if num_devices is not None and jax.default_backend() == "cpu":
            raise ConfigError(f"devices: JAX has begun with other devices ({error})") from error


def num_cores() -> int:
    """Cores that this process may use, as far as its affinity and its control group say."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(1, int(min(cores, container.cores())))


def default_layout() -> Layout:
    """All devices of several processes; of one process the cores of a CPU, or one accelerator.

    The cores are not chosen: work that suits fewer uses fewer.
    """
    if jax.process_count() > 1:
        return make_layout()
    count = num_cores() if jax.default_backend() == "cpu" else 1
    return _over(jax.devices()[:count], is_chosen=False)


def make_layout(num_devices: int | None = None) -> Layout:
    """A layout over the first `num_devices` devices, or over all of all processes for None.

    Raises:
        ConfigError: there are not as many, or several processes and not all of their devices.
    """
    devices = jax.devices()
    if num_devices is not None:
        if not 1 <= num_devices <= len(devices):
            raise ConfigError(
                f"devices: must be from 1 to {len(devices)} or all, got {num_devices}"
            )
        if jax.process_count() > 1 and num_devices != len(devices):
            raise ConfigError(f"devices: several processes use all {len(devices)} devices")
        devices = devices[:num_devices]
    return _over(devices)


def _over(devices: Sequence[jax.Device], is_chosen: bool = True) -> Layout:
    mesh = jax.make_mesh((len(devices),), (TASK_AXIS,), (AxisType.Auto,), devices=devices)
    return Layout(mesh, is_chosen)
