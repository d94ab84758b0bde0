"""Pictures of cameras, as the command ``snapshot`` sends them, and charts of sensors, for requests over HTTP."""

from collections.abc import Callable
from concurrent.futures import Future

from calibration.report.window_chart import WindowChart
from edge_runtime.daemon.live_windows import LiveWindows
from edge_runtime.daemon.snapshots import WAIT_S, Lack, NoPicture, Snapshots
from edge_runtime.datatypes import Frame
from edge_runtime.inference.preprocess.snapshot import Snapshot
from edge_runtime.serving.refusals import Refusal, ended

_CODES = {Lack.UNKNOWN: 404, Lack.FORBIDDEN: 403, Lack.CLOSED: 503, Lack.SILENT: 503, Lack.UNREADABLE: 503}


class LivePictures:
    """Implements ``PictureSource``."""

    wait_s = WAIT_S

    def __init__(self, snapshots: Snapshots, windows: LiveWindows, is_stopping: Callable[[], bool]) -> None:
        self._snapshots, self._windows, self._is_stopping = snapshots, windows, is_stopping

    def ask(self, stream: str, max_side: int) -> Future[Frame]:
        """The next frame, when it comes, large enough for a picture of ``max_side`` pixels.

        Raises:
            Refusal: none will come, or it may not leave.
        """
        if self._is_stopping():
            raise ended()
        try:
            if self._windows.has(stream):
                return self._windows.ask(stream)
            return self._snapshots.ask(stream, max_side)
        except NoPicture as err:
            raise _refuse(err) from err

    def make(self, stream: str, frame: Frame, max_side: int, quality: int) -> Snapshot | WindowChart:
        """The picture or chart of a frame.

        Raises:
            Refusal: it cannot be read, or may not leave any more.
        """
        try:
            if self._windows.has(stream):
                return self._windows.make(stream, frame)
            return self._snapshots.make(stream, frame, max_side, quality)
        except NoPicture as err:
            raise _refuse(err) from err

    def describe_silence(self, stream: str) -> Refusal:
        """No frame came in ``wait_s``."""
        source = self._windows if self._windows.has(stream) else self._snapshots
        return _refuse(source.describe_silence(stream))


def _refuse(err: NoPicture) -> Refusal:
    return Refusal(_CODES[err.lack], str(err))
