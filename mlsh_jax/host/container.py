"""What the control groups of this process leave it of the machine, as in a container or batch job.

Linux has two layouts of their files: version 2 has one tree of groups, version 1 a tree for each
resource (https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/index.html).
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path("/")
_NO_LIMIT = 2**60
"""Bytes above which a limit is none: version 1 has the largest whole number of pages there."""


def memory_left(root: Path = ROOT) -> float:
    """Bytes left of the memory that may be used, infinite where there is no limit."""

    def left(group: Path, limit_name: str, used_name: str, prefix: str) -> float:
        limit, used = (int((group / name).read_text()) for name in (limit_name, used_name))
        if limit >= _NO_LIMIT:
            return float("inf")
        lines = (group / "memory.stat").read_text().splitlines()
        counts = dict(line.split() for line in lines)
        # What was read from files is let go where memory is needed.
        files = (counts.get(f"{prefix}{kind}_file", 0) for kind in ("inactive", "active"))
        return limit - used + sum(map(int, files))

    return _least(
        root,
        "memory",
        lambda group: left(group, "memory.max", "memory.current", ""),
        lambda group: left(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    )


def cores(root: Path = ROOT) -> float:
    """Cores' worth of time that may be used, infinite where there is no limit."""

    def share(group: Path, *names: str) -> float:
        quota, period = map(int, " ".join((group / name).read_text() for name in names).split())
        return quota / period if quota > 0 else float("inf")  # -1 is none in version 1

    return _least(
        root,
        "cpu",
        lambda group: share(group, "cpu.max"),
        lambda group: share(group, "cpu.cfs_quota_us", "cpu.cfs_period_us"),
    )


def _least(
    root: Path,
    resource: str,
    of_version_2: Callable[[Path], float],
    of_version_1: Callable[[Path], float],
) -> float:
    """The least of what each group of this process allows; a group has the limits of its parents.

    A group says nothing where its files are missing or hold no number ("max").
    """
    allowed = [float("inf")]
    for tree, group in _groups(root, resource):
        of = of_version_1 if tree.name == resource else of_version_2
        for folder in (group, *group.parents):
            if not folder.is_relative_to(tree):
                break
            with contextlib.suppress(OSError, ValueError):
                allowed.append(of(folder))
    return min(allowed)


def _groups(root: Path, resource: str) -> Iterator[tuple[Path, Path]]:
    """Every tree in which this process is, for a resource, and the folder of its group there.

    Lines of `/proc/self/cgroup` are `ID:RESOURCES:PATH`; version 2 names no resources. A path that
    leaves the tree (`/../job`) is that of a group outside the container, of which nothing is seen.
    """
    mounted = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # some sandboxes say nothing
        lines = [f"0:{resource}:/", "0::/"]
    for line in lines:
        _, resources, path = line.split(":", 2)
        group = "" if ".." in Path(path).parts else path.lstrip("/")
        if not resources:
            yield mounted, mounted / group
        elif resource in resources.split(","):
            yield mounted / resource, mounted / resource / group
