"""The curves: for each number of cameras the median over the rounds, and the straight line through them."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.performance.scaling.fits import Line, fit_line

Rounds = Sequence[Mapping[str, Mapping[str, float]]]
"""A round has the figures of each number of cameras, which is a text: it was JSON."""


def points_of(rounds: Rounds, figure: str) -> dict[int, list[float]]:
    """Every round's value by number of cameras."""
    found: dict[int, list[float]] = {}
    for one in rounds:
        for count, figures in one.items():
            found.setdefault(int(count), []).append(figures[figure])
    return dict(sorted(found.items()))


def line_of(rounds: Rounds, figure: str) -> Line:
    """Through the medians.

    Raises:
        ValueError: fewer than two numbers of cameras were measured.
    """
    points = points_of(rounds, figure)
    if len(points) < 2:
        raise ValueError("a line needs two points")
    return fit_line(list(points), [statistics.median(values) for values in points.values()])


def deviation_of(rounds: Rounds, figure: str) -> float:
    """The largest distance from that line, as a share of it.

    Raises:
        ValueError: fewer than three numbers of cameras were measured: two are always on a line.
    """
    if len(points_of(rounds, figure)) < 3:
        raise ValueError("a distance from a line needs three points")
    return line_of(rounds, figure).deviation


def medians_of(rounds: Sequence[Any], figure: str) -> dict[int, float]:
    """By number of cameras."""
    return {count: statistics.median(values) for count, values in points_of(rounds, figure).items()}
