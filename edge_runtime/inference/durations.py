"""Histograms of how long answered frames took, by the generation and arm that answered; read when metrics are scraped.

They grow as long as the daemon runs, over swaps and edits. Of many generations the ones that answered last are kept.
"""

import threading
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from edge_runtime.datatypes import Generation, Timings

Arm = Literal["active", "candidate"]

BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the buckets, from a small model's inference to the age limit of a slow stream."""
MOST_KEPT = 8
"""Generations and arms of one model: a patch a week would else make a series a week."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram at one moment."""

    counts: tuple[int, ...]
    """By bucket of ``BOUNDS_S``, each on its own; the last one is of what lies above all bounds."""
    sum_s: float


class Histogram:
    """Counts seconds by bucket; the caller has a lock."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts, self._sum_s = [0] * (len(BOUNDS_S) + 1), 0.0

    def add(self, value_ms: float) -> None:
        """Count one value in milliseconds; below 0 counts as 0, since a sum must never fall."""
        value_s = max(value_ms, 0.0) / 1000
        self._counts[bisect_left(BOUNDS_S, value_s)] += 1
        self._sum_s += value_s

    def read(self) -> Distribution:
        """A snapshot."""
        return Distribution(tuple(self._counts), self._sum_s)


@dataclass(frozen=True, slots=True)
class Durations:
    """Of the frames that one generation answered in one arm, in the names of :class:`Timings`."""

    total: Distribution
    prepare: Distribution
    """Decoding included."""
    queue: Distribution
    infer: Distribution
    """Of the frame's batch, once for each frame in it."""


class FrameDurations:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Generation, Arm], tuple[Histogram, ...]] = OrderedDict()

    def add(self, generation: Generation, arm: Arm, timings: Timings) -> None:
        """A frame was answered."""
        key = (generation, arm)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                found = self._kept[key] = (Histogram(), Histogram(), Histogram(), Histogram())
                while len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            total, prepare, queue, infer = found
            total.add(timings.total)
            prepare.add(timings.decode + timings.prepare)
            queue.add(timings.queue)
            infer.add(timings.infer)

    def read(self) -> dict[tuple[Generation, Arm], Durations]:
        """A snapshot; who answered last comes last."""
        with self._lock:
            return {key: Durations(*(one.read() for one in found)) for key, found in self._kept.items()}
