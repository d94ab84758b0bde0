"""The next frame of a camera as a small JPEG, where the configuration lets pictures leave; the command ``snapshot``."""

import base64
import time
from collections.abc import Sequence
from concurrent.futures import Future
from enum import Enum, auto
from typing import Any

from edge_runtime.config import PicturesConfig
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.running import Running
from edge_runtime.datatypes import Frame
from edge_runtime.errors import CommandError
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess import PictureLimits
from edge_runtime.inference.preprocess.snapshot import Mark, Snapshot, make_snapshot
from edge_runtime.messaging.commands.later import Progress
from edge_runtime.messaging.commands.request import SnapshotArguments
from edge_runtime.messaging.commands.under_way import wait_for
from edge_runtime.system.rfc3339 import format_rfc3339

WAIT_S = 5.0
"""For a frame: a camera of one frame every few seconds still has its turn."""


class Lack(Enum):
    """Why there is no picture."""

    UNKNOWN = auto()
    """No such camera."""
    FORBIDDEN = auto()
    CLOSED = auto()
    SILENT = auto()
    UNREADABLE = auto()


class NoPicture(CommandError):
    """There is none, now or at all."""

    def __init__(self, lack: Lack, text: str) -> None:
        self.lack = lack
        super().__init__(text)


class Snapshots:
    """Takes frames that the daemon captures anyway; opens no camera."""

    def __init__(self, running: Running, cameras: Cameras, pictures: PicturesConfig) -> None:
        self._running, self._cameras = running, cameras
        self._limits = PictureLimits(pictures.max_pixels, pictures.max_file_mib << 20)

    def take(self, asked: SnapshotArguments, progress: Progress) -> dict[str, Any]:
        """The data of the answer to the command.

        Raises:
            NoPicture: pictures of this camera may not leave, it gives none in time, or none that can be read.
            CommandError: the daemon ends.
        """
        frame = self._wait(self.ask(asked.camera, asked.max_side), asked.camera, progress)
        made = self.make(asked.camera, frame, asked.max_side, asked.quality)
        return {
            "camera": asked.camera,
            "at": format_rfc3339(frame.captured_at_wall_s),
            "age_ms": round((time.monotonic() - frame.captured_at_s) * 1000),
            "width": made.width,
            "height": made.height,
            "jpeg": base64.b64encode(made.jpeg).decode(),
        }

    def ask(self, camera: str, max_side: int) -> Future[Frame]:
        """The next frame, when it comes, with not much more than ``max_side`` pixels a side; nobody may cancel it.

        Raises:
            NoPicture: none will come, or it may not leave.
        """
        self._require_allowed(camera)
        found = self._cameras.ask_frame(camera, max_side)
        if found is None:
            raise NoPicture(
                Lack.CLOSED,
                f"camera {camera!r} is not open: its file or folder was played to its end, or cameras.{camera}.enabled "
                "is false",
            )
        return found

    def make(
        self, camera: str, frame: Frame, max_side: int, quality: int, marks: Sequence[Mark] = ()
    ) -> Snapshot:
        """The picture of a frame; see :func:`make_snapshot`.

        Raises:
            NoPicture: it cannot be read, or may not leave any more.
        """
        self._require_allowed(camera)  # it may have been forbidden meanwhile
        try:
            return make_snapshot(frame, max_side, quality, self._limits, marks)
        except InputFlaw as flaw:
            raise NoPicture(
                Lack.UNREADABLE, f"the picture of camera {camera!r} cannot be shown: {flaw.detail}"
            ) from flaw

    def describe_silence(self, camera: str) -> NoPicture:
        """No frame came in :data:`WAIT_S`."""
        why = self._cameras.describe_silence(camera, time.monotonic())
        return NoPicture(Lack.SILENT, f"camera {camera!r} gave no picture within {WAIT_S:g} s: {why}")

    def _require_allowed(self, camera: str) -> None:
        config = self._running.config
        configured = config.cameras
        if camera not in configured:
            found = "a sensor, which gives no pictures" if camera in config.sensors else "no camera"
            have = ", ".join(configured) or "none"
            raise NoPicture(Lack.UNKNOWN, f"{camera!r} is {found}; this device has the cameras: {have}")
        if not configured[camera].snapshots:
            raise NoPicture(
                Lack.FORBIDDEN,
                f"no picture of camera {camera!r} may leave this device; cameras.{camera}.snapshots: true allows it",
            )

    def _wait(self, coming: Future[Frame], camera: str, progress: Progress) -> Frame:
        try:
            return wait_for(coming, WAIT_S, progress, lambda: {"phase": "waiting", "camera": camera})
        except TimeoutError as err:
            raise self.describe_silence(camera) from err
