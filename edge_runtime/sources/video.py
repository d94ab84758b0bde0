"""Cameras and video files: V4L2, RTSP, HTTP and files, played by a capture process that is killed when it hangs.

This is the owner's side: it takes frames from shared memory, watches for silence, and opens the device again with
back-off for ever (a file that fails three times in a row is given up). No decoder is ever loaded here.
"""

import random
import socket
import threading
import time

import numpy as np
import structlog
from numpy.typing import NDArray

from edge_runtime.datatypes import ColourOrder, Frame
from edge_runtime.errors import SourceLost
from edge_runtime.sources.base import EndOfStream, SourceCounts
from edge_runtime.sources.capture_child import CaptureChild
from edge_runtime.sources.capture_protocol import CaptureMessage, CaptureRequest, VideoOptions
from edge_runtime.sources.frame_ring import FrameRing, TakenFrame
from edge_runtime.sources.reopen import Backoff, StallTimeout
from edge_runtime.system.camera_address import BadCameraAddress, CameraAddress

log = structlog.get_logger()

_FILE_ATTEMPTS = 3  # a camera may come back, a damaged file does not
_HEALTHY_AFTER_S = 10.0  # a camera that gives one frame and fails again keeps its long delays
_START_TIMEOUT_S = 20.0  # from the start of the process to its first message: imports on a busy small board
_OPENINGS = 2  # FFmpeg has the time limit for the connection, and again for the first data
_OPEN_SPARE_S = 2.0  # beyond those
_QUIT_S = 0.7
_SLOTS = 3  # one being written, one being read, one waits: that keeps a camera's frames young


