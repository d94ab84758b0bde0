"""Which answered pictures and windows are worth keeping: not flat, frozen, nearly a copy, or burnt out. Pure.

Of windows that overlap one is kept: those that are kept share no sample, so that each is a piece of signal by itself.

Rejected pictures never come here. What is refused is counted by reason; nothing is refused for being drifted: a
scene that is dark, bright, foggy or noisy *as a rule* is what a recalibration needs.
"""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Flaw = Literal["flat", "frozen", "near_duplicate", "overlapping", "overexposed", "underexposed"]

SIDE = 16
ENOUGH_ROWS = 112  # 7 x 7 pixels a cell
FLAT_LEVELS = 1.0  # spread of the cells below which a picture has no content (lens cap, saturated sensor)
FROZEN_LEVELS = 0.25  # difference of two pictures below which a camera sent the same one twice
NEAR_SHARE = 0.1
"""Largest difference of a cell, as a share of the cells' spread, below which two pictures show the same.

Measured between neighbours: a still scene with sensor noise of 4 levels 0.03 to 0.06; pedestrians on a fixed camera
(vtest) 0.2 s apart 0.05 to 2.0 (one in ten below 0.32), 1 s apart from 0.81; a moving camera (bikes) from 0.40; a
conveyor from 1.9.
"""
NEAR_INTERVALS = 5.0
"""A near copy is refused only within so many sampling intervals: a still scene must be able to fill it too."""
CLIPPED_LOW, CLIPPED_HIGH = 2, 253
CLIPPED_SHARE = 0.6
CELLS = 8
CELL_LEVELS = 3.0  # standard deviation from which a cell shows something; sensor noise at black stays below
FEW_CELLS = 0.1
EXPOSURE_FRAMES, EXPOSURE_LEAST = 32, 8
"""Burnt-out pictures are refused while they are the exception among the last ones of their stream. A site that is
always like that (a part on a back light, a strong and lasting drift) is judged by what comes after."""

Levels = NDArray[np.float32]
Values = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(slots=True)
class _Stream:
    """What is remembered of one stream: a few thumbnails, and for no longer than near copies are looked for."""

    last: tuple[Levels, Levels] | None = None
    """Of the last kept picture: single pixels, which sensor noise changes, and cells' means, which things change."""
    last_window: NDArray[np.float32] | None = None
    """The last kept window of a sensor."""
    last_slots: range | None = None
    """Of its samples."""
    recent: deque[tuple[float, Levels]] = field(default_factory=deque)
    """(capture time, cells' means) of the kept ones."""
    burnt: deque[bool] = field(default_factory=lambda: deque(maxlen=EXPOSURE_FRAMES))


