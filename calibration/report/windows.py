"""Charts of windows for the report, where pictures have thumbnails: a small line chart a channel, of each state.

Arrays in, SVG coordinates out; the template draws them. No model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.report.states import State
from calibration.stats.signal_features import is_vector

WIDTH, HEIGHT = 150.0, 64.0
SHOWN = 3
"""Windows in one chart: more lines would hide each other."""
MOST_CHANNELS = 12
MOST_POINTS = 150
"""Of one line: one per unit of its width."""
INSIDE = (0.005, 0.995)
"""Quantiles that the axis holds; what lies outside is cut off."""
MARGIN = 0.08


@dataclass(frozen=True, slots=True)
class LineChart:
    """The lines of a few windows of one channel."""

    title: str
    lines: tuple[str, ...]
    """Points of a polyline each."""
    low: str
    high: str
    """The ends of the axis, which is the same in all states."""
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True, slots=True)
class ChartRow:
    """One state."""

    title: str
    note: str
    charts: tuple[LineChart, ...]


def chart_rows(found: Sequence[State]) -> tuple[ChartRow, ...]:
    """A row of charts for each state of windows (n, C, T); vectors (n, F) are one channel of F values."""
    windows = [_as_windows(state.samples) for state in found]
    channels = min(MOST_CHANNELS, windows[0].shape[1])
    ends = [_axis([part[:, c] for part in windows]) for c in range(channels)]
    return tuple(
        ChartRow(state.title, state.note, tuple(_chart(c, part[:SHOWN, c], ends[c]) for c in range(channels)))
        for state, part in zip(found, windows, strict=True)
    )


def _as_windows(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x.reshape(len(x), 1, -1) if is_vector(x.shape[1:]) else x.reshape(*x.shape[:2], -1)


def _axis(parts: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    low, high = np.quantile(np.concatenate([part.ravel() for part in parts]), INSIDE).tolist()
    room = MARGIN * (high - low) or 1.0
    return low - room, high + room


def _chart(channel: int, windows: NDArray[np.float32], ends: tuple[float, float]) -> LineChart:
    low, high = ends
    step = -(-windows.shape[1] // MOST_POINTS)
    some = windows[:, ::step].astype(np.float64)
    x = np.linspace(0, WIDTH, some.shape[1])
    y = HEIGHT * (1 - (np.clip(some, low, high) - low) / (high - low))
    lines = tuple(" ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, line, strict=True)) for line in y)
    return LineChart(f"channel {channel}", lines, f"{low:.3g}", f"{high:.3g}")
