"""Samples of a sensor that arrive as MQTT messages, as a stream of windows. No MQTT library here."""

import time
from collections.abc import Callable

from edge_runtime.datatypes import Frame
from edge_runtime.sources.base import SourceCounts
from edge_runtime.sources.message_queue import MessageQueue
from edge_runtime.sources.window_frames import FindSpec, WindowFrames

CAPACITY = 16_384
"""Messages: a sensor that sends each sample by itself sends thousands a second."""
MAX_BYTES = 64 << 20


class MqttSignalsSource(MessageQueue):
    """A stream of windows over MQTT as a ``Source``; the oldest messages are dropped when too many wait.

    A message may complete no window, one, or several. One that cannot be read gives a frame with its flaw. A message
    that is dropped unread counts as one frame.

    Args:
        find_spec: What the model that answers wants; see :class:`WindowFrames`.
        capacity: Messages kept.
        max_payload_bytes: Larger messages are refused and counted.
        max_bytes: Of all that are kept together.
        clock, wall_clock: Monotonic and Unix seconds.
        first_seq: Sequence number of the first frame.
        expected_on: The topic that messages must come on, for the problem that there is none yet; None: silence is
            normal.
    """

    is_live = False
    """A message of many windows, or a backlog after a pause, must not push out its own windows; so they wait for the
    model, and what is dropped when it is slower than the sensor are the oldest messages."""

    def __init__(
        self,
        stream: str,
        find_spec: FindSpec,
        *,
        capacity: int = CAPACITY,
        max_payload_bytes: int = 16 << 20,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        first_seq: int = 0,
        expected_on: str | None = None,
    ) -> None:
        super().__init__(
            stream,
            capacity=capacity,
            max_payload_bytes=max_payload_bytes,
            max_bytes=max_bytes,
            is_frame=False,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._windows = WindowFrames(stream, find_spec, first_seq, is_live=True)
        self._expected_on = expected_on

    def read(self, timeout_s: float) -> Frame | None:
        """The next window, or the next message that cannot be read; None when none came in time.

        Raises:
            EndOfStream: closed.
            SourceLost: the model takes no windows any more.
        """
        end_s, is_late = self._clock() + timeout_s, False
        while (frame := self._windows.next_frame()) is None:
            if is_late:  # messages that complete no window keep nobody from closing the stream
                return None
            message = self._take(max(0.0, end_s - self._clock()))
            if message is None:
                return None
            at_wall_s = self._find_wall_s(message.at_s)
            self._windows.put(
                message.payload,
                message.at_s,
                at_wall_s,
                message.origin,
                is_after_loss=message.is_after_loss,
            )
            is_late = self._clock() > end_s
        with self._changed:
            self._counts = self._counts.plus(captured=1, delivered=1, last_captured_at_s=frame.captured_at_s)
        return frame

    def stats(self) -> SourceCounts:
        """Counters so far, from any thread."""
        counts = self._windows.add_counts(self._counts)
        if self._expected_on is None or counts.samples or counts.captured:
            return counts
        return counts.plus(last_problem=f"nothing has come on {self._expected_on}")
