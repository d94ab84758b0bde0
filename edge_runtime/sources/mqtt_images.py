"""Pictures and prepared tensors that arrive as MQTT messages.

They wait in a queue that is bounded in number and bytes. No MQTT library here.
"""

import time
from collections.abc import Callable

from edge_runtime.datatypes import Frame
from edge_runtime.sources.message_queue import MessageQueue
from edge_runtime.sources.pacing import Metronome


class MqttImagesSource(MessageQueue):
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
        kept = 1 if fps else capacity
        super().__init__(
            stream,
            capacity=kept,
            max_payload_bytes=max_payload_bytes,
            max_bytes=kept * max_payload_bytes,
            is_frame=True,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._metronome = Metronome(fps)
        self._next_seq = first_seq

    def read(self, timeout_s: float) -> Frame | None:
        """The oldest kept message as a frame, undecoded.

        Raises:
            EndOfStream: closed.
        """
        message = self._take(timeout_s, self._metronome.wait_s)
        if message is None:
            return None
        self._metronome.tick(self._clock())
        with self._changed:
            self._counts = self._counts.plus(delivered=1, last_captured_at_s=message.at_s)
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        return Frame(
            stream=self.stream,
            seq=seq,
            payload=message.payload,
            captured_at_s=message.at_s,
            captured_at_wall_s=self._find_wall_s(message.at_s),
            colour=None,
            origin=message.origin,
        )