class FrameFilter:
    """Looks at pictures or windows in the order of capture, each stream for itself."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        """Sampling interval; may be changed at any moment."""
        self.refused: Counter[Flaw] = Counter()
        self._streams: defaultdict[str, _Stream] = defaultdict(_Stream)

    def find_flaw(self, stream: str, values: Values, at_s: float, slots: range | None = None) -> Flaw | None:
        """Why a picture (H,W,C) or window (C,T) is not worth keeping (counted), or None: then it is taken for kept.

        ``slots`` are the numbers of a window's samples in its stream; None: it is not known what it shares.
        """
        if values.dtype == np.uint8:
            found = self._find_flaw(self._streams[stream], values, at_s)
        else:
            found = self._find_flaw_of_window(self._streams[stream], values, slots)
        if found is not None:
            self.refused[found] += 1
        return found

    @staticmethod
    def _find_flaw_of_window(seen: _Stream, window: NDArray[Any], slots: range | None) -> Flaw | None:
        """A dead channel is no flaw: the gate has to see it and to say so."""
        if window.shape[1] > 1 and not np.ptp(window, axis=1).any():
            return "flat"
        if seen.last_window is not None and np.array_equal(window, seen.last_window):
            return "frozen"
        if slots is not None and seen.last_slots is not None and _share_some(slots, seen.last_slots):
            return "overlapping"
        seen.last_window, seen.last_slots = window, slots
        return None

    def forget(self) -> None:
        """Compare with nothing that came before: the kept ones were dropped."""
        for seen in self._streams.values():
            seen.last = seen.last_window = seen.last_slots = None
            seen.recent.clear()

    def _find_flaw(self, seen: _Stream, pixels: NDArray[Any], at_s: float) -> Flaw | None:
        picked, grey = _pick_pixels(pixels), _thin_to_grey(pixels)
        cells = _average_cells(grey, SIDE)
        if float(cells.std()) < FLAT_LEVELS and float(grey.std()) < CELL_LEVELS:
            return "flat"
        if seen.last is not None and _is_copy((picked, cells), seen.last):
            return "frozen"
        burnt = find_exposure_flaw(grey)
        seen.burnt.append(burnt is not None)
        is_rule = len(seen.burnt) >= EXPOSURE_LEAST and 2 * sum(seen.burnt) > len(seen.burnt)
        if burnt is not None and not is_rule:
            return burnt
        while seen.recent and at_s - seen.recent[0][0] >= NEAR_INTERVALS * self.every_s:
            seen.recent.popleft()
        if any(_is_near(cells, other) for _, other in seen.recent):
            return "near_duplicate"
        seen.last = picked, cells
        seen.recent.append((at_s, cells))
        return None


def find_exposure_flaw(grey: Levels) -> Literal["overexposed", "underexposed"] | None:
    """Whether a picture (H,W), 0..255, is clipped so far that hardly a place in it still shows anything.

    Clipped pixels alone say little: print on white paper, or a figure on black, is complete. So most pixels must be
    clipped *and* nine tenths of the picture be without any structure.
    """
    low, high = float((grey <= CLIPPED_LOW).mean()), float((grey >= CLIPPED_HIGH).mean())
    if low + high < CLIPPED_SHARE:
        return None
    means, squares = _average_cells(grey, CELLS), _average_cells(grey * grey, CELLS)
    shows = np.sqrt(np.maximum(squares - means * means, 0.0)) >= CELL_LEVELS
    if float(shows.mean()) >= FEW_CELLS:
        return None
    return "overexposed" if high >= low else "underexposed"


def _share_some(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


def _thin_to_grey(pixels: NDArray[Any]) -> Levels:
    """Grey levels (H,W), thinned out: a large picture is looked at in a few rows and columns of each cell."""
    step = max(1, min(pixels.shape[:2]) // ENOUGH_ROWS)
    grey: Levels = pixels[::step, ::step].mean(axis=2, dtype=np.float32)
    return grey


def _average_cells(grey: Levels, side: int) -> Levels:
    """Means in ``side`` x ``side`` cells, fewer where the picture is smaller."""
    rows, columns = (np.unique(np.linspace(0, n, min(side, n) + 1).astype(np.intp)) for n in grey.shape)
    sums = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=0), columns[:-1], axis=1)
    sizes = np.outer(np.diff(rows), np.diff(columns)).astype(np.float32)
    means: Levels = (sums / sizes).astype(np.float32)
    return means


def _pick_pixels(pixels: NDArray[Any]) -> Levels:
    rows, columns = (np.linspace(0, n - 1, SIDE).astype(np.intp) for n in pixels.shape[:2])
    grey: Levels = pixels[np.ix_(rows, columns)].mean(axis=2, dtype=np.float32)
    return grey


def _is_copy(one: tuple[Levels, Levels], other: tuple[Levels, Levels]) -> bool:
    if one[0].shape != other[0].shape or one[1].shape != other[1].shape:
        return False
    pixels, cells = (np.abs(a - b) for a, b in zip(one, other, strict=True))
    return float(pixels.mean()) < FROZEN_LEVELS and float(cells.max()) < FROZEN_LEVELS


def _is_near(one: Levels, other: Levels) -> bool:
    return one.shape == other.shape and float(np.abs(one - other).max()) < NEAR_SHARE * float(other.std())
