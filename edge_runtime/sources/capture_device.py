"""Opens one device with OpenCV and plays it into the ring. Runs only inside a capture process.

Cameras: grab as fast as frames come, so that none grows old in a buffer, and overwrite the oldest unread one.
Files: wait for room, so that nothing is lost. Each camera has such a process, so it imports no large library besides
numpy and OpenCV.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.sources.capture_protocol import CaptureFailed, CaptureRequest, OwnerConnection, VideoOptions
from edge_runtime.sources.frame_ring import FrameNote, FrameRing
from edge_runtime.sources.pacing import Metronome
from edge_runtime.sources.sign_of_life import SignOfLife
from edge_runtime.system.camera_address import CameraAddress, CameraKind

_WAIT_SLICE_S = 0.25  # the owner sees a beat at least this often while this process waits on purpose
_BAD_FRAMES_IN_A_ROW = 100
_STILLS_PER_S = 1.0  # when fps says nothing: most cameras take a new still about so often
_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_FALLBACK_FPS = 25.0  # for files that do not say
READ_SPARE_S = 5.0  # so that SignOfLife, which knows more, gives the reason


def play(request: CaptureRequest, ring_fd: int, owner: OwnerConnection) -> None:
    """Open the device and hand its frames over until it ends or the owner quits.

    Raises:
        CaptureFailed: with the reason, fit for a log after redaction.
    """
    cv2.setNumThreads(1)
    player = _Player(request, FrameRing(ring_fd), owner)
    try:
        if CameraAddress(request.address).kind.is_live:
            player.play_live()
        else:
            player.play_file()
    except cv2.error as err:
        raise CaptureFailed(f"OpenCV failed: {err}") from err


class _Player:
    def __init__(self, request: CaptureRequest, ring: FrameRing, owner: OwnerConnection) -> None:
        self._request, self._options, self._ring, self._owner = request, request.options, ring, owner
        self._shape: tuple[int, ...] | None = None
        self._bad_in_a_row = 0

    def play_live(self) -> None:
        """Grab for ever; the reader's pace does not matter."""
        answer = None
        if CameraAddress(self._request.address).kind is CameraKind.HTTP:
            from edge_runtime.sources.http_camera import HttpCamera

            options = self._options
            camera = HttpCamera(
                self._request.address, options.open_timeout_s, options.read_timeout_s, self._ring.slot_bytes
            )
            self._owner.send("opening")
            answer = camera.look()
            if answer is not None and answer.still is not None:
                self._play_stills(answer.still, camera.fetch)
                return
        capture = self._open("" if answer is None else answer.content_type)
        self._play_frames(capture)

    def _play_frames(self, capture: cv2.VideoCapture) -> None:
        limit = Metronome(self._options.fps)
        life = SignOfLife(
            self._options.read_timeout_s, self._options.first_picture_s, self._ring.beat, self._give_up
        )
        life.start()
        try:
            position = 0
            while not self._owner.quit.is_set():
                if not capture.grab():
                    raise CaptureFailed("the stream ended")
                now_s, wall_s = time.monotonic(), time.time()
                life.note_picture(now_s)
                self._ring.count_grab(now_s)
                if limit.keep(now_s):
                    self._hand_over(capture, position, now_s, wall_s, may_overwrite=True)
                else:
                    self._ring.count_skip()
                position += 1
        finally:
            life.stop()
            capture.release()

    def _play_stills(self, still: bytes, fetch: Callable[[], bytes]) -> None:
        """Ask for a still picture again and again."""
        due = Metronome(self._options.fps or _STILLS_PER_S)
        position = 0
        while not self._owner.quit.is_set():
            now_s, wall_s = time.monotonic(), time.time()
            due.tick(now_s)
            self._ring.count_grab(now_s)
            self._hand_over_still(still, position, now_s, wall_s)
            position += 1
            while (wait_s := due.wait_s(time.monotonic())) > 0 and not self._owner.quit.is_set():
                self._ring.beat(time.monotonic())
                self._owner.quit.wait(min(wait_s, _WAIT_SLICE_S))
            if not self._owner.quit.is_set():
                still = fetch()

    def _hand_over_still(self, still: bytes, position: int, at_s: float, wall_s: float) -> None:
        """As it came: the owner decodes and judges it like a picture of any other source."""
        if position == 0:
            self._owner.send("opened", size_bytes=len(still), backend="still pictures")
        slot = self._ring.reserve(may_overwrite=True)
        assert slot is not None, "a live writer always finds a slot"
        self._copy_into(slot, np.frombuffer(still, np.uint8))
        self._ring.commit(slot, (len(still),), FrameNote(position, at_s, wall_s, 0.0))
        self._owner.wake()

    def _give_up(self, problem: str) -> None:
        """End this process from another thread: the main one waits in FFmpeg or in a driver.

        Its ``finally`` blocks do not run: the kernel closes the connection or the device.
        """
        self._owner.send("failed", reason=problem)
        os._exit(0)

    def play_file(self) -> None:
        """Play once, or round and round."""
        skip = self._request.skip
        while not self._owner.quit.is_set():
            capture = self._open()
            try:
                frames = self._play_pass(capture, skip)
                announced = int(max(0.0, capture.get(cv2.CAP_PROP_FRAME_COUNT)))
                codec = _name_codec(capture)
            finally:
                capture.release()
            if frames == 0:
                raise CaptureFailed(f"not a single frame could be decoded; {codec}: record it as H.264")
            if not self._options.loop and not self._owner.quit.is_set():
                self._owner.send("ended", frames=frames, announced=announced)
                return
            skip = 0

    def _play_pass(self, capture: cv2.VideoCapture, skip: int) -> int:
        """From frame ``skip`` to the end; the number of frames in the file so far."""
        native_fps = _native_fps(capture)
        due, limit = _rhythm(self._options, native_fps)
        position = 0
        while not self._owner.quit.is_set():
            if position >= skip and not self._wait_until_wanted(due):
                break
            started_s, wall_s = time.monotonic(), time.time()
            if not capture.grab():
                break
            self._ring.beat(time.monotonic())
            if position >= skip:
                due.tick(started_s)
                self._ring.count_grab(time.monotonic())
                if limit.keep(position / native_fps):
                    self._hand_over(capture, position, started_s, wall_s, may_overwrite=False)
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
                self._owner.quit.wait(min(wait_s, _WAIT_SLICE_S))
                continue
            self._owner.room.clear()
            if self._ring.reserve(may_overwrite=False) is not None:
                return True
            self._owner.room.wait(_WAIT_SLICE_S)
        return False

    def _hand_over(
        self, capture: cv2.VideoCapture, position: int, at_s: float, wall_s: float, *, may_overwrite: bool
    ) -> None:
        """Decode the grabbed frame straight into the ring; a frame that cannot be decoded is skipped."""
        slot = self._ring.reserve(may_overwrite=may_overwrite)
        assert slot is not None, "a live writer always finds a slot; a file waits for one"
        # A camera's frame exists from its grab on; a file's is made by grabbing it, which belongs to its decoding.
        begun_s = time.monotonic() if may_overwrite else at_s
        image = self._decode(capture, slot)
        if image is None:
            self._ring.count_skip()
            self._bad_in_a_row += 1
            if self._bad_in_a_row >= _BAD_FRAMES_IN_A_ROW:
                raise CaptureFailed(f"{self._bad_in_a_row} frames in a row could not be decoded")
            return
        self._bad_in_a_row, self._shape = 0, image.shape
        decode_ms = (time.monotonic() - begun_s) * 1e3
        self._ring.commit(slot, image.shape, FrameNote(position, at_s, wall_s, decode_ms))
        self._owner.wake()

    def _decode(self, capture: cv2.VideoCapture, slot: int) -> NDArray[np.uint8] | None:
        room = self._ring.room(slot, self._shape) if self._shape is not None else None
        is_good, image = capture.retrieve(room) if room is not None else capture.retrieve()
        if not is_good or image is None or image.size == 0:
            return None
        if image is room:
            return room
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise CaptureFailed(f"frames are {image.dtype} with {image.ndim} axes; expected uint8 pictures")
        return self._copy_into(slot, image)

    def _copy_into(self, slot: int, image: NDArray[Any]) -> NDArray[np.uint8]:
        target = self._ring.room(slot, image.shape)
        if target is None:
            raise _too_large(image.shape[1], image.shape[0], self._ring.slot_bytes)
        np.copyto(target, image)
        return target

    def _open(self, content_type: str = "") -> cv2.VideoCapture:
        """The device or stream; ``content_type`` is that of an HTTP address."""
        address = CameraAddress(self._request.address)
        self._owner.send("opening")
        if address.kind.backend == "v4l2":
            capture = _open_device(Path(address.text), self._options.size)
        else:
            # An absolute path: a relative one with a colon in it would be read as a protocol.
            name = str(address.local_path.absolute()) if address.local_path else address.text
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, _ffmpeg_parameters(self._options))
            if not capture.isOpened() and content_type.startswith("multipart/"):
                # Some cameras (ESP32-CAM, Tasmota) leave out the first boundary; this reader looks for pictures only.
                os.environ[_FFMPEG_OPTIONS] += "|input_format;mjpeg"
                capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, _ffmpeg_parameters(self._options))
        if not capture.isOpened():
            sent = f"; the camera sends {content_type}" if content_type else ""
            raise CaptureFailed(f"it is there but cannot be opened as a video{sent}")
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height * 3 > self._ring.slot_bytes:
            raise _too_large(width, height, self._ring.slot_bytes)
        self._ring.beat(time.monotonic())
        self._owner.send("opened", width=width, height=height, backend=capture.getBackendName())
        return capture


