"""Hands frames of a capture process to its owner: each is written straight into the ring, then told."""

import time
from collections.abc import Callable

from edge_runtime.sources.capture_protocol import CaptureFailed, OwnerConnection
from edge_runtime.sources.frame_ring import FrameNote, FrameRing

_BAD_FRAMES_IN_A_ROW = 100

Write = Callable[[memoryview], tuple[int, ...] | None]
"""Writes a frame into the memory of a slot; its shape, or None when it cannot be decoded."""


class FrameWriter:
    """The ring, and the owner who is woken for each frame in it."""

    def __init__(self, ring: FrameRing, owner: OwnerConnection) -> None:
        self._ring, self._owner = ring, owner
        self._bad_in_a_row = 0

    def hand_over(
        self,
        write: Write,
        position: int,
        at_s: float,
        wall_s: float,
        *,
        begun_s: float | None,
        may_overwrite: bool,
    ) -> None:
        """Hand one frame over; one that cannot be decoded is skipped.

        Args:
            write: See :data:`Write`.
            position: See ``FrameNote``.
            at_s: When it was captured, monotonic seconds.
            wall_s: The same by the wall clock.
            begun_s: When its decoding began, monotonic seconds; None for the bytes of a picture file.
            may_overwrite: Whether the oldest unread frame may make room; otherwise the caller has waited for a slot.

        Raises:
            CaptureFailed: it is too large, or too many in a row could not be decoded.
        """
        slot = self._ring.reserve(may_overwrite=may_overwrite)
        assert slot is not None, "a live writer always finds a slot; a file waits for one"
        shape = write(self._ring.room(slot))
        if shape is None:
            self._ring.count_skip()
            self._bad_in_a_row += 1
            if self._bad_in_a_row >= _BAD_FRAMES_IN_A_ROW:
                raise CaptureFailed(f"{self._bad_in_a_row} frames in a row could not be decoded")
            return
        self._bad_in_a_row = 0
        decode_ms = 0.0 if begun_s is None else (time.monotonic() - begun_s) * 1e3
        self._ring.commit(slot, shape, FrameNote(position, at_s, wall_s, decode_ms))
        self._owner.wake()


def require_room(width: int, height: int, room_bytes: int) -> None:
    """Make sure that a colour frame fits.

    Raises:
        CaptureFailed: it does not.
    """
    if width * height * 3 > room_bytes:
        raise CaptureFailed(
            f"frames of {width}x{height} need {width * height * 3} bytes; at most {room_bytes} are allowed "
            "(pictures.max_frame_mib): let the camera send smaller ones or raise the limit"
        )
