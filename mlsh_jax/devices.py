"""Where arrays live: on one device, on several, or on those of many hosts.

What has a leading task axis is spread over all devices, everything else is on each of them, and
XLA inserts the reductions between them. The algorithm itself knows nothing of this: it is handed
`Layout.spread`, and `mlsh_jax.train.fit` the shardings of its state.
"""

import dataclasses
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mlsh_jax.errors import ConfigError

TASK_AXIS = "tasks"
"""The one axis of the mesh."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """A mesh of devices over which tasks are spread.

    Attributes:
        mesh: one axis, `TASK_AXIS`, over devices of any number of hosts.
    """

    mesh: Mesh

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

    def spread_if_even(self, tree: Any) -> Any:
        """Spreads arrays `[G, ...]` if G allows it; otherwise every device does the same work."""
        num_tasks = jax.tree.leaves(tree)[0].shape[0]
        return tree if num_tasks % self.num_devices else self.spread(tree)

    def check(self, field: str, number: int, of: str = "tasks") -> None:
        """Refuses a number of tasks that leaves some devices with more than others.

        Args:
            field: the name of the number, for the message.
            number: the number.
            of: what there are so many of.

        Raises:
            ConfigError: naming the field and the nearest valid numbers.
        """
        devices = self.num_devices
        if number % devices == 0:
            return
        below = number // devices * devices
        nearest = f"{below} or {below + devices}" if below else f"{devices}"
        raise ConfigError(
            f"{field}: {number} {of} cannot be spread evenly over {devices} devices; "
            f"use {nearest}, or another --devices"
        )


def make_layout(num_devices: int | None = None) -> Layout:
    """A layout over this process's first `num_devices` devices, or over all of all hosts for None.

    Raises:
        ConfigError: there are not as many, or several hosts and not all of their devices.
    """
    devices = jax.devices()
    if num_devices is not None:
        if not 1 <= num_devices <= len(devices):
            raise ConfigError(
                f"--devices: must be from 1 to {len(devices)} or all, got {num_devices}"
            )
        if jax.process_count() > 1 and num_devices != len(devices):
            raise ConfigError(f"--devices: several processes use all {len(devices)} devices")
        devices = devices[:num_devices]
    return Layout(jax.make_mesh((len(devices),), (TASK_AXIS,), (AxisType.Auto,), devices=devices))
