"""Plays a video file into the ring: waits for room, so that nothing is lost."""

import time
from functools import partial

from edge_runtime.sources.capture_protocol import CaptureFailed, CaptureRequest, OwnerConnection, VideoOptions
from edge_runtime.sources.capture_stream import WAIT_SLICE_S, open_stream
from edge_runtime.sources.frame_ring import FrameRing
from edge_runtime.sources.frame_writer import FrameWriter
from edge_runtime.sources.pacing import Metronome
from edge_runtime.sources.video_stream import VideoStream


class FilePlayer:
    """Plays one file once, or round and round, until it ends or the owner quits."""

    def __init__(self, request: CaptureRequest, ring: FrameRing, owner: OwnerConnection) -> None:
        self._request, self._options, self._ring, self._owner = request, request.options, ring, owner
        self._writer = FrameWriter(ring, owner)

    def play(self) -> None:
        """Open the file and hand its frames over.

        Raises:
            CaptureFailed: with the reason, fit for a log after redaction.
        """
        skip = self._request.skip
        while not self._owner.quit.is_set():
            video = open_stream(self._request, self._ring, self._owner)
            try:
                frames, codec = self._play_pass(video, skip), video.codec
                announced = video.announced(frames)
            finally:
                video.close()
            if frames == 0:
                raise CaptureFailed(
                    f"not a single frame could be decoded; its codec {codec!r} may have no decoder here: "
                    "record it as H.264"
                )
            if not self._options.loop and not self._owner.quit.is_set():
                self._owner.send("ended", frames=frames, announced=announced)
                return
            skip = 0

    def _play_pass(self, video: VideoStream, skip: int) -> int:
        """From frame ``skip`` to the end; the number of frames in the file so far."""
        due, limit = _rhythm(self._options, video.fps)
        position, pictures = 0, video.pictures()
        while not self._owner.quit.is_set():
            if position >= skip and not self._wait_until_wanted(due):
                break
            started_s, wall_s = time.monotonic(), time.time()
            picture = next(pictures, None)
            if picture is None:
                break
            self._ring.beat(time.monotonic())
            if position >= skip:
                due.tick(started_s)
                self._ring.count_grab(time.monotonic())
                if limit.keep(position / video.fps):
                    self._writer.hand_over(
                        partial(video.write, picture), position, started_s, wall_s,
                        begun_s=started_s, may_overwrite=False,
                    )  # fmt: skip
                else:
                    self._ring.count_skip()
            position += 1
        return position

    def _wait_until_wanted(self, due: Metronome) -> bool:
        """Wait for a free slot and for the frame's time; False when the owner quits."""
        while not self._owner.quit.is_set():
            now_s = time.monotonic()
            self._ring.beat(now_s)
            wait_s = due.wait_s(now_s)
            if wait_s > 0:
                self._owner.quit.wait(min(wait_s, WAIT_SLICE_S))
                continue
            self._owner.room.clear()
            if self._ring.reserve(may_overwrite=False) is not None:
                return True
            self._owner.room.wait(WAIT_SLICE_S)
        return False


def _rhythm(options: VideoOptions, native_fps: float) -> tuple[Metronome, Metronome]:
    """When a file's frames are due, and which of them are wanted (by the file's own time)."""
    match options.pace:
        case "fps":
            return Metronome(options.fps), Metronome(None)
        case "native":
            return Metronome(native_fps), Metronome(options.fps)
        case "fastest":
            return Metronome(None), Metronome(options.fps)
