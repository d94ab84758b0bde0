"""A window of a sensor as a chart: one strip for each channel, with its own scale. Arrays in, a whole SVG out; pure.

The SVG stands for a picture wherever there is one of a camera: it has its style and its colours in it, also those for
the dark, and no script. Names and units are escaped.
"""

import base64
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

MOST_STRIPS = 8
"""More channels are too small to see; the chart says how many are left out."""
MOST_COLUMNS = 160
"""Places along the time; of each the least and the greatest value is drawn, so that no peak is lost."""
STRIP, GAP, TOP, BOTTOM = 46.0, 18.0, 4.0, 20.0
"""Heights in units of the SVG; the name of a channel stands in the gap above its strip."""
LEFT, RIGHT = 52.0, 10.0
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#59635e}.name{font-weight:600;fill:#1d2320}"
    ".edge{stroke:#dfe3de;stroke-width:1}path{fill:none;stroke:#1f6f9c;stroke-width:1.3;stroke-linejoin:round}"
    "@media(prefers-color-scheme:dark){text{fill:#93a099}.name{fill:#e6ebe8}.edge{stroke:#2b332f}path{stroke:#63b3e4}}"
)


@dataclass(frozen=True, slots=True)
class WindowAxes:
    """The meaning of a window's numbers."""

    names: tuple[str, ...]
    """Of the channels."""
    units: tuple[str, ...]
    """As many; empty: none."""
    rate_hz: float
    """Samples a second."""


@dataclass(frozen=True, slots=True)
class WindowChart:
    """A chart as an SVG document, and its size in the units of its coordinates."""

    svg: str
    width: int
    height: int

    @property
    def uri(self) -> str:
        """It as a ``data:`` URI."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"


def draw_window(values: NDArray[np.floating], axes: WindowAxes, width: int = 480) -> WindowChart:
    """The chart of one window.

    Args:
        values: (channels, samples) in their units; values that are not finite leave a gap.
        axes: Of these channels.
        width: Of the SVG, in its units.
    """
    shown = min(len(values), MOST_STRIPS)
    height = round(TOP + shown * (STRIP + GAP) + BOTTOM)
    inner = width - LEFT - RIGHT
    parts = [
        _strip(values[i], axes.names[i], axes.units[i], TOP + i * (STRIP + GAP), inner) for i in range(shown)
    ]
    text = f"Window of {values.shape[1]} samples: {', '.join(axes.names[:shown])}"
    more = f", {len(values) - shown} channels more" if len(values) > shown else ""
    span = _number(values.shape[1] / axes.rate_hz)
    foot = f'<text x="{LEFT:g}" y="{height - 5}">0 s{escape(more)}</text>'
    foot += f'<text x="{width - RIGHT:g}" y="{height - 5}" text-anchor="end">{span} s</text>'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(text)}"><style>{_STYLE}</style>'
    )
    return WindowChart(f"{head}{''.join(parts)}{foot}</svg>", width, height)


def _strip(values: NDArray[np.floating], name: str, unit: str, top: float, inner: float) -> str:
    low, high = _range(values)
    above, below = top + GAP, top + GAP + STRIP
    said = f"{name[:60]}, {unit}" if unit else name[:60]
    lines = "".join(
        f'<line class="edge" x1="{LEFT:g}" x2="{LEFT + inner:g}" y1="{y:g}" y2="{y:g}"/>'
        for y in (above, below)
    )
    marks = "".join(
        f'<text x="{LEFT - 6:g}" y="{y:g}" text-anchor="end">{_number(value)}</text>'
        for value, y in ((high, above + 8), (low, below))
    )
    title = f'<text class="name" x="{LEFT:g}" y="{above - 5:g}">{escape(said)}</text>'
    return f'{title}{lines}{marks}<path d="{_path(values, low, high, above, inner)}"/>'


def _range(values: NDArray[np.floating]) -> tuple[float, float]:
    """The least and the greatest finite value, apart from each other also where all are the same."""
    known = values[np.isfinite(values)].astype(np.float64)
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    room = max(abs(low), abs(high)) * 1e-3 or 0.5
    return (low, high) if high - low > room * 1e-3 else (low - room, high + room)


def _path(values: NDArray[np.floating], low: float, high: float, top: float, inner: float) -> str:
    """Each run of finite values is one line."""
    places, heights = _thin(values.astype(np.float64))
    is_known = np.isfinite(heights)
    x = LEFT + places * inner / max(1, len(values) - 1)
    y = top + (1 - (np.where(is_known, heights, low) - low) / (high - low)) * STRIP
    begins = is_known & ~np.concatenate([[False], is_known[:-1]])
    drawn = zip(begins[is_known].tolist(), x[is_known].tolist(), y[is_known].tolist(), strict=True)
    return "".join(f"{'M' if begin else 'L'}{at:.1f} {level:.1f}" for begin, at, level in drawn)


def _thin(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places and values to draw: all, or of each of ``MOST_COLUMNS`` parts the least and the greatest."""
    if len(values) <= 2 * MOST_COLUMNS:
        return np.arange(len(values), dtype=np.float64), values
    begins = np.arange(MOST_COLUMNS) * len(values) // MOST_COLUMNS
    low, high = np.fmin.reduceat(values, begins), np.fmax.reduceat(values, begins)
    last = values[np.append(begins[1:], len(values)) - 1]
    rises = np.where(
        values[begins] <= last, [low, high], [high, low]
    )  # in the order that looks like the signal
    return np.repeat(begins.astype(np.float64), 2), rises.T.ravel()


def _number(value: float) -> str:
    return f"{value:.3g}"
