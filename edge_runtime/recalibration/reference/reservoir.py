"""Recent samples that may stand for what the camera sees: bounded, balanced by predicted class and by time. Pure.

When it is full (by count or by bytes) one entry of the most frequent predicted class goes, so that a belt which shows
one part for an hour does not push all others out: the prediction-balanced reservoir of NOTE (Gong et al. 2022,
section 3.2). NOTE draws that entry at random and RoTTA (Yuan et al. 2023, section 3.2) weighs age and uncertainty; here
the entry whose neighbours in time are nearest goes, so that what is left is spread evenly from the oldest kept frame to
now, over the time of day too. A camera that gives most of a class gives it up.

That serves a recalibration by schedule. For one by drift only what came since the drift began counts
(``forget_before``, ``newest``), so the newest few stay whatever their class, and compete only when newer ones came.
Which pictures are worth offering is decided in ``frame_filter``; files are written by ``reservoir_store``.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import inf

import numpy as np
from numpy.typing import NDArray

FACTS_BYTES = 1024  # the cost of an entry without its values, at most


@dataclass(frozen=True, slots=True)
class InputMoments:
    """Mean and variance per channel of one prepared sample, float64 (C,): tap 0 of ``calibration``."""

    mean: tuple[float, ...]
    var: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """One kept sample; with ``values``, or only with its ``moments`` where neither picture nor window may be kept."""

    stream: str
    seq: int
    label: int
    """Predicted class; -1 where the task has none."""
    at_s: float
    """Capture time on this process's monotonic clock; negative for what was captured before the machine started."""
    at_wall_s: float
    values: NDArray[np.uint8] | NDArray[np.float32] | None = None
    """A picture after geometry, uint8 (H,W,C), or a window in its units, float32 (C,T): before normalisation."""
    moments: InputMoments | None = None

    @property
    def size_bytes(self) -> int:
        """Memory it takes, roughly."""
        return FACTS_BYTES + (0 if self.values is None else self.values.nbytes)

    @property
    def id(self) -> tuple[str, int, int]:
        """Stream, sequence number and wall clock in milliseconds."""
        return self.stream, self.seq, round(self.at_wall_s * 1000)

    def remove_values(self) -> "Kept":
        """The same with its moments only."""
        return replace(self, values=None)


@dataclass(frozen=True, slots=True)
class ReservoirLimits:
    """Limits of the reservoir."""

    frames: int
    size_bytes: int
    age_s: float = inf
    fresh: int = 1
    """So many of the newest stay, but at most half of what fits."""


