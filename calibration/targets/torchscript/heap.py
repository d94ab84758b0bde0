"""Keeps the heap small while torch runs: it allocates every activation, and what it frees stays with the process."""

from calibration.stats.heap import trim_heap
from calibration.targets.base import Batch

TRIM_AFTER_BYTES = 4 << 20
"""Of input, 7 samples of 3 x 224 x 224: costs next to nothing there."""


class HeapTrimmer:
    """Trims the heap every so many bytes of input."""

    def __init__(self, after_bytes: int = TRIM_AFTER_BYTES) -> None:
        self._after_bytes, self._seen_bytes = after_bytes, 0

    def count(self, batch: Batch) -> None:
        """``batch`` has gone through a model."""
        self._seen_bytes += batch.nbytes
        if self._seen_bytes > self._after_bytes:
            self.trim()

    def trim(self) -> None:
        """At once, and then not for a while."""
        trim_heap()
        self._seen_bytes = 0
