"""Pictures of new objects. The frame of the result that made one certain is gone, so the next one is asked for.

Once its result has come as well, it is sent with the boxes of that result: the box is where the object is.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from edge_runtime.datatypes import Frame
from edge_runtime.inference.preprocess.snapshot import Mark
from edge_runtime.inference.tracking.life import ObjectState

LEAST_GAP_S = 1.0
LOST_S = 10.0
"""A frame that has not come for so long may never come: its camera was opened anew, or is gone."""


class Pictures(Protocol):
    """Where frames come from and pictures go."""

    def ask(self, camera: str) -> Future[Frame] | None:
        """The next frame, when it comes; None where none will, or it may not leave."""

    def send(self, camera: str, frame: Frame, marks: Sequence[Mark]) -> None:
        """Publish it."""


@dataclass(slots=True)
class _Stream:
    coming: Future[Frame] | None = None
    asked_at_s: float = float("-inf")


class ObjectPictures:
    """See the module; used by one thread."""

    def __init__(self, pictures: Pictures, clock: Callable[[], float] = time.monotonic) -> None:
        self._pictures, self._clock = pictures, clock
        self._streams: dict[str, _Stream] = {}

    def want(self, camera: str) -> None:
        """An object is new on this stream."""
        self._streams.setdefault(camera, _Stream())

    def look(self, camera: str, seq: int, seen: Sequence[ObjectState]) -> None:
        """A frame of the stream was answered, with these objects in it."""
        stream = self._streams.get(camera)
        if stream is None:
            return
        if stream.coming is not None and not stream.coming.done() and self._waited_s(stream) > LOST_S:
            stream.coming = None
        if stream.coming is None:
            self._ask(camera, stream)
        elif stream.coming.done() and (frame := stream.coming.result()).seq <= seq:
            stream.coming = None  # asked for again if that frame was dropped unanswered
            if frame.seq == seq and seen:
                marks = [Mark(one.box, f"{one.label} {one.score:.0%}") for one in seen]
                self._pictures.send(camera, frame, marks)
            if frame.seq == seq or not seen:
                del self._streams[camera]

    def _ask(self, camera: str, stream: _Stream) -> None:
        if self._waited_s(stream) < LEAST_GAP_S:
            return
        stream.asked_at_s = self._clock()
        stream.coming = self._pictures.ask(camera)
        if stream.coming is None:
            del self._streams[camera]

    def _waited_s(self, stream: _Stream) -> float:
        return self._clock() - stream.asked_at_s
