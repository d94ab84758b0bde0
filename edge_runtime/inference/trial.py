"""A candidate that is tried while another model answers: it takes some frames, or sees answered ones.

Here is how frames reach it; ``deployment`` decides how long it is tried and what its figures mean.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from edge_runtime.datatypes import Frame, Sample
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.postprocess.postprocessor import Answer, Postprocessor
from edge_runtime.inference.preprocess import Preprocessor
from edge_runtime.system.supervised_thread import Crashes


@dataclass(frozen=True, slots=True)
class Arm:
    """What answers a frame: how it is prepared, the engine, and how its outputs are read."""

    preprocessor: Preprocessor
    slot: EngineSlot
    postprocessor: Postprocessor


class TrialWatch(Protocol):
    """Counts what both arms do; called by inference workers, must return at once and never raise."""

    def note_candidate(self, sample: Sample, answer: Answer, latency_ms: float) -> None:
        """The candidate answered a frame, which was published; ``latency_ms`` is for preparation and inference."""

    def note_failure(self, reason: str) -> None:
        """The candidate could not answer a frame; the active model answers it."""

    def note_active(self, frame: Frame, sample: Sample, answer: Answer, latency_ms: float) -> None:
        """The active model answered a frame, which was published.

        The picture in ``frame`` may be another one by now where both arms are prepared alike.
        """


@dataclass(eq=False, slots=True)
class Trial:
    """One candidate in a pipeline."""

    arm: Arm
    watch: TrialWatch
    takes: Callable[[str, int], bool]
    """Whether the candidate answers this frame of a stream; may be changed at any time."""
    crashes: Crashes = field(default_factory=Crashes)
    """The account of what nobody foresaw: it is the candidate's failure, and costs no frame."""
    is_prepared_alike: bool = False
    """Both arms take the same samples, so that no picture need be kept to prepare another one."""
    gives_way: bool = False
    """A patch: over as soon as another candidate is tried, or where one is tried already."""
    is_over: bool = False
    """Set once: from then on it publishes nothing, and the active model answers what it had taken."""

    def keep(self, frame: Frame) -> Frame:
        """A frame that is prepared again later: a camera overwrites its picture when the next one is taken."""
        if self.is_prepared_alike or not isinstance(frame.payload, np.ndarray):
            return frame
        return replace(frame, payload=frame.payload.copy())
