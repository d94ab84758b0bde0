"""How much CPU this process may really use: affinity mask, cgroup quota, and which cores those are.

The host's core count is wrong under ``taskset``, ``CPUQuota=``, Docker and Kubernetes: an engine with more
threads than its quota is throttled in the middle of a frame. Linux only; reads files, imports nothing
heavy, starts nothing. ``engines.threads`` decides what to do with the budget.
"""

import math
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.system.cpu_topology import CpuTopology, cpu_topology, text_of


@dataclass(frozen=True, slots=True)
class CpuBudget:
    """CPU this process may use."""

    cores: float
    """The smaller of affinity and quota, above 0; may be fractional."""
    affinity: int
    """Logical CPUs the scheduler may put this process on."""
    quota: float | None
    """Cores a cgroup allows on average; None without a limit."""
    source: str
    """Where the figure comes from, for people."""
    topology: CpuTopology
    """The physical cores behind the affinity mask."""

    @property
    def most_threads(self) -> int:
        """Threads that can run at once without being throttled, however many cores there are; at least 1."""
        return max(1, math.floor(self.cores + 0.05))


def cpu_budget(root: Path = Path("/"), affinity: Collection[int] | None = None) -> CpuBudget:
    """The real CPU budget of this process.

    Args:
        root: Root of the file system that holds ``proc``, ``sys`` and the cgroup mounts; another one for tests.
        affinity: Allowed logical CPUs; None asks the kernel.
    """
    cpus = os.sched_getaffinity(0) if affinity is None else frozenset(affinity)
    allowed, topology = len(cpus), cpu_topology(root, cpus)
    quota, where = min(_quotas(root), default=(None, ""))
    if quota is None:
        return CpuBudget(float(allowed), allowed, None, f"{topology}, no cgroup quota", topology)
    cores = min(quota, float(allowed))
    return CpuBudget(cores, allowed, quota, f"{topology}, cgroup quota {quota:g} ({where})", topology)


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted hierarchy of control groups."""

    point: Path
    """Below the root that was given."""
    top: str
    """The group that is seen there, without a slash at its end: "", in a container perhaps its own."""

    def folders(self, group: str) -> Iterator[Path]:
        """The group's folder and its parents; inside a container the group may not exist below the mount."""
        inside = group.removeprefix(self.top) if f"{group}/".startswith(f"{self.top}/") else group
        parts = [part for part in inside.split("/") if part not in ("", ".", "..")]
        for length in range(len(parts), -1, -1):
            yield self.point.joinpath(*parts[:length])


def _quotas(root: Path) -> Iterator[tuple[float, str]]:
    """Every CPU limit on the way from this process's cgroup up to the mount; the tightest one holds."""
    mounts = _mounts(root)
    for line in text_of(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if hierarchy == "0" and not controllers:
            for mount in mounts[2] or _usual_v2(root):
                yield from _v2_quotas(root, mount, group)
        elif "cpu" in controllers.split(","):
            for mount in mounts[1] or _usual_v1(root):
                yield from _v1_quotas(root, mount, group)


def _mounts(root: Path) -> dict[int, list[_Mount]]:
    """The hierarchies that may limit CPU, by version (proc(5), mountinfo)."""
    found: dict[int, list[_Mount]] = {1: [], 2: []}
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mount, kind = before.split(" "), after.split(" ")
        if len(mount) < 5 or len(kind) < 3:
            continue
        top, point = (_unescape(field) for field in mount[3:5])
        one = _Mount(root / point.lstrip("/"), top.rstrip("/"))
        if kind[0] == "cgroup2":
            found[2].append(one)
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            found[1].append(one)
    return found


def _usual_v2(root: Path) -> list[_Mount]:
    """Where it is nearly always, for a box whose mounts cannot be read."""
    return [_Mount(root / place, "") for place in ("sys/fs/cgroup", "sys/fs/cgroup/unified")]


def _usual_v1(root: Path) -> list[_Mount]:
    """The same for version 1: a folder is named for its controllers, in any order."""
    try:
        folders = sorted((root / "sys/fs/cgroup").iterdir())
    except OSError:
        return []
    return [_Mount(folder, "") for folder in folders if "cpu" in folder.name.split(",")]


def _v2_quotas(root: Path, mount: _Mount, group: str) -> Iterator[tuple[float, str]]:
    for folder in mount.folders(group):
        words = text_of(folder / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            yield max(int(words[0]) / int(words[1]), 0.01), _display(folder / "cpu.max", root)


def _v1_quotas(root: Path, mount: _Mount, group: str) -> Iterator[tuple[float, str]]:
    for folder in mount.folders(group):
        quota, period = (text_of(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            yield max(int(quota) / int(period), 0.01), _display(folder / "cpu.cfs_quota_us", root)


def _unescape(field: str) -> str:
    """Mountinfo writes blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), field)


def _display(path: Path, root: Path) -> str:
    return "/" + str(path.relative_to(root))