def _rhythm(options: VideoOptions, native_fps: float) -> tuple[Metronome, Metronome]:
    """When a file's frames are due, and which of them are wanted (by the file's own time)."""
    match options.pace:
        case "fps":
            return Metronome(options.fps), Metronome(None)
        case "native":
            return Metronome(native_fps), Metronome(options.fps)
        case "fastest":
            return Metronome(None), Metronome(options.fps)


def _native_fps(capture: cv2.VideoCapture) -> float:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= 1000 else _FALLBACK_FPS


def _ffmpeg_parameters(options: VideoOptions) -> list[int]:
    """Open parameters; the time limits work only when given here and with CAP_FFMPEG named."""
    return [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(options.open_timeout_s * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC, int((options.first_picture_s + READ_SPARE_S) * 1000),  # see SignOfLife
        cv2.CAP_PROP_N_THREADS, 1,  # each of FFmpeg's frame threads adds a frame of delay
    ]  # fmt: skip


def _open_device(path: Path, size: tuple[int, int] | None) -> cv2.VideoCapture:
    """A V4L2 device with the shortest queue, so that its frames are young."""
    capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_V4L2)
    if capture.isOpened():
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if size is not None:
            # MJPEG first: most USB cameras give their large sizes at full rate only compressed.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    return capture


def _name_codec(capture: cv2.VideoCapture) -> str:
    name = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).decode("ascii", "replace")
    return f"its codec {name.strip(chr(0)).upper()!r} may have no decoder here"


def _too_large(width: int, height: int, slot_bytes: int) -> CaptureFailed:
    return CaptureFailed(
        f"frames of {width}x{height} need {width * height * 3} bytes; at most {slot_bytes} are allowed "
        "(pictures.max_frame_mib): let the camera send smaller ones or raise the limit"
    )
