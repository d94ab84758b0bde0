"""How many threads a model gets, on which cores, and why; and binding a thread to its cores.

The policy is a pure function of the CPU budget and of what is to be served.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge_runtime.system.cpu_budget import CpuBudget, cpu_budget
from edge_runtime.system.cpu_topology import Core

__all__ = ["CpuBudget", "Preference", "ThreadPlan", "bind_this_thread", "choose_threads", "cpu_budget"]

Preference = Literal["auto", "latency", "throughput"]


@dataclass(frozen=True, slots=True)
class ThreadPlan:
    """Threads of one model: ``workers`` concurrent calls with ``intra`` threads inside each."""

    intra: int
    workers: int
    why: str
    cpus: tuple[int, ...] = ()
    """Logical CPUs the threads belong on, one a thread, a worker's side by side; fewer than threads where the box has
    fewer, empty where it is not known. They are bound to them only with ``pin_threads``."""
    is_big_only: bool = False
    """The box has weaker cores too, and this plan leaves them to capture and decoding."""

    def cpus_of(self, worker: int) -> tuple[int, ...]:
        """Where the threads of one worker belong; empty where it is not known."""
        if not self.cpus:
            return ()
        first = worker * self.intra
        places = (self.cpus[(first + i) % len(self.cpus)] for i in range(self.intra))
        return tuple(dict.fromkeys(places))


def choose_threads(
    budget: CpuBudget,
    streams: int,
    preference: int | Preference = "auto",
    *,
    other_streams: int = 0,
    streams_before: int = 0,
) -> ThreadPlan:
    """Threads for one model.

    Measured: two threads inside one call halve the latency of one stream; for two streams one shared session with one
    thread each gives 1.5 times the frames. So: as many concurrent calls as streams, the cores left over go inside the
    calls. One thread for each physical core, because two on one core share its arithmetic; none on weaker cores,
    because a call waits for its slowest thread; and never more threads than the quota has whole cores, because they
    would all be stopped when it is used up.

    Args:
        budget: What the process has.
        streams: Streams this model serves, 0 or more.
        preference: A number sets the threads inside a call; ``latency`` gives one call all cores,
            ``throughput`` one thread to each of as many calls as there are cores.
        other_streams: Streams of the other models on this box; ``auto`` leaves them their share.
        streams_before: Those of the other streams that got their cores before; with bound threads, theirs come first.
    """
    pool = _pool(budget, preference)
    cores = min(len(pool), budget.most_threads)
    intra, workers, why = _split(cores, streams, other_streams, preference)
    cpus = _place(pool, intra * workers, first=streams_before * intra)
    little = {cpu for core in budget.topology.little for cpu in core.cpus}
    is_big_only = bool(little) and little.isdisjoint(cpus)
    return ThreadPlan(intra, workers, f"{why}; {budget.source}", cpus, is_big_only)


def bind_this_thread(cpus: Sequence[int]) -> None:
    """Let the calling thread, and the threads it starts from now on, run on these CPUs only.

    Raises:
        OSError: none of them is there (any more), or it is not allowed.
    """
    os.sched_setaffinity(0, cpus)  # Linux: 0 is the calling thread, not the process


def _pool(budget: CpuBudget, preference: int | Preference) -> tuple[Core, ...]:
    """The cores to plan with; weaker ones for calls of their own, or when a number asks for more than the strong."""
    big = budget.topology.big
    wants_all = preference > len(big) if isinstance(preference, int) else preference == "throughput"
    return budget.topology.cores if wants_all else big


def _split(cores: int, streams: int, others: int, preference: int | Preference) -> tuple[int, int, str]:
    """(intra, workers, why) on so many cores."""
    if isinstance(preference, int):
        return preference, max(1, cores // preference), f"{preference} threads in a call, as configured"
    if preference == "latency":
        return cores, 1, f"latency: {cores} threads in one call"
    if preference == "throughput":
        return 1, cores, f"throughput: {cores} calls of one thread"
    at_once = min(max(1, streams + others), cores)
    share = max(1, round(cores * streams / max(1, streams + others)))
    workers = max(1, min(streams, share))
    with_others = f" and {others} of other models" if others else ""
    return (
        cores // at_once,
        workers,
        f"{streams} stream(s){with_others} on {cores} core(s) with a thread each",
    )


def _place(pool: Sequence[Core], threads: int, first: int) -> tuple[int, ...]:
    """One CPU for each thread: a core each while there are any, then the second threads of the cores."""
    turn = first % len(pool)
    turned = [*pool[turn:], *pool[:turn]]
    rounds = max(len(core.cpus) for core in turned)
    in_order = [core.cpus[at] for at in range(rounds) for core in turned if at < len(core.cpus)]
    return tuple(in_order[:threads])
