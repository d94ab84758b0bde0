"""Pictures and prepared tensors that arrive as MQTT messages.

They wait in a queue that is bounded in number and bytes. No MQTT library here.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from edge_runtime.datatypes import Frame, Origin
from edge_runtime.sources.base import EndOfStream, SourceCounts
from edge_runtime.sources.pacing import Metronome


class MqttImagesSource:
    """A stream of pictures over MQTT as a ``Source``: the newest messages, the oldest is dropped for a new one.

    A message is a picture file (JPEG, PNG, ...) or a ``.npy`` array; nothing is decoded or judged here.

    Args:
        fps: At most so many frames a second; between them the newest message is kept and older ones are dropped.
            None gives all.
        capacity: Messages kept without a limit of fps, at least 1.
        max_payload_bytes: Larger messages are refused and counted.
        clock, wall_clock: Monotonic and Unix seconds; the capture times of frames are when messages were received.
        first_seq: Sequence number of the first frame.
    """

    is_live = True

    def __init__(
        self,
        stream: str,
        *,
        fps: float | None = None,
        capacity: int = 8,
        max_payload_bytes: int = 16 << 20,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        first_seq: int = 0,
    ) -> None:
        self.stream = stream
        self.on_close: Callable[[], object] = lambda: None
        """Ends what offers messages; called with every ``close``."""
        self._capacity, self._max_payload_bytes = 1 if fps else capacity, max_payload_bytes
        self._metronome = Metronome(fps)
        self._clock, self._wall_clock = clock, wall_clock
        self._next_seq = first_seq
        self._queued: deque[tuple[bytes, float, Origin | None]] = deque()
        """Payload, when it was received, and what its sender says about it."""
        self._changed = threading.Condition()
        self._is_closed = False
        self._counts = SourceCounts()

    def offer(self, payload: bytes, received_at_s: float, origin: Origin | None = None) -> None:
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
            self._queued.append((bytes(payload), received_at_s, origin))
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
        deadline_s = self._clock() + timeout_s
        with self._changed:
            while not self._is_closed:
                now_s = self._clock()
                wait_s = self._metronome.wait_s(now_s) if self._queued else timeout_s
                if self._queued and wait_s <= 0:
                    break
                if now_s >= deadline_s:
                    return None
                self._changed.wait(min(wait_s, deadline_s - now_s))
            if self._is_closed:
                raise EndOfStream(f"{self.stream} was closed")
            self._metronome.tick(now_s)
            payload, received_at_s, origin = self._queued.popleft()
            self._counts = self._counts.plus(delivered=1, last_captured_at_s=received_at_s)
        frame = Frame(
            stream=self.stream,
            seq=self._next_seq,
            payload=payload,
            captured_at_s=received_at_s,
            captured_at_wall_s=self._wall_clock() - (self._clock() - received_at_s),
            colour=None,
            origin=origin,
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
