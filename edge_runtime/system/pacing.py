"""Keeps background work from taking more than a small share of a box on which no core is free.

Niceness alone does not: the kernel deals out whole ticks, and a thread that waits gets one sooner or later. So the
process looks at itself after every ``PIECE_S`` of processor time, and sleeps until its processor time is no more than
the allowed share of the time that went by. It does not sleep where a core is free, nor where others leave it less.
"""

import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from types import FrameType

import psutil

PIECE_S = 0.1
"""Processor time between two looks; some ticks of the kernel."""
FULL_BOX_SHARE = 0.08
"""Part of all its CPUs that the process may use while none is free."""
LEAST_CORES = 0.15
"""What it may use in any case, in cores, so that it ends on a box of one CPU too."""
FREE_CORES = 0.6
"""At least this much that others leave, in cores, counts as a free core: live inference comes in bursts."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters, seconds; they only grow."""

    clock_s: float
    own_s: float
    """Processor time of this process."""
    idle_s: float
    """Idle time of the CPUs it may use, added up."""


def pause_s(before: Usage, now: Usage, cpus: int) -> float:
    """How long to sleep now for the work done since ``before``, seconds; 0 where a core is free.

    A core that this process uses is one that others leave. A cgroup's quota does not count.
    """
    took_s, own_s = now.clock_s - before.clock_s, now.own_s - before.own_s
    left_s = own_s + now.idle_s - before.idle_s
    if left_s >= FREE_CORES * took_s:
        return 0.0
    return max(0.0, own_s / max(LEAST_CORES, FULL_BOX_SHARE * cpus) - took_s)


def pace_main_thread(for_s: float) -> None:
    """From now on and for so many seconds, let the main thread sleep as ``pause_s`` says; call it there.

    For a process that works in its main thread. The work need not know: the kernel's timer of processor time interrupts
    it, between two steps of the interpreter (setitimer(2), ``ITIMER_PROF``).
    """
    cpus = os.sched_getaffinity(0)
    end_s, before = time.monotonic() + for_s, _read_usage(cpus)

    def look(_signal: int, _frame: FrameType | None) -> None:
        nonlocal before
        now = _read_usage(cpus)
        if now.clock_s >= end_s:
            return
        time.sleep(pause_s(before, now, len(cpus)))
        before = _read_usage(cpus)
        signal.setitimer(signal.ITIMER_PROF, PIECE_S)

    signal.signal(signal.SIGPROF, look)
    signal.siginterrupt(signal.SIGPROF, False)  # calls of the kernel go on by themselves
    signal.setitimer(signal.ITIMER_PROF, PIECE_S)


def _read_usage(cpus: Collection[int]) -> Usage:
    every = psutil.cpu_times(percpu=True)
    idle_s = sum(float(times.idle) for cpu, times in enumerate(every) if cpu in cpus)
    return Usage(time.monotonic(), time.process_time(), idle_s)
