"""Cores, what a control group allows of them, the affinity mask, and memory."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from edge_runtime.cli.doctor.finding import Finding, fine, note, problem
from edge_runtime.errors import ExitCode
from edge_runtime.system.cpu_budget import cpu_budget
from edge_runtime.system.cpu_topology import text_of

_LEAST_FREE_BYTES = 256 * 2**20
"""A model is opened in a second process before it answers; the smallest need about this much."""


def examine_processor(
    pid: int | None = None, root: Path = Path("/"), host_cores: int | None = None
) -> Iterator[Finding]:
    """Look at the processor as the daemon has it (``pid``), or as this process has it; ``root`` holds proc and sys."""
    budget = cpu_budget(root, pid=pid)
    cores = host_cores or os.cpu_count() or budget.affinity
    whose = "the daemon" if pid is not None else "this shell"
    if budget.quota is not None and budget.quota < budget.affinity:
        yield note(
            "processor.quota",
            f"a control group lets {whose} have {budget.quota:g} of {budget.affinity} cores ({budget.source})",
            "raise CPUQuota= of the unit or the CPU limit of the container, unless it is meant; threads: auto obeys it",
        )
    if budget.affinity < cores:
        yield note(
            "processor.affinity",
            f"{whose} may run on {budget.affinity} of {cores} cores",
            "see CPUAffinity= of the unit, cpuset of the container, or taskset, unless it is meant",
        )
    yield fine("processor", f"{budget.cores:g} core(s) for {whose}: {budget.source}")


def examine_memory(root: Path = Path("/")) -> Iterator[Finding]:
    """Look at the memory that is free, and whether the kernel has ended processes for want of it."""
    memory = psutil.virtual_memory()
    free = f"{memory.available >> 20} of {memory.total >> 20} MiB are free"
    if memory.available < _LEAST_FREE_BYTES:
        advice = "end other programs, or take a smaller model or fewer cameras"
        yield problem("memory.low", free, advice, ExitCode.UNAVAILABLE)
    else:
        yield fine("memory", free)
    killed = _count_killed(root)
    if killed:
        found = f"the kernel has ended {killed} process(es) since the start of the box because memory ran out"
        yield note("memory.killed", found, "see: journalctl -k | grep -i 'out of memory'")


def _count_killed(root: Path) -> int:
    for line in text_of(root / "proc/vmstat").splitlines():
        key, _, value = line.partition(" ")
        if key == "oom_kill":
            return int(value)
    return 0
