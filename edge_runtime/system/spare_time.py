"""Lets a whole process live on the time that live inference leaves over, with a turn now and then.

Linux gives a ``SCHED_IDLE`` thread the processor only while no other thread wants it. Next to two streams flat out on
two cores that costs 3 % of their frames and brings an eighth of a core; on a box that is really full it brings next to
nothing, and the work would never end. Niceness is no way between: the kernel deals out whole ticks, so +5 cost 12 % of
the frames and +19 still 11 %. So the process is idle most of the time, and a third of it has the niceness of a job.
"""

import contextlib
import os
import threading
import time
from pathlib import Path

TURN_NICENESS = 5
"""Added to the niceness in a turn."""
NICENESS_WITHOUT_TURNS = 10
"""Added where no thread may leave ``SCHED_IDLE`` again."""
MAX_NICENESS = 19
SPARE_S, TURN_S = 0.4, 0.2
"""Lengths of an idle time and of a turn, seconds."""


def live_on_spare_time() -> None:
    """Yield the processor for as long as this process lives; call it before it starts threads.

    Threads that are started later take part. Leaving ``SCHED_IDLE`` takes root or the unit's ``LimitNICE=``; without
    it, the niceness is all.
    """
    added = TURN_NICENESS if _may_leave_idle() else NICENESS_WITHOUT_TURNS
    os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0) + added, MAX_NICENESS))
    if added == TURN_NICENESS:
        threading.Thread(target=_take_turns, name="turns", daemon=True).start()


def list_threads() -> list[int]:
    """Ids of the threads of this process, as the kernel counts them."""
    return [int(task.name) for task in Path("/proc/self/task").iterdir()]


def _take_turns() -> None:
    """Change the policy of all threads but this one, which must wake up on a full box as well."""
    while True:
        _set_policy(os.SCHED_IDLE)
        time.sleep(SPARE_S)
        _set_policy(os.SCHED_OTHER)
        time.sleep(TURN_S)


def _set_policy(policy: int) -> None:
    for thread in list_threads():
        if thread != threading.get_native_id():
            with contextlib.suppress(ProcessLookupError):  # ended meanwhile
                os.sched_setscheduler(thread, policy, os.sched_param(0))


def _may_leave_idle() -> bool:
    """Whether a thread may return from ``SCHED_IDLE``; tried in one that ends at once, since only the kernel knows."""
    worked: list[None] = []

    def enter_and_leave() -> None:
        with contextlib.suppress(PermissionError):  # also a sandbox that forbids the call
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            worked.append(None)

    thread = threading.Thread(target=enter_and_leave, name="may-leave-idle")
    thread.start()
    thread.join()
    return bool(worked)
