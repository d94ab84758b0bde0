"""Recent samples that may stand for what the camera sees now: bounded, class-balanced, time-aware. Pure.

Only frames that were prepared *and* answered come here, so rejected pictures never enter a calibration set. When
it is full, the oldest entry of the most frequent predicted class goes: a belt that shows one part for an hour does
not push all others out (the prediction-balanced reservoir of NOTE, Gong et al. 2022, with the oldest in place of a
random one, because what matters here is what the lens sees *now*).
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THUMBNAIL = 16
FROZEN_LEVELS = 0.25  # mean difference of two thumbnails below which a camera sent the same picture twice
FLAT_LEVELS = 1.0  # standard deviation below which a picture has no content (lens cap, saturated sensor)


@dataclass(frozen=True, slots=True)
class Kept:
    """One kept picture."""

    stream: str
    seq: int
    pixels: NDArray[np.uint8]
    """(H,W,C) after geometry, before normalisation."""
    label: int
    """Predicted class; -1 where the task has none."""
    at_s: float
    thumbnail: NDArray[np.float32]


class Reservoir:
    """The kept pictures."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity {capacity}; expected at least 1")
        self.capacity = capacity
        self.skipped: Counter[str] = Counter()
        self._kept: list[Kept] = []
        self._last_of_stream: dict[str, Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, stream: str, seq: int, pixels: NDArray[np.uint8], label: int, at_s: float) -> bool:
        """Keep a picture; False (and a count in ``skipped``) when it is flat or a frozen copy of the last one."""
        thumbnail = _thumbnail(pixels)
        last = self._last_of_stream.get(stream)
        if float(thumbnail.std()) < FLAT_LEVELS:
            self.skipped["flat"] += 1
            return False
        if last is not None and float(np.abs(thumbnail - last.thumbnail).mean()) < FROZEN_LEVELS:
            self.skipped["frozen"] += 1
            return False
        kept = Kept(stream, seq, pixels, label, at_s, thumbnail)
        self._last_of_stream[stream] = kept
        self._kept.append(kept)
        if len(self._kept) > self.capacity:
            self._evict()
        return True

    def since(self, at_s: float, most: int, stream: str | None = None) -> list[Kept]:
        """Up to ``most`` of the newest pictures captured at or after ``at_s`` (by one stream, or all), oldest first."""
        chosen = (kept for kept in self._kept if kept.at_s >= at_s and stream in (None, kept.stream))
        return list(chosen)[-most:]

    def forget_before(self, at_s: float) -> None:
        """Drop what was captured earlier: it does not stand for what the camera sees now.

        Kept, the old classes would push out the new frames, all the more when a drift makes the model see one class.
        """
        self._kept = [kept for kept in self._kept if kept.at_s >= at_s]

    def _evict(self) -> None:
        commonest = Counter(kept.label for kept in self._kept).most_common(1)[0][0]
        del self._kept[next(i for i, kept in enumerate(self._kept) if kept.label == commonest)]


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = pixels.shape[:2]
    rows = np.linspace(0, height - 1, THUMBNAIL).astype(int)
    columns = np.linspace(0, width - 1, THUMBNAIL).astype(int)
    picked = pixels[np.ix_(rows, columns)].astype(np.float32).reshape(THUMBNAIL, THUMBNAIL, -1)
    grey: NDArray[np.float32] = picked.mean(axis=2, dtype=np.float32)
    return grey
