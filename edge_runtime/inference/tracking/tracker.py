"""The port of a tracker: gives boxes of successive frames of one stream the numbers of the objects that they show."""

from collections.abc import Callable, Sequence
from typing import Protocol

from edge_runtime.datatypes import Detection


class Tracker(Protocol):
    """Of one stream."""

    def update(self, found: Sequence[Detection]) -> list[int | None]:
        """The object of each detection of the next frame, in their order; None where it is not clear."""


MakeTracker = Callable[[int], Tracker]
"""A tracker that remembers an object for so many frames after it was seen last."""
