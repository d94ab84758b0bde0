"""A scripted source for tests of what comes after sources: frames, silences and failures in a given order.

No clock, no waiting.
"""

from collections.abc import Iterable

from edge_runtime.datatypes import Frame
from edge_runtime.sources.base import EndOfStream, SourceCounts


class FakeSource:
    """Plays a script.

    Args:
        stream: Name of the stream.
        script: What each ``read`` does: return a frame, return None (nothing came in time), or raise.
            When it is used up, ``read`` raises ``EndOfStream``.
        is_live: What it claims to be.
        interval_s: How long it says that it may take from frame to frame.
    """

    def __init__(
        self,
        stream: str,
        script: Iterable[Frame | Exception | None],
        *,
        is_live: bool = True,
        interval_s: float = 0.0,
    ) -> None:
        self.stream = stream
        self.is_live = is_live
        self.is_closed = False
        self._script = iter(script)
        self._delivered, self._interval_s = 0, interval_s

    def read(self, timeout_s: float) -> Frame | None:
        """The next step of the script.

        Raises:
            EndOfStream: the script is used up or the source was closed.
            Exception: the next one of the script.
        """
        if self.is_closed:
            raise EndOfStream(f"{self.stream} was closed")
        try:
            step = next(self._script)
        except StopIteration:
            raise EndOfStream(f"{self.stream}: the script is used up") from None
        if isinstance(step, Exception):
            raise step
        if step is not None:
            self._delivered += 1
        return step

    def stats(self) -> SourceCounts:
        """Delivered frames."""
        return SourceCounts(captured=self._delivered, delivered=self._delivered, interval_s=self._interval_s)

    def close(self) -> None:
        """Remember it."""
        self.is_closed = True
