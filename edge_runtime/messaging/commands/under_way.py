"""The threads of commands whose answer comes later: their progress, their one answer, and their end with the daemon.

They belong to the daemon, not to a connection: an edit of the broker's settings leaves them alone.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any, Protocol, TypeVar

from edge_runtime.errors import CommandError, EdgeRuntimeError
from edge_runtime.messaging.commands.later import Begun, Outcome, Progress
from edge_runtime.system.supervised_thread import Crashes

T = TypeVar("T")

MOST = 8
"""Commands under way; further ones are refused."""
PROGRESS_EVERY_S = 1.0
LOOK_EVERY_S = 0.25
"""How soon work that waits notices that the daemon ends."""
NOT_BEGUN = "the daemon ends; nothing was done"
CUT_SHORT = (
    "the daemon ends before this was done; it may be done in part: ask for the 'status' after the next start"
)


class Caller(Protocol):
    """Who sent a command, and may still be reached."""

    def answer(self, payload: bytes) -> None:
        """Send the one answer."""

    def report(self, payload: bytes) -> None:
        """Send a progress message; it may be lost."""


def wait_for(
    future: Future[T], timeout_s: float, progress: Progress, describe: Callable[[], Mapping[str, Any]]
) -> T:
    """The result of a future, while the caller hears that it is waited for; ``describe`` gives what.

    Raises:
        TimeoutError: it did not come in time.
        CommandError: the daemon ends.
        EdgeRuntimeError: as the future says.
    """
    said_s = time.monotonic()
    end_s = said_s + timeout_s
    while True:
        now_s = time.monotonic()
        if wait([future], max(0.0, min(LOOK_EVERY_S, end_s - now_s))).done:
            return future.result()
        if now_s >= end_s:
            raise TimeoutError
        if progress.is_ending:
            raise CommandError(CUT_SHORT)
        if now_s - said_s >= PROGRESS_EVERY_S:
            said_s = now_s
            progress.report(describe())


class UnderWay:
    """See the module; may be shared by threads."""

    def __init__(self, crashes: Crashes, most: int = MOST) -> None:
        """Nothing is under way."""
        self._crashes, self._most = crashes, most
        self._changed = threading.Condition()
        self._jobs = set[_Job]()
        self._turns: dict[str, deque[_Job]] = {}
        """Those that wait for the one before them with the same name."""
        self._counts: Counter[str] = Counter(executed=0, failed=0)
        self.is_ending = False

    @property
    def counts(self) -> dict[str, int]:
        """Commands that were ``executed``, or ``failed``, since the start, and how many are ``under_way``."""
        with self._changed:
            return {**self._counts, "under_way": len(self._jobs)}

    def start(self, begun: Begun, caller: Caller) -> None:
        """Do the work in a thread, unless too much is under way or the daemon ends: the caller is told."""
        job = _Job(begun, caller, self)
        with self._changed:
            is_full = len(self._jobs) >= self._most
            is_taken = not is_full and not self.is_ending
            is_waiting = is_taken and self._enqueue(job)
            if is_taken:
                self._jobs.add(job)
        if not is_taken:
            busy = f"{begun.verb}: {self._most} commands are under way; nothing was done, try again later"
            self._answer(job, CommandError(busy if is_full else NOT_BEGUN))
        elif not is_waiting:
            threading.Thread(target=self._work, args=(job,), name="command", daemon=True).start()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until none is under way; False when some are still."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, timeout_s)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ask all to end, wait this long, and answer for those that did not. Idempotent."""
        with self._changed:
            self.is_ending = True
            waiting = [job for turn in self._turns.values() for job in turn]
            for turn in self._turns.values():
                turn.clear()
        for job in waiting:
            self._settle(job, CommandError(NOT_BEGUN))
        self.wait_idle(timeout_s)
        with self._changed:
            left = tuple(self._jobs)
        for job in left:
            self._settle(job, CommandError(CUT_SHORT))

    def _enqueue(self, job: "_Job") -> bool:
        """Whether it must wait for its turn."""
        name = job.begun.later.in_turn
        if name is None:
            return False
        if name not in self._turns:
            self._turns[name] = deque()
            return False
        self._turns[name].append(job)
        return True

    def _work(self, first: "_Job") -> None:
        job: _Job | None = first
        while job is not None:
            outcome: Outcome = None
            with self._crashes.contain("command"):
                try:
                    outcome = job.begun.later.work(job)
                except EdgeRuntimeError as err:
                    outcome = err
            self._settle(job, outcome)
            job = self._take_next(job.begun.later.in_turn)

    def _take_next(self, turn: str | None) -> "_Job | None":
        """The next one of a turn; the turn ends with its last."""
        with self._changed:
            if turn is None:
                return None
            if self._turns[turn]:
                return self._turns[turn].popleft()
            del self._turns[turn]
            return None

    def _settle(self, job: "_Job", outcome: Outcome) -> None:
        """Answer once: the end of the daemon may have come before the end of the work."""
        with self._changed:
            if job.is_settled:
                return
            job.is_settled = True
        self._answer(job, outcome)
        with self._changed:
            self._jobs.discard(job)
            self._changed.notify_all()

    def _answer(self, job: "_Job", outcome: Outcome) -> None:
        answer: bytes | None = None
        with self._crashes.contain("command"):
            answer = job.begun.settle(outcome, time.time())
        if answer is None:  # its data is no JSON
            outcome, answer = None, job.begun.settle(None, time.time())
        with self._crashes.contain("command"):
            job.caller.answer(answer)
        with self._changed:
            self._counts["executed" if isinstance(outcome, Mapping) else "failed"] += 1


class _Job:
    """A command under way; implements ``Progress``."""

    def __init__(self, begun: Begun, caller: Caller, under_way: UnderWay) -> None:
        self.begun, self.caller, self._under_way = begun, caller, under_way
        self.is_settled = False
        self._reported_at_s: float | None = None

    @property
    def is_ending(self) -> bool:
        return self._under_way.is_ending

    def report(self, data: Mapping[str, Any]) -> None:
        now_s = time.monotonic()
        is_early = self._reported_at_s is not None and now_s - self._reported_at_s < PROGRESS_EVERY_S
        if not is_early and not self.is_settled:
            self._reported_at_s = now_s
            self.caller.report(self.begun.encode_progress(data))
