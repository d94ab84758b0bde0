"""Threads that answer requests in turn, whichever way they came.

There are three *lanes*, each with its own queue, thread and handler: verbs that are answered at once, the question that
waits for a recalibration loop, and all others. Work that takes longer leaves its lane (``under_way``). The rules are in
``protocol``.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from edge_runtime.messaging.commands import under_way
from edge_runtime.messaging.commands.answers import Answer
from edge_runtime.messaging.commands.callers import KnownCaller, Request
from edge_runtime.messaging.commands.later import Begun
from edge_runtime.messaging.commands.protocol import CommandHandler
from edge_runtime.messaging.commands.request import PATIENT, QUICK
from edge_runtime.messaging.commands.request_text import MAX_REQUEST_BYTES
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

log = structlog.get_logger()

MAX_QUEUED, MAX_QUEUED_BYTES = 1024, 4 * 2**20
"""More requests than this, or more bytes of them, are dropped; of each lane."""


class Listening(under_way.Caller, Protocol):
    """Who waits for an answer; called in the threads of the commands."""

    def drop(self) -> None:
        """There is no answer: more requests came than are answered."""


class Caller(Listening, Protocol):
    """Who sent a request."""

    def begin(self, request: Request, now_wall_s: float) -> None:
        """The request is a change, and acts now (POSIX time)."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it came."""

    verb: str
    payload: bytes
    """Longer ones than ``MAX_REQUEST_BYTES`` are refused whatever stands behind."""
    caller: Caller
    size_bytes: int
    """Memory that it takes while it waits, at least."""
    is_retained: bool = False
    known: KnownCaller | None = None
    """Who sent it, where the way on which it came tells that."""


def shorten(payload: bytes) -> bytes:
    """As much of a payload as must wait to be refused; a message may have 32 MiB."""
    return payload[: MAX_REQUEST_BYTES + 1]


class Lanes:
    """See the module."""

    def __init__(
        self,
        name: str,
        make_handler: Callable[[], CommandHandler],
        jobs: under_way.UnderWay,
        crashes: Crashes,
    ) -> None:
        """Answer from now on.

        Args:
            name: Of the threads.
            make_handler: A handler for each lane.
            jobs: Does the work of commands that are answered later.
            crashes: The account of unexpected failures.
        """
        self._quick = _Lane(f"{name}-quick", make_handler(), jobs, crashes)
        self._patient = _Lane(f"{name}-patient", make_handler(), jobs, crashes)
        self._others = _Lane(name, make_handler(), jobs, crashes)
        self._all = (self._quick, self._patient, self._others)

    def put(self, incoming: Incoming) -> None:
        """Have it answered, or dropped where too many wait."""
        verb = incoming.verb
        lane = self._quick if verb in QUICK else self._patient if verb in PATIENT else self._others
        lane.put(incoming)

    def stop(self, timeout_s: float) -> None:
        """Execute no more, also none that waits; a command that is running is waited for this long. Idempotent."""
        for lane in self._all:
            lane.stop(timeout_s)

    @property
    def counts(self) -> Counter[str]:
        """Requests by what became of them; ``dropped`` are those that found too many waiting."""
        total: Counter[str] = Counter()
        for lane in self._all:
            total.update(lane.handler.counts)
            total["dropped"] += lane.dropped
        return total

    @property
    def forgotten(self) -> int:
        """Used transactions that a damaged file has lost."""
        return self._others.handler.forgotten


class _Lane:
    """One queue of requests and the thread that answers them in turn."""

    def __init__(
        self, name: str, handler: CommandHandler, jobs: under_way.UnderWay, crashes: Crashes
    ) -> None:
        self.handler, self.dropped, self._jobs = handler, 0, jobs
        self._queue: queue.SimpleQueue[Incoming | None] = queue.SimpleQueue()
        self._lock, self._waiting_bytes = threading.Lock(), 0
        # Not vital: a command must not be able to end the daemon.
        self._thread = SupervisedThread(name, self._run, crashes, is_vital=False)
        self._thread.start()

    def put(self, incoming: Incoming) -> None:
        with self._lock:
            has_room = self._queue.qsize() < MAX_QUEUED and self._waiting_bytes < MAX_QUEUED_BYTES
            self._waiting_bytes += incoming.size_bytes if has_room else 0
        if has_room:
            self._queue.put(incoming)
        else:
            self.dropped += 1
            log.warning("command dropped: too many wait", verb=incoming.verb[:64])
            incoming.caller.drop()

    def stop(self, timeout_s: float) -> None:
        self._thread.stop()
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (incoming := self._queue.get()) is not None and not self._thread.stopping.is_set():
            with self._lock:
                self._waiting_bytes -= incoming.size_bytes
            self._serve(incoming)
            self._thread.succeeded()

    def _serve(self, incoming: Incoming) -> None:
        """Answer one request; also when its handler raises, which is left to the supervision of the thread."""
        answer: Answer | Begun | None = None
        now_wall_s, is_done, caller = time.time(), False, incoming.caller
        try:
            answer = self.handler.answer(
                incoming.verb,
                incoming.payload,
                is_retained=incoming.is_retained,
                now_s=time.monotonic(),
                now_wall_s=now_wall_s,
                on_begin=lambda request: caller.begin(request, now_wall_s),
                known=incoming.known,
            )
            is_done = True
        finally:
            if not is_done:
                answer = self.handler.make_unexpected(incoming.payload)
            if isinstance(answer, Begun):
                self._jobs.start(answer, caller)
            elif answer is not None:
                caller.answer(answer)
            else:
                caller.drop()
