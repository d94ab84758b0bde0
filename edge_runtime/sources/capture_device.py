"""Plays a V4L2 device into the ring with OpenCV: the newest frame overwrites the oldest unread one."""

import os
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.sources.capture_protocol import CaptureFailed, CaptureRequest, OwnerConnection
from edge_runtime.sources.frame_ring import FrameRing
from edge_runtime.sources.frame_writer import FrameWriter, require_room
from edge_runtime.sources.pacing import Metronome
from edge_runtime.sources.sign_of_life import SignOfLife


class DevicePlayer:
    """Plays one device until it ends or the owner quits."""

    def __init__(self, request: CaptureRequest, ring: FrameRing, owner: OwnerConnection) -> None:
        self._request, self._options, self._ring, self._owner = request, request.options, ring, owner
        self._writer = FrameWriter(ring, owner)
        self._shape: tuple[int, ...] | None = None

    def play(self) -> None:
        """Open the device and hand its frames over.

        Raises:
            CaptureFailed: with the reason, fit for a log after redaction.
        """
        cv2.setNumThreads(1)
        try:
            self._play_frames(self._open())
        except cv2.error as err:
            raise CaptureFailed(f"OpenCV failed: {err}") from err

    def _open(self) -> cv2.VideoCapture:
        self._owner.send("opening")
        capture = _open_device(Path(self._request.address), self._options.size)
        if not capture.isOpened():
            raise CaptureFailed("it is there but cannot be opened as a video")
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        require_room(width, height, self._ring.slot_bytes)
        self._ring.beat(time.monotonic())
        self._owner.send("opened", width=width, height=height, backend=capture.getBackendName())
        return capture

    def _play_frames(self, capture: cv2.VideoCapture) -> None:
        limit, position = Metronome(self._options.fps), 0
        life = SignOfLife(
            self._options.read_timeout_s, self._options.first_picture_s, self._ring.beat, self._give_up
        )
        life.start()
        try:
            while not self._owner.quit.is_set():
                if not capture.grab():
                    raise CaptureFailed("the stream ended")
                now_s, wall_s = time.monotonic(), time.time()
                life.note_picture(now_s)
                self._ring.count_grab(now_s)
                if limit.keep(now_s):
                    self._writer.hand_over(
                        lambda memory: self._retrieve(capture, memory), position, now_s, wall_s,
                        begun_s=now_s, may_overwrite=True,
                    )  # fmt: skip
                else:
                    self._ring.count_skip()
                position += 1
        finally:
            life.stop()
            capture.release()

    def _retrieve(self, capture: cv2.VideoCapture, memory: memoryview) -> tuple[int, ...] | None:
        """Decode the grabbed frame straight into the memory."""
        slot = np.frombuffer(memory, np.uint8)
        room = _view(slot, self._shape) if self._shape is not None else None
        is_good, image = capture.retrieve(room) if room is not None else capture.retrieve()
        if not is_good or image is None or image.size == 0:
            return None
        if image is not room:
            if image.dtype != np.uint8 or image.ndim not in (2, 3):
                raise CaptureFailed(
                    f"frames are {image.dtype} with {image.ndim} axes; expected uint8 pictures"
                )
            require_room(image.shape[1], image.shape[0], self._ring.slot_bytes)
            np.copyto(_view(slot, image.shape), image)
        self._shape = image.shape
        return self._shape

    def _give_up(self, problem: str) -> None:
        """End this process from another thread: the main one waits in a driver."""
        self._owner.send("failed", reason=problem)
        os._exit(0)


def _view(slot: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return slot[: int(np.prod(shape))].reshape(shape)


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
