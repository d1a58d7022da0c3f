"""One program on one device and on eight."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from meta_iterations import NUM_TASKS, meta_iterations

from mlsh_jax.errors import ConfigError
from mlsh_jax.host import devices
from mlsh_jax.host.devices import default_layout, make_layout, num_cores


@pytest.fixture(scope="module")
def one_device():
    return meta_iterations(make_layout(1))


@pytest.mark.whole
def test_eight_devices_learn_what_one_does(one_device):
    for one, eight in zip(one_device, meta_iterations(make_layout(8)), strict=True):
        np.testing.assert_allclose(eight, one, rtol=1e-4, atol=1e-5)


def test_each_device_has_its_share_of_the_tasks():
    layout = make_layout(4)
    x = jax.jit(layout.spread)(jnp.arange(NUM_TASKS * 3.0).reshape(NUM_TASKS, 3))
    assert [shard.data.shape for shard in x.addressable_shards] == [(2, 3)] * 4
    assert jax.jit(layout.spread_if_even)(x[:6]).sharding.is_fully_replicated
    assert not jax.jit(layout.spread_if_even)(x).sharding.is_fully_replicated


@pytest.mark.parametrize(
    ("num_tasks", "nearest"), [(3, "use 8,"), (10, "use 8 or 16,"), (23, "use 16 or 24,")]
)
def test_uneven_numbers_of_tasks_are_refused(num_tasks, nearest):
    with pytest.raises(ConfigError, match=f"^num_tasks: {num_tasks} tasks.* {nearest}"):
        make_layout(8).check("num_tasks", num_tasks)
    make_layout(8).check("num_tasks", 16)


@pytest.mark.parametrize("number", [0, 9])
def test_devices_that_are_not_there_are_refused(number):
    with pytest.raises(ConfigError, match=r"^devices: must be from 1 to 8 or all"):
        make_layout(number)


def test_cores_that_nobody_chose_are_used_as_far_as_tasks_suit_them(monkeypatch):
    monkeypatch.setattr(devices, "num_cores", lambda: 6)
    layout = default_layout()
    assert layout.num_devices == 6
    layout.check("num_tasks", 7)
    sizes = {number: layout.largest_even(number).num_devices for number in (1, 4, 7, 9, 12)}
    assert sizes == {1: 1, 4: 4, 7: 1, 9: 3, 12: 6}
    chosen = make_layout(6)
    assert chosen.largest_even(7) is chosen


def test_a_cpu_is_one_device_for_each_core_that_may_be_used():
    program = (
        "from mlsh_jax.host.devices import default_layout, num_cores, split_cpu; split_cpu(); "
        "print(default_layout().num_devices == num_cores())"
    )
    environment = {name: x for name, x in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert output.stdout == "True\n"


def test_cores_are_limited_by_the_quota_of_the_container(monkeypatch):
    cores = num_cores()
    assert cores >= 1
    for quota, expected in ((float("inf"), cores), (1.9, 1), (0.5, 1)):
        monkeypatch.setattr(devices.container, "cores", lambda quota=quota: quota)
        assert num_cores() == expected


def test_what_is_replicated_may_have_been_anywhere():
    layout = make_layout(4)
    tree = {"x": np.arange(3.0), "key": jax.random.key(5), "there": layout.replicate(jnp.ones(2))}
    for one in (tree, make_layout(2).replicate(tree)):
        moved = layout.replicate(one)
        assert all(leaf.sharding == layout.replicated for leaf in jax.tree.leaves(moved))
        np.testing.assert_array_equal(moved["x"], [0.0, 1.0, 2.0])
        np.testing.assert_array_equal(jax.random.key_data(moved["key"]), [0, 5])
