"""Whether a model's batches are so short that the thread of a stream runs them itself. Pure.

Waking another thread costs the one that wakes it about a tenth of a millisecond, and on several cores both then take
turns with Python's lock. A batch that is over before that pays for no second thread (docs/decisions/0048).
"""

from collections import deque

from edge_runtime.datatypes import Generation

SHORT_MS = 0.3
"""At most so long runs where it was queued: a stream that also decodes loses no more than a tenth by it."""
LOOKED_AT = 16
"""Batches; the quickest of them counts, since the others may have waited for Python's lock."""


class BatchTimes:
    """Of the latest batches of one generation. The caller has a lock."""

    def __init__(self) -> None:
        self._took_ms: deque[float] = deque(maxlen=LOOKED_AT)
        self._generation: Generation | None = None
        self.is_short = False

    def note(self, took_ms: float, generation: Generation) -> None:
        """A batch was inferred by this generation; times of another one are forgotten."""
        if generation != self._generation:
            self.forget()
            self._generation = generation
        self._took_ms.append(took_ms)
        # Twice as long before it goes back: a model at the bound does not change its threads all the time.
        most_ms = 2 * SHORT_MS if self.is_short else SHORT_MS
        self.is_short = len(self._took_ms) == LOOKED_AT and min(self._took_ms) <= most_ms

    def forget(self) -> None:
        """Not short until as many batches say so again."""
        self._took_ms.clear()
        self.is_short = False
