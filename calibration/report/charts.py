"""Geometry of the report's charts: figures in, rectangles and labels out. Pure; the template draws them as SVG.

Three kinds: one column per layer on a logarithmic axis, two histograms in one, and a small horizontal bar with its
error inside a table cell.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 920.0, 210.0
LEFT, TOP, BOTTOM = 52.0, 8.0, 20.0
MOST_DECADES = 5
"""Smaller values stand on the floor: five powers of ten are as much as an eye tells apart here."""
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 460.0, 170.0
"""Two of them fit into a line."""
CELL = 120.0
"""Width of a bar inside a table cell."""


@dataclass(frozen=True, slots=True)
class Column:
    """One layer; heights are SVG coordinates, None is no value."""

    x: float
    width: float
    top: float | None
    """Of the wide bar."""
    inner_top: float | None
    """Of the narrow bar in front of it."""
    mark: float | None
    """A line across."""
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that is drawn."""

    columns: tuple[Column, ...]
    ticks: tuple[tuple[float | None, str], ...]
    """The lines of the grid: height and label."""
    floor: float = HEIGHT - BOTTOM
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar in a cell of ``CELL`` units, from the zero line; ``low`` and ``high`` are the ends of its error."""

    zero: float
    start: float
    length: float
    low: float | None
    high: float | None
    is_negative: bool


@dataclass(frozen=True, slots=True)
class LogAxis:
    """A logarithmic axis from ``low`` at the bottom to ``high`` at the top."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float]) -> "LogAxis | None":
        """Whole powers of ten around the values above 0; None without any."""
        known = [value for value in values if math.isfinite(value) and value > 0]
        if not known:
            return None
        high = 10.0 ** math.ceil(math.log10(max(known)) + 1e-9)
        low = max(10.0 ** math.floor(math.log10(min(known))), high / 10.0**MOST_DECADES)
        return cls(min(low, high / 10.0), high)

    def y(self, value: float | None) -> float | None:
        """Where a value is; None where it is not a number."""
        if value is None or not math.isfinite(value):
            return None
        share = 0.0
        if value > self.low:
            share = math.log(min(value, self.high) / self.low) / math.log(self.high / self.low)
        return round(TOP + (1 - share) * (HEIGHT - TOP - BOTTOM), 1)

    def ticks(self) -> tuple[tuple[float | None, str], ...]:
        """The powers of ten."""
        powers = range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)
        return tuple((self.y(10.0**power), f"{10.0**power:g}") for power in powers)


def layer_chart(
    before: Mapping[str, float], after: Mapping[str, float] | None, healthy: Mapping[str, float] | None
) -> Chart | None:
    """A column per layer: how far it is off (wide), with the patch (narrow), and among healthy frames (line)."""
    others = [part for part in (after, healthy) if part is not None]
    axis = LogAxis.around([*before.values(), *(value for part in others for value in part.values())])
    if axis is None:
        return None
    columns = []
    for (x, width), (tap, value) in zip(_slots(len(before)), before.items(), strict=True):
        off, now = (after or {}).get(tap), (healthy or {}).get(tap)
        text = f"{tap}: {value:.3g}" + (f", with the patch {off:.3g}" if off is not None else "")
        text += f", healthy frames {now:.3g}" if now is not None else ""
        columns.append(Column(x, width, axis.y(value), axis.y(off), axis.y(now), text))
    return Chart(tuple(columns), axis.ticks())


def span_chart(spans: Mapping[str, tuple[float, float, float]], limits: tuple[float, float]) -> Chart | None:
    """A column per tap from its low to its high value, with a line at the middle one, on a logarithmic axis.

    ``top`` is the high end, ``inner_top`` the low end; the grid shows the limits, their half-ways and 1.
    """
    if not spans:
        return None
    axis = LogAxis(*limits)
    columns = []
    for (x, width), (tap, (low, middle, high)) in zip(_slots(len(spans)), spans.items(), strict=True):
        text = f"{tap}: {low:.2f} to {high:.2f}, median {middle:.2f}"
        columns.append(Column(x, width, axis.y(high), axis.y(low), axis.y(middle), text))
    marks = (limits[0], limits[0] ** 0.5, 1.0, limits[1] ** 0.5, limits[1])
    return Chart(tuple(columns), tuple((axis.y(mark), f"×{mark:.2g}") for mark in marks))


def histograms(
    wide: Sequence[int], narrow: Sequence[int], *, end: float = 1.0, unit: str = ""
) -> Chart | None:
    """Two histograms of as many equal parts of 0..``end``, in this unit, one in front of the other.

    They are shares of their counts.
    ``top`` is the share of ``wide``, ``inner_top`` that of ``narrow``; the highest one reaches the top. None without
    any count.
    """
    shares = [[count / (sum(counts) or 1) for count in counts] for counts in (wide, narrow)]
    highest = max((share for one in shares for share in one), default=0.0)
    if highest <= 0:
        return None
    axis_top = next(mark for mark in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if highest <= mark + 1e-9)
    has = [sum(counts) > 0 for counts in (wide, narrow)]
    floor = HISTOGRAM_HEIGHT - BOTTOM

    def y(share: float) -> float:
        return round(TOP + (1 - share / axis_top) * (floor - TOP), 1)

    columns, parts = [], len(wide)
    for i, (x, width) in enumerate(_slots(parts, HISTOGRAM_WIDTH)):
        texts = [f"{share[i]:.1%}" for share, known in zip(shares, has, strict=True) if known]
        text = f"{i * end / parts:.1f} to {(i + 1) * end / parts:.1f}{unit}: {' and '.join(texts)}"
        tops = [
            y(share[i]) if known and share[i] > 0 else None for share, known in zip(shares, has, strict=True)
        ]
        columns.append(Column(x, width, tops[0], tops[1], None, text))
    ticks = tuple((y(axis_top * part), f"{axis_top * part:.0%}") for part in (0, 0.5, 1))
    return Chart(tuple(columns), ticks, floor, HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT)


def bars(values: Sequence[float | None], errors: Sequence[float | None]) -> list[Bar | None]:
    """Bars on one common linear axis with zero in it; None where the value is not a number."""
    ends = [0.0]
    for value, error in zip(values, errors, strict=True):
        if value is not None and math.isfinite(value):
            ends += [value - (error or 0.0), value + (error or 0.0), value]
    low, high = min(ends), max(ends)
    unit = CELL / (high - low) if high > low else 0.0
    return [_bar(value, error, low, unit) for value, error in zip(values, errors, strict=True)]


def _bar(value: float | None, error: float | None, low: float, unit: float) -> Bar | None:
    if value is None or not math.isfinite(value):
        return None
    zero, end = -low * unit, (value - low) * unit
    has_error = error is not None and math.isfinite(error)
    return Bar(
        zero=round(zero, 1),
        start=round(min(zero, end), 1),
        length=round(abs(end - zero), 1),
        low=round(end - (error or 0.0) * unit, 1) if has_error else None,
        high=round(end + (error or 0.0) * unit, 1) if has_error else None,
        is_negative=value < 0,
    )


def _slots(count: int, total: float = WIDTH) -> list[tuple[float, float]]:
    """Left edge and width of each column."""
    step = (total - LEFT) / count
    width = min(step * 0.78, 46.0)
    return [(round(LEFT + step * i + (step - width) / 2, 2), round(width, 2)) for i in range(count)]
