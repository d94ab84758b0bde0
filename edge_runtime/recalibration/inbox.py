"""The ways into the controller's thread: answered samples, thinned out and bounded, and requests with their answers.

Offering a sample returns at once whatever the controller is doing: live frames come first, and a sample that does not
fit is only counted.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from edge_runtime.datatypes import Result, Sample
from edge_runtime.errors import CommandError, EdgeRuntimeError
from edge_runtime.recalibration.task import TaskRequest

CAPACITY = 32

Answer = dict[str, Any]


class SampleInbox:
    """At most one sample of a stream every ``every_s`` seconds, and at most ``CAPACITY`` waiting."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        """By capture time; may be changed at any moment."""
        self.skipped = 0
        """Samples whose turn it was, but the inbox was full."""
        self._waiting: queue.Queue[tuple[Sample, Result] | None] = queue.Queue(CAPACITY)
        self._last_at_s: dict[str, float] = {}

    def offer(self, sample: Sample, result: Result) -> None:
        """Take it in if it has values (a raw tensor has none) and it is this stream's turn."""
        if sample.values is None:
            return
        last_s = self._last_at_s.get(sample.stream)
        if last_s is not None and sample.captured_at_s - last_s < self.every_s:
            return
        self._last_at_s[sample.stream] = sample.captured_at_s
        try:
            self._waiting.put_nowait((sample, result))
        except queue.Full:
            self.skipped += 1

    def wake(self) -> None:
        """Let :meth:`take` return although there may be no sample."""
        with suppress(queue.Full):  # then it returns a sample soon
            self._waiting.put_nowait(None)

    def take(self, timeout_s: float) -> tuple[Sample, Result] | None:
        """The oldest one waiting; None when none came in time, or after :meth:`wake`."""
        with suppress(queue.Empty):
            return self._waiting.get(timeout=timeout_s) or self._waiting.get_nowait()
        return None


class RequestInbox:
    """Requests from any thread, answered by one."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[TaskRequest, Future[Answer]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed: str | None = None
        """Why nobody answers any more; guarded by the lock, so that no request is left behind."""

    def put(self, request: TaskRequest) -> "Future[Answer]":
        """The future of the answer; it holds an :class:`EdgeRuntimeError` when the answer is no, or another error.

        A future that was cancelled in time is never acted upon.
        """
        answer: Future[Answer] = Future()
        with self._lock:
            if self._closed is None:
                self._waiting.put((request, answer))
            else:
                answer.set_exception(CommandError(self._closed))
        return answer

    def close(self, reason: str) -> None:
        """Refuse every request that waits or comes from now on: who answered them has ended."""
        with self._lock:
            self._closed = reason
            while (taken := self._take()) is not None:
                answer = taken[1]
                if answer.set_running_or_notify_cancel():
                    answer.set_exception(CommandError(reason))

    def answer_all(self, handle: Callable[[TaskRequest], Answer]) -> None:
        """Answer every request that waits; an unexpected error goes to the caller and is raised here too."""
        while (taken := self._take()) is not None:
            request, answer = taken
            if not answer.set_running_or_notify_cancel():
                continue  # its caller knows that it is not done
            try:
                answer.set_result(handle(request))
            except Exception as err:
                answer.set_exception(err)
                if not isinstance(err, EdgeRuntimeError):
                    raise

    def _take(self) -> "tuple[TaskRequest, Future[Answer]] | None":
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None
