"""How background work yields the processor to live inference: a process for good, a thread for a while.

A process (``lower_priority``): a third of the share of a live thread; ``pacing`` bounds what that takes in all.

A thread (``low_priority``): a model that is opened while another one runs keeps a core busy for 50 ms and more. With
the share of a live thread it put off every thread that it met on the same core: the worst inference of 30 swaps at
30 frames/s was 2.7 times the median one, with low priority 2.1 times (medians of 11 interleaved runs each).
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

JOB_NICENESS = 5
"""Added to the niceness; at 19 a job starves on a busy box and never ends."""
THREAD_NICENESS = 10
"""Added to the niceness of a thread in ``low_priority``: a tenth of a live thread's share where no core is free."""
MAX_NICENESS = 19


def lower_priority() -> None:
    """Lower the priority of every thread this process has; what they start inherits it."""
    for thread in _threads():
        with contextlib.suppress(ProcessLookupError):  # ended meanwhile
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + JOB_NICENESS)


def run_in_background(work: Callable[[], T]) -> Future[T]:
    """Do ``work`` in a separate thread with the priority of a job; a process that ends does not wait for it.

    Not lowered further: importing torch on a box that is busy with files took 47 s with a tenth of a share.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            with low_priority(JOB_NICENESS):
                found = work()
        except BaseException as err:  # noqa: BLE001 - thread boundary: raised again where the result is asked for
            future.set_exception(err)
        else:
            future.set_result(found)

    threading.Thread(target=run, name="background", daemon=True).start()
    return future


def lower_this_thread(by: int = THREAD_NICENESS) -> None:
    """Leave the processor to live frames for as long as this thread lives; calling it again changes nothing."""
    lowered = min(_niceness_of_process() + by, MAX_NICENESS)
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), lowered)


def _niceness_of_process() -> int:
    return os.getpriority(os.PRIO_PROCESS, os.getpid())


@contextlib.contextmanager
def low_priority(by: int = THREAD_NICENESS) -> Iterator[None]:
    """For as long as it lasts, this thread and those it starts leave the processor to live frames.

    Nothing happens where the way back is forbidden, for an engine keeps the threads it starts: that takes root or the
    unit's ``LimitNICE=``.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    lowered = min(before + by, MAX_NICENESS)
    if lowered == before or not _may_return(before):
        yield
        return
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), lowered)
    try:
        yield
    finally:
        while _restore(lowered, before):  # a thread of an engine's pool may be starting the next one just now
            pass


def _restore(lowered: int, before: int) -> int:
    """Restore the niceness of every lowered thread; returns their number."""
    found = 0
    for thread in _threads():
        with contextlib.suppress(ProcessLookupError):  # ended meanwhile
            if os.getpriority(os.PRIO_PROCESS, thread) == lowered:
                os.setpriority(os.PRIO_PROCESS, thread, before)
                found += 1
    return found


def _may_return(before: int) -> bool:
    """Whether a thread may raise its priority again; tried in one that ends at once, since only the kernel knows."""
    worked: list[None] = []

    def lower_and_raise() -> None:
        me = threading.get_native_id()
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, me, before + 1)
            os.setpriority(os.PRIO_PROCESS, me, before)
            worked.append(None)

    thread = threading.Thread(target=lower_and_raise, name="may-return")
    thread.start()
    thread.join()
    return bool(worked)


def _threads() -> list[int]:
    return [int(task.name) for task in Path("/proc/self/task").iterdir()]
