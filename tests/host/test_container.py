"""Limits of control groups, in both layouts of their files."""

from pathlib import Path

import pytest

from mlsh_jax.host import compilation, container


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text(text + "\n")


LAYOUTS = {
    "version 2": ("0::{group}", "", "memory.max", "memory.current", "max", ""),
    "version 1": (
        "9:name=systemd:/\n4:cpu,memory:{group}",
        "memory/",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "9223372036854771712",
        "total_",
    ),
}


@pytest.mark.parametrize("group", ["/", "/jobs/7", "/../../elsewhere"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_containers_may_have_less_memory_than_the_machine(tmp_path, layout, group):
    line, tree, limit, used, unlimited, prefix = LAYOUTS[layout]
    tree = f"sys/fs/cgroup/{tree}"
    own = f"{tree}{group}/".replace("//", "/")
    assert container.memory_left(tmp_path) == float("inf")
    counts = f"{prefix}anon 900\n{prefix}inactive_file 400\n{prefix}active_file 70"
    write(
        tmp_path,
        {
            "proc/self/cgroup": line.format(group=group),
            own + limit: unlimited,
            own + used: "3000",
            own + "memory.stat": counts,
        },
    )
    assert container.memory_left(tmp_path) == float("inf")
    write(tmp_path, {own + limit: "5000"})
    inside = ".." not in group  # a path outside of the container is no folder of its
    assert container.memory_left(tmp_path) == (2470 if inside else float("inf"))
    # The limit of the whole tree counts as well, where its group is not the only one.
    write(tmp_path, {tree + limit: "3001", tree + used: "3000", tree + "memory.stat": counts})
    assert container.memory_left(tmp_path) == 471
    write(tmp_path, {tree + limit: "9000"})
    assert container.memory_left(tmp_path) == (2470 if group == "/jobs/7" else 6470)


def test_what_is_free_is_no_more_than_the_container_allows(monkeypatch):
    monkeypatch.setattr(container, "memory_left", lambda: 2470.0)
    assert compilation.free_memory(2) == 1235


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, float("inf")),
        ({"cpu.max": "max 100000"}, float("inf")),
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, float("inf")),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
    ],
)
def test_a_quota_is_a_number_of_cores(tmp_path, files, expected):
    write(tmp_path, {"proc/self/cgroup": "5:cpu,cpuacct:/\n0::/"})
    write(tmp_path / "sys/fs/cgroup", files)
    assert container.cores(tmp_path) == expected
    (tmp_path / "proc/self/cgroup").unlink()
    assert container.cores(tmp_path) == expected
