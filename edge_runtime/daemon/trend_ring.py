"""Figures over time in bounded memory: fine for the last while, coarse for longer. Pure: the time is an argument."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Merge = Literal["mean", "most", "sum"]
"""How several values of one step become one."""

MOST_FIGURES = 256
"""Of 2 levels with 720 and 1440 steps they take 2.2 MB."""


class Figure(NamedTuple):
    """What is drawn as one line."""

    name: str
    merge: Merge
    model: str | None = None
    part: str | None = None
    """The stream, or the reason."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution."""

    step_s: float
    steps: int

    @property
    def span_s(self) -> float:
        """How far back it reaches."""
        return self.step_s * self.steps


LEVELS = (Level(5.0, 720), Level(60.0, 1440))
"""An hour and a day."""


class Columns(NamedTuple):
    """A part of one level."""

    first: int
    """Number of the first step: it begins at ``first * step_s`` of the clock."""
    steps: int
    """How many follow each other."""
    step_s: float
    values: dict[Figure, NDArray[np.float32]]
    """Each (n,), all of the same length, oldest first; NaN where there was no value."""


class TrendRing:
    """The newest steps of every level. A figure that has no value any more is forgotten with its last one."""

    def __init__(self, levels: tuple[Level, ...] = LEVELS, most_figures: int = MOST_FIGURES) -> None:
        """``levels``: the finest first."""
        self._rings = tuple(_Ring(level, most_figures) for level in levels)

    def add(self, values: Mapping[Figure, float], at_s: float) -> None:
        """Put values at a time, which never goes back. Figures beyond the most are left out."""
        for ring in self._rings:
            ring.add(values, at_s)

    def read(self, span_s: float, now_s: float, after: int = -1) -> Columns:
        """Of the finest level that reaches back so far, the steps since then with a number above ``after``."""
        ring = next((one for one in self._rings if one.level.span_s >= span_s), self._rings[-1])
        return ring.read(max(after, int((now_s - span_s) // ring.level.step_s)))


class _Ring:
    """One level."""

    def __init__(self, level: Level, most_figures: int) -> None:
        self.level, self._most = level, most_figures
        self._first = self._newest = -1
        """Number of the oldest and the newest step; -1 before the first value."""
        self._columns: dict[Figure, NDArray[np.float32]] = {}
        self._counts: dict[Figure, int] = {}
        """Values in the newest step."""

    def add(self, values: Mapping[Figure, float], at_s: float) -> None:
        step = int(at_s // self.level.step_s)
        if self._newest < 0:
            self._first = self._newest = step
        elif step > self._newest:
            self._go_to(step)
        place = self._newest % self.level.steps
        for figure, value in values.items():
            column = self._columns.get(figure)
            if column is None:
                if len(self._columns) >= self._most:
                    continue
                column = self._columns[figure] = np.full(self.level.steps, np.nan, np.float32)
            count = self._counts[figure] = self._counts.get(figure, 0) + 1
            column[place] = _merge(figure.merge, float(column[place]), value, count)

    def read(self, after: int) -> Columns:
        first = max(self._first, self._newest - self.level.steps + 1, after + 1)
        places = np.arange(first, self._newest + 1) % self.level.steps
        return Columns(
            first,
            len(places),
            self.level.step_s,
            {figure: one[places] for figure, one in self._columns.items()},
        )

    def _go_to(self, step: int) -> None:
        passed = min(step - self._newest, self.level.steps)
        places = np.arange(step - passed + 1, step + 1) % self.level.steps
        for column in self._columns.values():
            column[places] = np.nan
        self._newest, self._counts = step, {}
        for figure in [one for one, column in self._columns.items() if np.isnan(column).all()]:
            del self._columns[figure]


def _merge(how: Merge, before: float, value: float, count: int) -> float:
    """``count`` values with this one, of which ``before`` stands for the earlier ones."""
    if count == 1:
        return value
    match how:
        case "mean":
            return before + (value - before) / count
        case "most":
            return max(before, value)
        case "sum":
            return before + value
