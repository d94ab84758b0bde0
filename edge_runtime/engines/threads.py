"""How many CPU cores this process may really use, and how many threads an engine should get.

The host's core count is wrong under ``taskset``, ``CPUQuota=``, Docker and Kubernetes: an engine with more
threads than its quota is throttled in the middle of a frame. Linux only; reads files, imports nothing
heavy, starts nothing. Called by ``app``, ``bundle.verify`` and ``doctor``.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Preference = Literal["auto", "latency", "throughput"]


@dataclass(frozen=True, slots=True)
class CpuBudget:
    """CPU this process may use."""

    cores: float
    """The smaller of affinity and quota, above 0; may be fractional."""
    affinity: int
    """Cores the scheduler may put this process on."""
    quota: float | None
    """Cores a cgroup allows on average; None without a limit."""
    source: str
    """Where the figure comes from, for people."""

    @property
    def whole_cores(self) -> int:
        """Threads that can run at once without being throttled; at least 1."""
        return max(1, math.floor(self.cores + 0.05))


@dataclass(frozen=True, slots=True)
class ThreadPlan:
    """Threads of one model: ``workers`` concurrent calls with ``intra`` threads inside each."""

    intra: int
    workers: int
    why: str


def cpu_budget(root: Path = Path("/"), affinity: int | None = None) -> CpuBudget:
    """The real CPU budget of this process.

    Args:
        root: Root of the file system that holds ``proc`` and the cgroup mounts; another one for tests.
        affinity: Number of allowed cores; None asks the kernel.
    """
    allowed = len(os.sched_getaffinity(0)) if affinity is None else affinity
    quotas = list(_quotas(root))
    if not quotas:
        return CpuBudget(float(allowed), allowed, None, f"affinity: {allowed} cores, no cgroup quota")
    quota, where = min(quotas)
    if quota < allowed:
        return CpuBudget(quota, allowed, quota, f"cgroup quota {quota:g} cores ({where}), affinity {allowed}")
    return CpuBudget(
        float(allowed), allowed, quota, f"affinity: {allowed} cores, cgroup quota {quota:g} ({where})"
    )


def choose_threads(budget: CpuBudget, streams: int, preference: int | Preference = "auto") -> ThreadPlan:
    """Threads for one model.

    Measured (MEASURED.md): two threads inside one call halve the latency of one stream; for two streams
    one shared session with one thread each gives 1.5 times the frames. So: as many concurrent calls as
    streams, the cores left over go inside the calls.

    Args:
        budget: What the process has.
        streams: Streams this model serves, 0 or more.
        preference: A number sets the threads inside a call; ``latency`` gives one call all cores,
            ``throughput`` one thread to each of as many calls as there are cores.
    """
    cores = budget.whole_cores
    if isinstance(preference, int):
        intra = max(1, preference)
        return ThreadPlan(intra, max(1, cores // intra), f"{intra} threads as configured; {budget.source}")
    if preference == "latency":
        return ThreadPlan(cores, 1, f"latency: all {cores} cores to one call; {budget.source}")
    if preference == "throughput":
        return ThreadPlan(1, cores, f"throughput: {cores} calls of one thread; {budget.source}")
    workers = max(1, min(streams, cores))
    intra = max(1, cores // workers)
    return ThreadPlan(intra, workers, f"{streams} stream(s) on {cores} core(s); {budget.source}")


def _quotas(root: Path) -> Iterator[tuple[float, str]]:
    """Every CPU limit on the way from this process's cgroup up to the mount; the tightest one holds."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if hierarchy == "0" and not controllers:
            yield from _v2_quotas(root, group)
        elif "cpu" in controllers.split(","):
            yield from _v1_quotas(root, controllers, group)


def _v2_quotas(root: Path, group: str) -> Iterator[tuple[float, str]]:
    for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
        for folder in _up_to_mount(root / mount, group):
            words = _text(folder / "cpu.max").split()
            if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
                yield max(int(words[0]) / int(words[1]), 0.01), _shown(folder / "cpu.max", root)


def _v1_quotas(root: Path, controllers: str, group: str) -> Iterator[tuple[float, str]]:
    for mount in dict.fromkeys((controllers, "cpu,cpuacct", "cpu")):
        for folder in _up_to_mount(root / "sys/fs/cgroup" / mount, group):
            quota, period = (_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
            if quota.isdigit() and period.isdigit() and int(period) > 0:
                yield max(int(quota) / int(period), 0.01), _shown(folder / "cpu.cfs_quota_us", root)


def _up_to_mount(mount: Path, group: str) -> Iterator[Path]:
    """The group's folder and its parents; inside a container the group may not exist below the mount."""
    parts = [part for part in group.split("/") if part not in ("", ".", "..")]
    for length in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:length])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _shown(path: Path, root: Path) -> str:
    return "/" + str(path.relative_to(root))
