"""Answered samples on their way from the inference workers to the calibration side loop: thinned out, bounded.

Offering returns at once whatever the side loop is doing: live frames come first, and what does not fit is only
counted.
"""

import queue

from edge_runtime.datatypes import Result, Sample

CAPACITY = 32


class SampleInbox:
    """At most one sample of a stream every ``every_s`` seconds, and at most ``CAPACITY`` waiting."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        """By capture time; may be changed at any moment."""
        self.skipped = 0
        """Samples whose turn it was, but the inbox was full."""
        self._waiting: queue.Queue[tuple[Sample, Result]] = queue.Queue(CAPACITY)
        self._last_at_s: dict[str, float] = {}

    def offer(self, sample: Sample, result: Result) -> None:
        """Take it in if it has pixels (a raw tensor has none) and it is this stream's turn."""
        if sample.pixels is None:
            return
        last_s = self._last_at_s.get(sample.stream)
        if last_s is not None and sample.captured_at_s - last_s < self.every_s:
            return
        self._last_at_s[sample.stream] = sample.captured_at_s
        try:
            self._waiting.put_nowait((sample, result))
        except queue.Full:
            self.skipped += 1

    def take(self, timeout_s: float) -> tuple[Sample, Result] | None:
        """The oldest one waiting; None when none came in time."""
        try:
            return self._waiting.get(timeout=timeout_s)
        except queue.Empty:
            return None
