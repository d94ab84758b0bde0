"""A thread that outlives the bugs of its work, and one account of the failures of all such threads.

The one policy for an unexpected exception: log it with its traceback, count it under the thread's name, wait, run the
work again. A vital thread that only fails ends the daemon (exit code 70), and systemd starts it anew. While stopping,
work that fails is tried once more without a wait, and never ends the daemon.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

log = structlog.get_logger()

CRASHES_IN_A_ROW = 20
"""Work that fails this often without one success is broken, not unlucky."""
WORKED_S = 60.0
"""Work that ran this long before it failed has worked: a new row begins."""


def pause_s(in_a_row: int, first_s: float = 0.05, most_s: float = 1.0) -> float:
    """Seconds before the next try, doubled each time: one failure costs little, a row of them no whole CPU."""
    return min(most_s, first_s * 2.0 ** min(in_a_row - 1, 16))


class Contained:
    """Around work whose exceptions, of any kind, end here: each is noted and kept, and what follows is done.

    Args:
        note: Called with the exception while it is being handled.
    """

    def __init__(self, note: Callable[[Exception], object]) -> None:
        self._note = note
        self.error: Exception | None = None
        """What the work raised."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        self.error = error
        self._note(error)
        return True


class Crashes:
    """The one account of unexpected exceptions; ``on_fatal`` is called when a vital thread cannot work at all."""

    def __init__(self, on_fatal: Callable[[str], None] = lambda _: None) -> None:
        self._on_fatal = on_fatal
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._in_a_row: dict[str, int] = {}

    @property
    def total(self) -> int:
        """Failures of all threads since the start."""
        with self._lock:
            return self._counts.total()

    def by_thread(self) -> dict[str, int]:
        """The same for each thread that has failed; a copy."""
        with self._lock:
            return dict(self._counts)

    def in_a_row(self) -> dict[str, int]:
        """For each thread that fails now, how often since it last worked; a copy."""
        with self._lock:
            return dict(self._in_a_row)

    def clear(self, thread: str) -> None:
        """The thread works again, or has ended."""
        with self._lock:
            self._in_a_row.pop(thread, None)

    def note(self, where: str) -> None:
        """Log and count the exception that is being handled; the thread goes on."""
        log.exception("unexpected failure", thread=where)
        with self._lock:
            self._counts[where] += 1

    def note_once(self, where: str) -> None:
        """Count the exception that is being handled; logged only the first time: a stranger may cause many."""
        with self._lock:
            is_first = where not in self._counts
        if is_first:
            self.note(where)
        else:
            with self._lock:
                self._counts[where] += 1

    def contain(self, where: str, *, log_once: bool = False) -> Contained:
        """For one request, callback or look: what it raises is noted and ends here, and its thread goes on."""
        return Contained(lambda _: self.note_once(where) if log_once else self.note(where))

    def add(self, thread: str, in_a_row: int, *, is_vital: bool) -> None:
        """Count one failure; the ``in_a_row``-th since the thread last worked."""
        with self._lock:
            self._counts[thread] += 1
            self._in_a_row[thread] = in_a_row
        if is_vital and in_a_row == CRASHES_IN_A_ROW:
            self._on_fatal(f"{thread} failed {CRASHES_IN_A_ROW} times in a row")


class SupervisedThread:
    """Runs ``run`` until it returns; when it raises, it is run again. All methods may be called from any thread.

    Args:
        name: Of the thread, in logs and in the account.
        run: The work, usually a loop that looks at ``stopping`` and calls :meth:`succeeded` after each good round.
        crashes: The account.
        at_end: Called once in the thread after the last try, also after one that failed: releases what the work holds.
        on_failure: Called in the thread with what a try raised, before it is counted.
        is_vital: Whether the daemon ends when this work cannot be done; False for one camera of many.
        pause_s: Seconds to wait after so many failures in a row.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], None],
        crashes: Crashes,
        *,
        at_end: Callable[[], None] = lambda: None,
        on_failure: Callable[[Exception], None] = lambda _: None,
        is_vital: bool = True,
        pause_s: Callable[[int], float] = pause_s,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self._run, self._crashes = name, run, crashes
        self._at_end, self._on_failure = at_end, on_failure
        self._is_vital, self._pause_s, self._clock = is_vital, pause_s, clock
        self._in_a_row = 0
        self.stopping = threading.Event()
        """Set by :meth:`stop`; for the work to look at or to wait for."""
        self._thread = threading.Thread(target=self._supervise, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work; a thread starts once."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the work to end, and end a pause; :meth:`join` waits."""
        self.stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False when it did not come in time. A thread that was never started has ended."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread.is_alive()

    def succeeded(self) -> None:
        """End the row of failures; to be called by the work itself."""
        if self._in_a_row:
            self._in_a_row = 0
            self._crashes.clear(self.name)

    def _supervise(self) -> None:
        while True:
            was_stopping = self.stopping.is_set()
            delay_s = self._try(self._run)
            if delay_s is None or (was_stopping and self._in_a_row > 1):
                break
            self.stopping.wait(delay_s)  # a stop ends the pause: work that is left is tried even now
        self._try(self._at_end)

    def _try(self, work: Callable[[], None]) -> float | None:
        """Do it; when it raises, count that and return the seconds to wait before the next try."""
        began_at_s = self._clock()
        try:
            work()
        except Exception as err:
            self._on_failure(err)
            if self._clock() - began_at_s >= WORKED_S:
                self._in_a_row = 0
            self._in_a_row += 1
            delay_s = self._pause_s(self._in_a_row)
            log.exception("thread failed", thread=self.name, in_a_row=self._in_a_row, retry_in_s=delay_s)
            is_fatal = self._is_vital and not self.stopping.is_set()  # an ordinary stop stays one
            self._crashes.add(self.name, self._in_a_row, is_vital=is_fatal)
            return delay_s
        self.succeeded()
        return None