class VideoSource:
    """One camera or file as a ``Source``.

    The capture process dies with the *thread* that started it, so ``read`` belongs to one thread.

    Args:
        address: Where it is; see ``CameraAddress``.
        options: How to play it.
        backoff: Delays between attempts to open it; the default is 1 to 30 s with jitter.
        first_seq: Sequence number of the first frame. Numbers of dropped frames are left out.

    Raises:
        BadCameraAddress: the address is not allowed, or no video decoder can play it.
    """

    def __init__(
        self,
        stream: str,
        address: str,
        options: VideoOptions,
        *,
        backoff: Backoff | None = None,
        first_seq: int = 0,
    ) -> None:
        self.stream = stream
        self._address = CameraAddress(address)
        if self._address.kind.backend is None:
            raise BadCameraAddress(address, "a camera or video")
        self.is_live = self._address.kind.is_live
        self._options = options
        self._backoff = backoff or Backoff(random.Random())  # noqa: S311 - jitter, not a secret
        self._silence = StallTimeout()
        self._child: CaptureChild | None = None
        self._counts = SourceCounts()  # of earlier children; the running one's are added in ``stats``
        self._delivered_by_child = 0
        self._last_message: CaptureMessage | None = None
        self._next_seq = first_seq
        self._open_at_s = 0.0
        self._healthy_since_s: float | None = None
        self._failures_in_a_row = 0
        self._is_patient = False
        self._resume_at = 0
        self._ended: str | None = None
        self._mutex, self._counting = threading.Lock(), threading.Lock()
        self._closed = threading.Event()
        self._wake, self._waker = socket.socketpair()

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; an array is a view into memory that the next ``read`` reuses, a still picture is bytes.

        Raises:
            SourceLost: a file could not be played three times in a row.
            EndOfStream: a file was played to its end, or the source was closed.
        """
        with self._mutex:
            deadline_s = time.monotonic() + timeout_s
            while True:
                if self._closed.is_set():
                    raise EndOfStream(f"{self.stream} was closed")
                now_s = time.monotonic()
                frame = self._step(now_s)
                if frame is not None or now_s >= deadline_s:
                    return frame
                self._wait(deadline_s)

    def stats(self) -> SourceCounts:
        """Counters so far; frames still in the ring count as captured and not yet as anything else."""
        with self._counting:
            counts, child, delivered = self._counts, self._child, self._delivered_by_child
            if child is None:
                return counts
            ring, cpu_s = child.ring.counts(), counts.cpu_s + child.cpu_s()
            interval_s = child.ring.interval_s()
        return counts.plus(
            captured=ring.grabbed, delivered=delivered, dropped=ring.skipped + ring.overwritten, cpu_s=cpu_s,
            interval_s=interval_s,
        )  # fmt: skip

    def close(self) -> None:
        """End the capture process within 2 s; the last frame stays readable."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._waker.close()  # a read that waits in another thread wakes up and lets go of the mutex
        with self._mutex:
            child = self._give_up_child()
            if child is not None:
                child.quit(_QUIT_S)
            self._wake.close()

    # --- one step of the owner's loop ----------------------------------------------------------------------------

    def _step(self, now_s: float) -> Frame | None:
        """Do what is due now: start, read messages, take a frame, or give up on a silent child."""
        if self._ended is not None:
            raise EndOfStream(self._ended)
        child = self._child
        if child is None:
            if now_s >= self._open_at_s:
                self._start(now_s)
            return None
        exit_code = child.exit_code()  # before the messages, so that its last one is among them
        try:
            self._read_messages(child.messages(), now_s)
            taken = child.ring.take()
        except ValueError as err:
            self._lose(now_s, str(err))
            return None
        if not self.is_live:
            child.tell_room()
        if taken is not None:
            return self._deliver(taken, now_s)
        if self._last_message is not None and self._last_message.kind == "ended":
            self._end(self._last_message)
        if self._last_message is not None:
            self._lose(now_s, str(self._last_message.facts.get("reason")))
        elif exit_code is not None:
            how = f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with code {exit_code}"
            self._lose(now_s, f"the capture process {how}")
        else:
            self._check_silence(child, now_s)
        return None

    def _wait(self, deadline_s: float) -> None:
        now_s = time.monotonic()
        if self._child is None:
            until_s = min(deadline_s, self._open_at_s)
            self._wake.settimeout(max(0.001, until_s - now_s))
            try:
                self._wake.recv(1)
            except TimeoutError:
                return
        else:
            until_s = min(deadline_s, self._silence.deadline_s())
            longest_s = 0.002 if self._child.ring.was_busy else 0.5
            self._child.wait(min(max(0.001, until_s - now_s), longest_s), self._wake)

    def _start(self, now_s: float) -> None:
        request = CaptureRequest(
            self.stream, self._address.text, self._options, self._resume_at, self._is_patient
        )
        try:
            self._child = CaptureChild(request, FrameRing.create(_SLOTS, self._options.max_frame_bytes))
        except OSError as err:
            self._lose(now_s, f"no capture process: {err.strerror or err}")
            return
        self._last_message = None
        self._healthy_since_s = None
        self._silence.expect_life(now_s, _START_TIMEOUT_S)
        if self._counts.last_problem is not None:
            self._counts = self._counts.plus(restarts=self._counts.restarts + 1)

    def _read_messages(self, messages: list[CaptureMessage], now_s: float) -> None:
        for message in messages:
            match message.kind:
                case "waiting":
                    self._silence.expect_life(now_s, _START_TIMEOUT_S)
                    self._note_problem(str(message.facts.get("reason")))
                case "opening":
                    self._silence.expect_life(now_s, _OPENINGS * self._options.open_timeout_s + _OPEN_SPARE_S)
                case "opened":
                    self._silence.expect_life(now_s, self._options.stall_timeout_s)
                    log.info(
                        "source open", stream=self.stream, address=self._address.redacted, **message.facts
                    )
                case "decoding":
                    log.info("source decodes", stream=self.stream, **message.facts)
                    self._counts = self._counts.plus(decoding=message.facts.get("decoding"))
                case "failed" | "ended":  # acted on once the last frames are out of the ring
                    self._last_message = message
                case _:
                    self._silence.note_life(now_s)

    def _deliver(self, taken: TakenFrame, now_s: float) -> Frame:
        self._delivered_by_child += 1
        self._failures_in_a_row = 0
        self._resume_at = taken.note.position + 1
        if self._healthy_since_s is None:
            self._healthy_since_s = now_s
        elif now_s - self._healthy_since_s > _HEALTHY_AFTER_S:
            self._backoff.reset()
        self._counts = self._counts.plus(
            last_captured_at_s=taken.note.captured_at_s, last_problem=None
        )  # it gives frames again
        pixels = taken.pixels
        is_still = pixels.ndim == 1
        return Frame(
            stream=self.stream,
            seq=self._next_seq + taken.ticket,
            payload=pixels.tobytes() if is_still else pixels,
            captured_at_s=taken.note.captured_at_s,
            captured_at_wall_s=taken.note.captured_at_wall_s,
            colour=None if is_still else _colour_of(pixels),
            decode_ms=taken.note.decode_ms,
        )

    # --- endings --------------------------------------------------------------------------------------------------

    def _check_silence(self, child: CaptureChild, now_s: float) -> None:
        self._silence.note_life(child.ring.beat_at_s())
        silent_s = self._silence.excess_silence_s(now_s)
        if silent_s is not None:
            self._counts = self._counts.plus(stalls=self._counts.stalls + 1)
            self._lose(now_s, f"silent for {silent_s:.1f} s, killed")

    def _lose(self, now_s: float, reason: str) -> None:
        """End the child, which cannot be used any more, and plan the next one."""
        child = self._give_up_child()
        if child is not None:
            last_error_line = child.last_error_line()
            if last_error_line is not None and last_error_line not in reason:
                reason = f"{reason} ({last_error_line})"
            child.kill()
        self._failures_in_a_row += 1
        # Not a single frame since the last attempt: try the other way of probing.
        if self._failures_in_a_row >= 2:
            self._is_patient = not self._is_patient
        self._counts = self._counts.plus(last_problem=reason, decoding=None)
        if not self.is_live and self._failures_in_a_row >= _FILE_ATTEMPTS:
            self._failures_in_a_row = 0
            at = "" if self._address.redacted in reason else f"{self._address.redacted}: "
            raise SourceLost(self.stream, at + reason)
        delay_s = self._backoff.next_delay_s()
        self._open_at_s = now_s + delay_s
        what = "source not available" if self._counts.last_captured_at_s is None else "source lost"
        log.warning(what, stream=self.stream, address=self._address.redacted, reason=reason,
                    retry_in_s=round(delay_s, 1))  # fmt: skip

    def _end(self, last_message: CaptureMessage) -> None:
        """End the stream of a file; one that gave clearly fewer frames than its header announces was cut off."""
        frames, announced = (int(last_message.facts.get(name, 0)) for name in ("frames", "announced"))
        self._ended = f"{self._address.redacted} ended after {frames} frames"
        if frames < announced * 0.99 - 1:
            problem = f"{self._ended}; its header announces {announced}"
            self._counts = self._counts.plus(last_problem=problem)
        raise EndOfStream(self._ended)

    def _give_up_child(self) -> CaptureChild | None:
        """The child, which the caller ends, with its counts added at once: no reader of ``stats`` sees them twice.

        Frames that it grabbed and did not deliver are dropped.
        """
        with self._counting:
            child, self._child = self._child, None
            if child is None:
                return None
            ring, delivered = child.ring.counts(), self._delivered_by_child
            self._next_seq += ring.tickets
            self._delivered_by_child = 0
            self._counts = self._counts.plus(
                captured=ring.grabbed,
                delivered=delivered,
                dropped=max(0, ring.grabbed - delivered),
                cpu_s=self._counts.cpu_s + child.cpu_s(),
            )
        return child

    def _note_problem(self, reason: str) -> None:
        if reason != self._counts.last_problem:
            self._counts = self._counts.plus(last_problem=reason)
            log.warning("source waits", stream=self.stream, address=self._address.redacted, reason=reason)


def _colour_of(pixels: NDArray[np.uint8]) -> ColourOrder:
    if pixels.ndim == 2:
        return "grey"
    return "bgr" if pixels.shape[2] == 3 else "bgra"