class Reservoir:
    """The kept samples. Every change gives back the samples it has dropped, so that files can follow."""

    def __init__(self, limits: ReservoirLimits) -> None:
        self.limits = limits
        self._kept: list[Kept] = []
        self._size_bytes = 0
        self._largest_bytes = FACTS_BYTES

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """Memory of all that is kept."""
        return self._size_bytes

    @property
    def most(self) -> int:
        """How many frames of the size seen so far fit: no more can be waited for."""
        return max(1, min(self.limits.frames, self.limits.size_bytes // self._largest_bytes))

    @property
    def fresh_since_s(self) -> float:
        """Capture time of the oldest of the newest that stay in any case."""
        return self._kept[-self._fresh :][0].at_s if self._kept else -inf

    @property
    def entries(self) -> tuple[Kept, ...]:
        """Everything kept, oldest first."""
        return tuple(self._kept)

    @property
    def classes(self) -> dict[int, int]:
        """How many are kept of each predicted class."""
        return dict(Counter(kept.label for kept in self._kept))

    def add(self, one: Kept) -> list[Kept]:
        """Keep a sample; gives what had to go for it, which is the sample itself when it alone is over the limit."""
        if one.size_bytes > self.limits.size_bytes:
            return [one]
        self._largest_bytes = max(self._largest_bytes, one.size_bytes)
        dropped = self.forget_before(one.at_s - self.limits.age_s)
        # A new list, since others count this one; nearly sorted already but for several streams and restored ones.
        self._kept = sorted([*self._kept, one], key=lambda kept: kept.at_s)
        self._size_bytes += one.size_bytes
        return dropped + self._shrink()

    def limit(self, limits: ReservoirLimits) -> list[Kept]:
        """Use other limits from now on; gives what no longer fits."""
        self.limits = limits
        return self._shrink()

    def choose_newest(self, since_s: float, most: int, stream: str | None = None) -> list[Kept]:
        """Up to ``most`` of the newest with values since ``since_s`` (of one stream, or all), oldest first."""
        return self._list_with_values(since_s, stream)[-most:]

    def choose_balanced(self, since_s: float, most: int, stream: str | None = None) -> list[Kept]:
        """Up to ``most`` with values since ``since_s``, as even over the classes and over time as they allow.

        The classes take turns, in each its streams; within them the next is the one farthest in time from those taken.
        """
        groups: defaultdict[int, defaultdict[str, list[Kept]]] = defaultdict(lambda: defaultdict(list))
        for kept in self._list_with_values(since_s, stream):
            groups[kept.label][kept.stream].append(kept)
        by_class = [
            _take_in_turns([_choose_farthest(of_stream, most) for of_stream in streams.values()])
            for _, streams in sorted(groups.items())
        ]
        return sorted(_take_in_turns(by_class)[:most], key=lambda kept: kept.at_s)

    def list_moments(self, since_s: float, stream: str | None = None) -> list[InputMoments]:
        """Of what has no values, since ``since_s`` (of one stream, or all), oldest first."""
        kept = self._list_since(since_s, stream)
        return [one.moments for one in kept if one.values is None and one.moments]

    def forget_before(self, at_s: float) -> list[Kept]:
        """Drop what was captured earlier: it does not stand for what the camera sees now.

        Kept, the old classes would push out the new frames, all the more when a drift makes the model see one class.
        """
        dropped = [kept for kept in self._kept if kept.at_s < at_s]
        if dropped:
            self._replace([kept for kept in self._kept if kept.at_s >= at_s])
        return dropped

    def strip(self) -> None:
        """Let go of all values; the moments stay."""
        self._replace([kept.remove_values() for kept in self._kept])

    def _list_since(self, since_s: float, stream: str | None) -> list[Kept]:
        return [kept for kept in self._kept if kept.at_s >= since_s and stream in (None, kept.stream)]

    def _list_with_values(self, since_s: float, stream: str | None) -> list[Kept]:
        return [kept for kept in self._list_since(since_s, stream) if kept.values is not None]

    def _replace(self, kept: list[Kept]) -> None:
        self._kept, self._size_bytes = kept, sum(one.size_bytes for one in kept)

    @property
    def _fresh(self) -> int:
        return max(1, min(self.limits.fresh, self.most // 2))

    def _shrink(self) -> list[Kept]:
        dropped: list[Kept] = []
        while len(self._kept) > self.limits.frames or self._size_bytes > self.limits.size_bytes:
            gone = self._kept.pop(_choose_to_evict(self._kept, len(self._kept) - self._fresh))
            self._size_bytes -= gone.size_bytes
            dropped.append(gone)
        return dropped


def _choose_to_evict(kept: Sequence[Kept], settled: int) -> int:
    """Index of the one to drop among the first ``settled``; the oldest when there are none (lowered limits).

    Of the most frequent class, there of the most frequent stream, the most crowded in time: by the product of the gaps
    it fills among its own and among all. With 128 places, 10 and 40 classes the longest time without any frame was 2.6
    and 3.1 times the even one; by its own alone 5.1 and 12.4; by all alone 1.4 and 1.5, but then 2.7 within a class
    instead of 1.8.
    """
    classes = Counter(one.label for one in kept[:settled])
    groups = Counter((one.label, one.stream) for one in kept[:settled])
    among_own = _measure_gaps_s(kept, lambda one: (one.label, one.stream))
    among_all = _measure_gaps_s(kept, lambda _: None)

    def rank(i: int) -> tuple[int, int, float]:
        group = kept[i].label, kept[i].stream
        return -classes[group[0]], -groups[group], among_own[i] * among_all[i]

    return min(range(settled), key=rank, default=0)


def _measure_gaps_s(kept: Sequence[Kept], group_of: Callable[[Kept], Hashable]) -> list[float]:
    """Time between the neighbours of each entry in its group; at the ends the whole time, since they mark it."""
    gaps = [kept[-1].at_s - kept[0].at_s] * len(kept)
    last_two: dict[Hashable, tuple[int | None, int]] = {}
    for i, one in enumerate(kept):
        group = group_of(one)
        before, last = last_two.get(group, (None, None))
        if before is not None and last is not None:
            gaps[last] = one.at_s - kept[before].at_s
        last_two[group] = (last, i)
    return gaps


def _choose_farthest(kept: Sequence[Kept], most: int) -> list[Kept]:
    """The newest, then always the one farthest in time from those taken (Gonzalez 1985): any start of it is spread."""
    times_s = np.asarray([one.at_s for one in kept])
    chosen = [len(kept) - 1]
    distance_s = np.abs(times_s - times_s[-1])
    while len(chosen) < min(most, len(kept)):
        distance_s[chosen[-1]] = -1.0  # taken; others at the same moment are still 0
        chosen.append(int(distance_s.argmax()))
        distance_s = np.where(
            distance_s < 0, distance_s, np.minimum(distance_s, np.abs(times_s - times_s[chosen[-1]]))
        )
    return [kept[i] for i in chosen]


def _take_in_turns(queues: Iterable[Sequence[Kept]]) -> list[Kept]:
    """First of each, second of each, and so on."""
    return [one for turn in zip_longest(*queues) for one in turn if one is not None]
