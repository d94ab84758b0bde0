"""Lets another thread have the next frame of a stream, as it was captured."""

import threading
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from edge_runtime.datatypes import Frame


class FrameTap:
    """Costs the stream's worker one look while nobody waits, and one copy of a frame otherwise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: Future[Frame] | None = None

    def ask(self) -> Future[Frame]:
        """The next frame, when it comes; all who wait share it, and none may cancel it."""
        with self._lock:
            if self._wanted is None:
                self._wanted = Future()
            return self._wanted

    def offer(self, frame: Frame) -> None:
        """A frame was captured; called by the one worker of the stream."""
        if self._wanted is None:
            return
        if isinstance(frame.picture, np.ndarray):  # the next read may write over it
            frame = replace(frame, picture=frame.picture.copy())
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.set_result(frame)
