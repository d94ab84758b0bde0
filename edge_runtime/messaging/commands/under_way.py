"""The threads of commands whose answer comes later: their progress, their one answer, and their end with the daemon.

They belong to the daemon, not to a connection: an edit of the broker's settings leaves them alone.
"""

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any, Protocol, TypeVar

from edge_runtime.errors import CommandError, EdgeRuntimeError
from edge_runtime.messaging.commands.answers import Answer
from edge_runtime.messaging.commands.later import Begun, Outcome, Progress
from edge_runtime.system.supervised_thread import Crashes

T = TypeVar("T")

MOST = 4
"""Commands of one verb under way; further ones are refused, and take no room from another verb."""
PROGRESS_EVERY_S = 1.0
LOOK_EVERY_S = 0.25
"""How soon work that waits notices that the daemon ends."""
NOT_BEGUN = "the daemon ends; nothing was done"
CUT_SHORT = (
    "the daemon ends before this was done; it may be done in part: ask for the 'status' after the next start"
)


class Caller(Protocol):
    """Who sent a command, and may still be reached."""

    def answer(self, answer: Answer) -> None:
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

    def __init__(self, crashes: Crashes) -> None:
        """Nothing is under way."""
        self._crashes = crashes
        self._changed = threading.Condition()
        self._jobs = set[_Job]()
        self._turns: defaultdict[str, deque[_Job]] = defaultdict(deque)
        """By name, those that are carried out one after the other; the first is at work."""
        self._counts: Counter[str] = Counter(executed=0, failed=0)
        self.is_ending = False

    @property
    def counts(self) -> dict[str, int]:
        """Commands that were ``executed``, or ``failed``, since the start, and how many are ``under_way``."""
        with self._changed:
            return {**self._counts, "under_way": len(self._jobs)}

    def start(self, begun: Begun, caller: Caller) -> None:
        """Do the work in a thread, unless too much is under way or the daemon ends: the caller is told."""
        job, turn = _Job(begun, caller, self), begun.later.in_turn
        with self._changed:
            is_full = sum(one.begun.verb == begun.verb for one in self._jobs) >= MOST
            is_taken = not is_full and not self.is_ending
            if is_taken:
                self._jobs.add(job)
                if turn is not None:
                    self._turns[turn].append(job)
        if is_taken:
            threading.Thread(target=self._work, args=(job,), name="command", daemon=True).start()
        else:
            busy = f"{begun.verb}: {MOST} of them are under way; nothing was done, try again later"
            self._answer(job, CommandError(busy if is_full else NOT_BEGUN))

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until none is under way; False when some are still."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, timeout_s)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ask all to end, wait this long, and answer for those that did not. Idempotent."""
        with self._changed:
            self.is_ending = True
            self._changed.notify_all()
        self.wait_idle(timeout_s)
        with self._changed:
            left = tuple(self._jobs)
        for job in left:
            self._settle(job, CommandError(CUT_SHORT))

    def _work(self, job: "_Job") -> None:
        outcome: Outcome = CommandError(NOT_BEGUN)
        with self._crashes.contain("command"):
            if self._wait_for_turn(job):
                outcome = None
                try:
                    outcome = job.begun.later.work(job)
                except EdgeRuntimeError as err:
                    outcome = err
        self._settle(job, outcome)
        if (turn := job.begun.later.in_turn) is not None:
            with self._changed:
                self._turns[turn].remove(job)
                self._changed.notify_all()

    def _wait_for_turn(self, job: "_Job") -> bool:
        """Whether it may begin; False when the daemon ends before."""
        turn = job.begun.later.in_turn
        while True:
            with self._changed:
                if self.is_ending:
                    return False
                if turn is None or self._turns[turn][0] is job:
                    return True
                self._changed.wait(PROGRESS_EVERY_S)
            job.report({"phase": "waiting"})

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
        answer: Answer | None = None
        with self._crashes.contain("command"):
            answer = job.begun.settle(outcome, time.time())
        if answer is None:  # such as data that is no JSON
            outcome = None
            with self._crashes.contain("command"):
                answer = job.begun.settle(None, time.time())
        if answer is not None:
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
