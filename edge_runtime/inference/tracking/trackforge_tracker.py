"""OC-SORT of the library ``trackforge``, the only place that imports it.

Source: Cao et al., "Observation-Centric SORT", CVPR 2023; why this one: decision 36.
"""

from collections.abc import Sequence

from edge_runtime.datatypes import Detection
from edge_runtime.errors import ExtraMissing

LEAST_OVERLAP = 0.05
"""Intersection over union of a box and where its object is expected. Few frames a second are normal at the edge, and
between two of them a person moves by half of its width."""


class TrackforgeTracker:
    """Implements ``Tracker``; see the module."""

    def __init__(self, most_frames: int) -> None:
        """``most_frames``: an object is remembered so long after it was seen last.

        Raises:
            ExtraMissing: the library is not installed.
        """
        try:
            from trackforge import OCSORT
        except ImportError as err:
            raise ExtraMissing("object events", "tracking") from err
        self._tracker = OCSORT(max_age=most_frames, min_hits=1, iou_threshold=LEAST_OVERLAP)

    def update(self, found: Sequence[Detection]) -> list[int | None]:
        """The object of each detection of the next frame; a change of the label makes no other object."""
        boxes = [
            ([one.box[0], one.box[1], one.box[2] - one.box[0], one.box[3] - one.box[1]], one.score, 0)
            for one in found
        ]
        objects: list[int | None] = [None] * len(found)
        for number, _, _, _, index in self._tracker.update(boxes):
            if index is not None:
                objects[index] = number
        return objects
