"""Lets another thread have the next frame of a stream, as it was captured."""

import threading
from concurrent.futures import Future

from edge_runtime.datatypes import Frame
from edge_runtime.inference.preprocess.snapshot import copy_reduced


class FrameTap:
    """Costs the stream's worker one look while nobody waits, and one copy of a frame otherwise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: Future[Frame] | None = None
        self._max_side = 0

    def ask(self, max_side: int) -> Future[Frame]:
        """The next frame, when it comes; all who wait share it, and none may cancel it.

        ``max_side`` is how many pixels are needed at most: the copy of a larger frame is a reduced one.
        """
        with self._lock:
            if self._wanted is None:
                self._wanted, self._max_side = Future(), max_side
            self._max_side = max(self._max_side, max_side)
            return self._wanted

    def offer(self, frame: Frame) -> None:
        """A frame was captured; called by the one worker of the stream."""
        if self._wanted is None:
            return
        with self._lock:
            wanted, max_side, self._wanted = self._wanted, self._max_side, None
        if wanted is not None:
            wanted.set_result(copy_reduced(frame, max_side))  # the next read may write over it
