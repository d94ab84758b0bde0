"""Messages that wait for the reader of a stream, bounded in number and bytes. No MQTT library here."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_runtime.datatypes import Origin
from edge_runtime.sources.base import EndOfStream, SourceCounts


@dataclass(frozen=True, slots=True)
class Received:
    """One message."""

    payload: bytes
    at_s: float
    """When it was received, monotonic."""
    origin: Origin | None
    """What its sender says about it."""
    is_after_loss: bool
    """Whether messages before it were dropped since the last one that was taken."""


class MessageQueue:
    """The newest messages of a stream, the oldest is dropped for a new one: the part of sources over MQTT.

    Args:
        stream: Name of the stream.
        capacity: Messages kept, at least 1.
        max_payload_bytes: Larger messages are refused and counted.
        max_bytes: Of all kept messages together; the newest one is kept whatever its size.
        is_frame: Whether a message is one frame, which counts as captured when it comes. Else only those count that
            are dropped, and the source counts the frames that it makes of the others.
        clock, wall_clock: Monotonic and Unix seconds.
    """

    def __init__(
        self,
        stream: str,
        *,
        capacity: int,
        max_payload_bytes: int,
        max_bytes: int,
        is_frame: bool,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.stream = stream
        self.on_close: Callable[[], object] = lambda: None
        """Ends what offers messages; called with every ``close``."""
        self._capacity, self._max_payload_bytes, self._max_bytes = capacity, max_payload_bytes, max_bytes
        self._captured_by_coming = int(is_frame)
        self._clock, self._wall_clock = clock, wall_clock
        self._queued: deque[Received] = deque()
        self._queued_bytes = 0
        self._has_lost = False
        self._changed = threading.Condition()
        self._is_closed = False
        self._counts = SourceCounts()

    def offer(self, payload: bytes, received_at_s: float, origin: Origin | None = None) -> None:
        """A message came; callable from any thread, returns at once."""
        if len(payload) > self._max_payload_bytes:
            self.ignore(f"message of {len(payload)} bytes; at most {self._max_payload_bytes} are taken")
            return
        with self._changed:
            if self._is_closed:
                return
            self._counts = self._counts.plus(captured=self._captured_by_coming)
            while self._queued and self._is_full(len(payload)):
                self._drop_oldest()
            self._queued.append(Received(bytes(payload), received_at_s, origin, self._has_lost))
            self._queued_bytes += len(payload)
            self._has_lost = False
            self._changed.notify()

    def ignore(self, problem: str) -> None:
        """A message came that is not to be used; counted as dropped."""
        with self._changed:
            if not self._is_closed:
                self._has_lost = True
                self._counts = self._counts.plus(captured=1, dropped=1, last_problem=problem)

    def stats(self) -> SourceCounts:
        """Counters so far, from any thread."""
        return self._counts

    def close(self) -> None:
        """Take no more and wake the reader; messages that were not read count as dropped."""
        self.on_close()
        with self._changed:
            self._is_closed = True
            while self._queued:
                self._drop_oldest()
            self._changed.notify_all()

    def _take(
        self, timeout_s: float, find_wait_s: Callable[[float], float] = lambda _: 0.0
    ) -> Received | None:
        """The oldest message, None when none came in time; ``find_wait_s`` tells when the next one is wanted.

        Raises:
            EndOfStream: closed.
        """
        deadline_s = self._clock() + timeout_s
        with self._changed:
            while not self._is_closed:
                now_s = self._clock()
                wait_s = find_wait_s(now_s) if self._queued else timeout_s
                if self._queued and wait_s <= 0:
                    taken = self._queued.popleft()
                    self._queued_bytes -= len(taken.payload)
                    return taken
                if now_s >= deadline_s:
                    return None
                self._changed.wait(min(wait_s, deadline_s - now_s))
        raise EndOfStream(f"{self.stream} was closed")

    def _find_wall_s(self, at_s: float) -> float:
        """The Unix time of a monotonic one."""
        return self._wall_clock() - (self._clock() - at_s)

    def _is_full(self, more_bytes: int) -> bool:
        return len(self._queued) >= self._capacity or self._queued_bytes + more_bytes > self._max_bytes

    def _drop_oldest(self) -> None:
        self._queued_bytes -= len(self._queued.popleft().payload)
        self._has_lost = True
        self._counts = self._counts.plus(captured=1 - self._captured_by_coming, dropped=1)
        if self._queued:
            self._queued[0] = replace(self._queued[0], is_after_loss=True)
            self._has_lost = False
