"""How a process that works beside live inference steps back from the processor.

Where a core is free it takes what nobody else wants: any live thread that wakes up has that core at once (Linux
``SCHED_IDLE``). Where none is, that would be next to nothing and the work would never end; there it gets a third of the
share of a live thread. Measured beside one stream that left a core of two free: frames/s -2 % idle, -13 % niced, the
same time; beside two streams flat out: -7 % and -14 %, but two and a half times as long.

Called by ``recalibration_job``, which does not run for long; the load is looked at once.
"""

import contextlib
import os
import time
from pathlib import Path

import psutil

LOW_PRIORITY = 5
"""Added to the niceness; at 19 a job starves on a busy box and never ends."""
FREE_CORES = 0.6
"""So much idle time, in cores, is as good as a free one: live inference comes in bursts."""
LOOK_S = 0.5


def step_back(idle_cores: float) -> None:
    """Lower the priority of every thread this process has; what they start inherits it."""
    for thread in (int(task.name) for task in Path("/proc/self/task").iterdir()):
        with contextlib.suppress(ProcessLookupError):  # ended meanwhile
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + LOW_PRIORITY)
            if idle_cores >= FREE_CORES:
                with contextlib.suppress(PermissionError):  # a sandbox that forbids it: the niceness stays
                    os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def idle_cores() -> float:
    """How many of the CPUs that this process may use stood idle for half a second, 0 or more.

    A cgroup's quota is not looked at: what a job takes of that is missing elsewhere at any priority.
    """
    before, began_s = _idle_s(), time.monotonic()
    time.sleep(LOOK_S)
    return (_idle_s() - before) / max(1e-3, time.monotonic() - began_s)


def _idle_s() -> float:
    every, allowed = psutil.cpu_times(percpu=True), os.sched_getaffinity(0)
    return float(sum(times.idle for cpu, times in enumerate(every) if cpu in allowed))
