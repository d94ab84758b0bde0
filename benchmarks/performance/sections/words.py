"""Figures in words: tables of Markdown, medians and ranges."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from benchmarks.performance.bare_runs import WEAK_CAPACITY

Parts = Mapping[str, Any]
"""What was stored of each part, by its name."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values: Sequence[float | None]) -> str:
    """Median and range of those that are known."""
    known = [value for value in values if value is not None]
    if not known:
        return "not measured"
    middle = short(statistics.median(known))
    return middle if len(known) == 1 else f"{middle} ({short(min(known))} to {short(max(known))})"


def middle(values: Sequence[float | None]) -> str:
    """The median alone; empty where nothing is known."""
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.1f}" if known else ""


def short(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def capacity(values: Sequence[float]) -> str:
    """How much of its second core the box gave in each round."""
    weak = [str(number + 1) for number, value in enumerate(values) if value < WEAK_CAPACITY]
    mark = f" **Below {WEAK_CAPACITY} in round {', '.join(weak)}: no two whole cores then.**" if weak else ""
    listed = ", ".join(f"{value:.2f}" for value in values)
    return f"Two bare callers gave {listed} times the frames of one, round by round.{mark}"


def rounds_of(parts: Parts, name: str) -> Sequence[Mapping[str, Any]]:
    """Those of a part; none where it was not measured, or cannot be here."""
    found: Sequence[Mapping[str, Any]] = parts.get(name, {}).get("rounds", ())
    return found


def unavailable(parts: Parts, name: str) -> str | None:
    """Why this part cannot be measured here; None where it was."""
    reason: str | None = parts[name].get("unavailable")
    return None if reason is None else f"Not measured: {reason}."


def median_of(rounds: Sequence[Any], *path: str) -> float:
    """Over the rounds, of the figure that the keys lead to.

    Raises:
        StatisticsError, KeyError: there are none, or they lack the figure.
    """
    return statistics.median(float(reduce(getitem, path, one)) for one in rounds)
