"""The next window of a sensor as a chart, as the model's preprocessing sees it: in its units, resampled and filled."""

import time
from concurrent.futures import Future

import numpy as np

from calibration.report.window_chart import WindowChart, draw_window
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.snapshots import WAIT_S, Lack, NoPicture
from edge_runtime.datatypes import Frame, Rejected
from edge_runtime.deployment.sample_views import CHART_WIDTH, describe_axes
from edge_runtime.inference.specs import SignalSpec


class LiveWindows:
    """Takes windows that the daemon makes anyway; opens no sensor."""

    def __init__(self, running: Running, cameras: Cameras) -> None:
        self._running, self._cameras = running, cameras

    def has(self, stream: str) -> bool:
        """Whether there is a sensor of this name."""
        return stream in self._running.config.sensors

    def ask(self, stream: str) -> Future[Frame]:
        """The next window, when it comes; nobody may cancel it.

        Raises:
            NoPicture: none will come.
        """
        found = self._cameras.ask_frame(stream, 0)
        if found is None:
            why = f"was played to its end, or sensors.{stream}.enabled is false"
            raise NoPicture(Lack.CLOSED, f"sensor {stream!r} is not open: it {why}")
        return found

    def make(self, stream: str, frame: Frame) -> WindowChart:
        """The chart of a window.

        Raises:
            NoPicture: it cannot be used, or its model is gone or takes none.
        """
        sensor = self._running.config.sensors.get(stream)
        runtime = None if sensor is None else self._running.models.get(sensor.model)
        if runtime is None:
            raise NoPicture(Lack.CLOSED, f"sensor {stream!r} has no model that is open")
        spec = runtime.bundle.manifest.preprocess
        if not isinstance(spec, SignalSpec):
            raise NoPicture(Lack.UNREADABLE, f"the model of sensor {stream!r} takes pictures, not windows")
        prepared = runtime.pipeline.preprocessor.prepare(frame)
        if isinstance(prepared, Rejected):
            why = f"{prepared.reason}: {prepared.detail}"
            raise NoPicture(Lack.UNREADABLE, f"the window of sensor {stream!r} cannot be shown, {why}")
        if prepared.values is None:
            raise NoPicture(Lack.UNREADABLE, f"sensor {stream!r} gives prepared tensors, which have no units")
        return draw_window(prepared.values.astype(np.float32), describe_axes(spec), CHART_WIDTH)

    def describe_silence(self, stream: str) -> NoPicture:
        """No window came in :data:`WAIT_S`."""
        why = self._cameras.describe_silence(stream, time.monotonic())
        return NoPicture(Lack.SILENT, f"sensor {stream!r} gave no window within {WAIT_S:g} s: {why}")
