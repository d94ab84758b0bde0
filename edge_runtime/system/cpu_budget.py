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


def cpu_budget(
    root: Path = Path("/"), affinity: Collection[int] | None = None, pid: int | None = None
) -> CpuBudget:
    """The real CPU budget of a process, this one when ``pid`` is None.

    ``root`` holds ``proc``, ``sys`` and the cgroup mounts. The logical CPUs of ``affinity`` are the kernel's when it is
    None.

    Raises:
        OSError: there is no process ``pid``.
    """
    cpus = os.sched_getaffinity(pid or 0) if affinity is None else frozenset(affinity)
    allowed, topology = len(cpus), cpu_topology(root, cpus)
    quota, where = min(_quotas(root, "self" if pid is None else str(pid)), default=(None, ""))
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


def _quotas(root: Path, process: str) -> Iterator[tuple[float, str]]:
    """Every CPU limit on the way from a process's cgroup up to the mount; the tightest one holds."""
    mounts = _mounts(root)
    for line in text_of(root / "proc" / process / "cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        is_v2 = hierarchy == "0" and not controllers
        if not is_v2 and "cpu" not in controllers.split(","):
            continue
        for mount in mounts[is_v2] or _usual_mounts(root, is_v2=is_v2):
            for folder in mount.folders(group):
                file = folder / ("cpu.max" if is_v2 else "cpu.cfs_quota_us")
                words = f"{text_of(file)} {'' if is_v2 else text_of(folder / 'cpu.cfs_period_us')}".split()
                if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
                    yield max(int(words[0]) / int(words[1]), 0.01), f"/{file.relative_to(root)}"


def _mounts(root: Path) -> dict[bool, list[_Mount]]:
    """The hierarchies that may limit CPU, by whether they are of version 2 (proc(5), mountinfo)."""
    found: dict[bool, list[_Mount]] = {False: [], True: []}
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mount, kind = before.split(" "), after.split(" ")
        if len(mount) < 5 or len(kind) < 3:
            continue
        top, point = (_unescape(field) for field in mount[3:5])
        one = _Mount(root / point.lstrip("/"), top.rstrip("/"))
        if kind[0] == "cgroup2":
            found[True].append(one)
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            found[False].append(one)
    return found


def _usual_mounts(root: Path, *, is_v2: bool) -> list[_Mount]:
    """Where they are nearly always, for a box whose mounts cannot be read."""
    top = root / "sys/fs/cgroup"
    if is_v2:
        return [_Mount(top, ""), _Mount(top / "unified", "")]
    try:
        folders = sorted(top.iterdir())
    except OSError:
        return []
    # A folder is named for its controllers, in any order.
    return [_Mount(folder, "") for folder in folders if "cpu" in folder.name.split(",")]


def _unescape(field: str) -> str:
    """Mountinfo writes blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), field)
