"""The command ``snapshot``: the next frame of a camera as a small JPEG, where the configuration lets pictures leave."""

import base64
import time
from concurrent.futures import Future
from typing import Any

from edge_runtime.config import PicturesConfig
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.running import Running
from edge_runtime.datatypes import Frame
from edge_runtime.errors import CommandError
from edge_runtime.inference.preprocess import PictureLimits
from edge_runtime.inference.preprocess.header import PictureFlaw
from edge_runtime.inference.preprocess.snapshot import make_snapshot
from edge_runtime.messaging.commands.later import Progress
from edge_runtime.messaging.commands.request import SnapshotArguments
from edge_runtime.messaging.commands.under_way import wait_for
from edge_runtime.system.rfc3339 import format_rfc3339

WAIT_S = 5.0
"""For a frame: a camera of one frame every few seconds still has its turn."""


class Snapshots:
    """Takes frames that the daemon captures anyway; opens no camera."""

    def __init__(self, running: Running, cameras: Cameras, pictures: PicturesConfig) -> None:
        self._running, self._cameras = running, cameras
        self._limits = PictureLimits(pictures.max_pixels, pictures.max_file_mib << 20)

    def take(self, asked: SnapshotArguments, progress: Progress) -> dict[str, Any]:
        """The data of the answer.

        Raises:
            CommandError: pictures of this camera may not leave, it gives none in time, or none that can be read; or
                the daemon ends.
        """
        frame = self._wait(self._ask(asked.camera), asked.camera, progress)
        self._require_allowed(asked.camera)  # it may have been forbidden meanwhile
        try:
            made = make_snapshot(frame, asked.max_side, asked.quality, self._limits)
        except PictureFlaw as flaw:
            raise CommandError(
                f"the picture of camera {asked.camera!r} cannot be shown: {flaw.detail}"
            ) from flaw
        return {
            "camera": asked.camera,
            "at": format_rfc3339(frame.captured_at_wall_s),
            "age_ms": round((time.monotonic() - frame.captured_at_s) * 1000),
            "width": made.width,
            "height": made.height,
            "jpeg": base64.b64encode(made.jpeg).decode(),
        }

    def _require_allowed(self, camera: str) -> None:
        configured = self._running.config.cameras
        if camera not in configured:
            raise CommandError(f"no camera {camera!r}; this device has: {', '.join(configured) or 'none'}")
        if not configured[camera].snapshots:
            raise CommandError(
                f"no picture of camera {camera!r} may leave this device; cameras.{camera}.snapshots: true allows it"
            )

    def _ask(self, camera: str) -> Future[Frame]:
        self._require_allowed(camera)
        found = self._cameras.ask_frame(camera)
        if found is None:
            raise CommandError(
                f"camera {camera!r} is not open; look at cameras.{camera}.enabled, and whether its file has ended"
            )
        return found

    def _wait(self, coming: Future[Frame], camera: str, progress: Progress) -> Frame:
        try:
            return wait_for(coming, WAIT_S, progress, lambda: {"phase": "waiting", "camera": camera})
        except TimeoutError as err:
            why = self._cameras.describe_silence(camera, time.monotonic())
            raise CommandError(f"camera {camera!r} gave no picture within {WAIT_S:g} s: {why}") from err
