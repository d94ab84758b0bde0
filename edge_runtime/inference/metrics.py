"""Counters and latency percentiles of the frame path; read by status, health and the summary.

Counters that several workers share change under the pipeline's lock; readers take a snapshot. No policy is here.
"""

import threading
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from edge_runtime.inference.answer_counts import AnswerCounts
from edge_runtime.inference.durations import FrameDurations


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p90: float
    p99: float
    max: float


class Latency:
    """Percentiles over the most recent values, in milliseconds."""

    def __init__(self) -> None:
        self._values_ms: deque[float] = deque(maxlen=4096)
        self._count = 0
        self._lock = threading.Lock()

    def add(self, value_ms: float) -> None:
        """Remember one value."""
        with self._lock:
            self._values_ms.append(value_ms)
            self._count += 1

    def since(self, count: int) -> tuple[list[float], int]:
        """The values after the first ``count`` ones, as far as they are remembered, and how many there were so far."""
        with self._lock:
            missing = min(self._count - count, len(self._values_ms))
            return list(self._values_ms)[-missing:] if missing > 0 else [], self._count

    def percentiles(self) -> Percentiles | None:
        """None before the first value."""
        with self._lock:
            values = list(self._values_ms)
        if not values:
            return None
        figures = (*np.percentile(values, [50, 90, 99]), max(values))
        return Percentiles(*(round(float(value), 2) for value in figures))

    def surely_above(self, share: float) -> float | None:
        """A value that the percentile at ``share``, 0..1, exceeds in 97.5 of 100 cases; None before the first one.

        The 99th percentile of 20 values is the worst one, and says little; 18 of them say more. An order statistic:
        the binomial count of values below the percentile, less 1.96 of its standard deviations.
        """
        with self._lock:
            values = sorted(self._values_ms)
        if not values:
            return None
        below = len(values) * share - 1.96 * (len(values) * share * (1 - share)) ** 0.5
        return round(float(values[max(0, min(len(values), int(below)) - 1)]), 2)


PAUSE_S = 10.0
"""Frames that are further apart than this do not belong to one run of frames."""


@dataclass(slots=True)
class StreamMetrics:
    """Counters of the frames of one stream."""

    frames: int = 0
    results: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_in_a_row: int = 0
    """Since the last result."""
    last_rejection: str = ""
    """Why the latest rejected frame was."""
    last_frame_at_s: float | None = None
    last_result_at_s: float | None = None
    """Capture time of the newest frame when the last result came."""
    unanswered_since_s: float | None = None
    """Capture time of the first frame since the last result, rejection or pause; None when the latest was answered."""

    def note_frame(self, captured_at_s: float) -> None:
        """A frame has come in."""
        has_paused = self.last_frame_at_s is not None and captured_at_s - self.last_frame_at_s > PAUSE_S
        if self.unanswered_since_s is None or has_paused:  # what was lost before a pause says nothing of now
            self.unanswered_since_s = captured_at_s
        self.frames += 1
        self.last_frame_at_s = captured_at_s

    def take_back_frame(self) -> None:
        """Another pipeline, with the same counters, is to have the frame that has come in."""
        self.frames -= 1

    def note_result(self) -> None:
        """A frame was answered."""
        self.results += 1
        self.rejected_in_a_row, self.unanswered_since_s = 0, None
        self.last_result_at_s = self.last_frame_at_s

    def note_rejection(self, reason: str) -> None:
        """A frame has no result: the picture or the answer cannot be used."""
        self.rejected[reason] += 1
        self.rejected_in_a_row += 1
        self.last_rejection = reason
        self.forget_unanswered()

    def forget_unanswered(self) -> None:
        """Nothing is owed any more: the lost frames were rejected, or the stream was closed."""
        self.unanswered_since_s = None


@dataclass(slots=True)
class PipelineMetrics:
    """Counters of one model's pipeline. ``*_at_s`` is monotonic."""

    batches: int = 0
    batched_samples: int = 0
    engine_errors: int = 0
    lost_to_errors: int = 0
    """Samples whose batch failed in the engine or behind it."""
    first_result_at_s: float | None = None
    last_progress_at_s: float | None = None
    infer_ms: Latency = field(default_factory=Latency)
    total_ms: Latency = field(default_factory=Latency)
    durations: FrameDurations = field(default_factory=FrameDurations)
    answers: AnswerCounts = field(default_factory=AnswerCounts)
    """Of published ones."""
    streams: dict[str, StreamMetrics] = field(default_factory=dict)

    def stream(self, name: str) -> StreamMetrics:
        """The metrics of a stream, made at its first frame."""
        return self.streams.setdefault(name, StreamMetrics())
