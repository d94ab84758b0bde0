"""Pictures and prepared tensors that arrive as MQTT messages.

They wait in a queue that is bounded in number and bytes. No MQTT library here.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from edge_runtime.datatypes import Frame
from edge_runtime.sources.base import EndOfStream, SourceCounts


class MqttImagesSource:
    """A stream of pictures over MQTT as a ``Source``: the newest messages, the oldest is dropped for a new one.

    A message is a picture file (JPEG, PNG, ...) or a ``.npy`` array; nothing is decoded or judged here.

    Args:
        capacity: Messages kept, at least 1.
        max_payload_bytes: Larger messages are refused and counted.
        clock, wall_clock: Monotonic and Unix seconds; the capture times of frames are when messages were received.
        first_seq: Sequence number of the first frame.
    """

    is_live = True

    def __init__(
        self,
        stream: str,
        *,
        capacity: int = 8,
        max_payload_bytes: int = 16 << 20,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        first_seq: int = 0,
    ) -> None:
        self.stream = stream
        self.on_close: Callable[[], object] = lambda: None
        """Ends what offers messages; called with every ``close``."""
        self._capacity, self._max_payload_bytes = capacity, max_payload_bytes
        self._clock, self._wall_clock = clock, wall_clock
        self._next_seq = first_seq
        self._queued: deque[tuple[bytes, float]] = deque()  # payload, when it was received
        self._changed = threading.Condition()
        self._is_closed = False
        self._counts = SourceCounts()

    def offer(self, payload: bytes, received_at_s: float) -> None:
        """A message came; callable from any thread, returns at once."""
        with self._changed:
            if self._is_closed:
                return
            if len(payload) > self._max_payload_bytes:
                problem = f"message of {len(payload)} bytes; at most {self._max_payload_bytes} are taken"
                self._counts = self._counts.plus(captured=1, dropped=1, last_problem=problem)
                return
            is_full = len(self._queued) == self._capacity
            if is_full:
                self._queued.popleft()
            self._counts = self._counts.plus(captured=1, dropped=int(is_full))
            self._queued.append((bytes(payload), received_at_s))
            self._changed.notify()

    def ignore(self, problem: str) -> None:
        """A message came that is no picture to be used; counted as dropped."""
        with self._changed:
            self._counts = self._counts.plus(captured=1, dropped=1, last_problem=problem)

    def read(self, timeout_s: float) -> Frame | None:
        """The oldest kept message as a frame, undecoded.

        Raises:
            EndOfStream: closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._queued or self._is_closed, timeout_s)
            if self._is_closed:
                raise EndOfStream(f"{self.stream} was closed")
            if not self._queued:
                return None
            payload, received_at_s = self._queued.popleft()
            self._counts = self._counts.plus(delivered=1, last_captured_at_s=received_at_s)
        frame = Frame(
            stream=self.stream,
            seq=self._next_seq,
            picture=payload,
            captured_at_s=received_at_s,
            captured_at_wall_s=self._wall_clock() - (self._clock() - received_at_s),
            colour=None,
        )
        self._next_seq += 1
        return frame

    def stats(self) -> SourceCounts:
        """Counters so far, from any thread."""
        return self._counts

    def close(self) -> None:
        """Take no more and wake the reader; messages that were not read count as dropped."""
        self.on_close()
        with self._changed:
            self._is_closed = True
            self._counts = self._counts.plus(dropped=len(self._queued))
            self._queued.clear()
            self._changed.notify_all()
