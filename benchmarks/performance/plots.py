"""Draws the curves: SVG files, the same bytes for the same figures."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.performance.scaling.points import Rounds, line_of, points_of

COLOUR, LINE = "#0b6e4f", "#8fb8de"
_STYLE: Any = {
    "svg.hashsalt": "edge-runtime",
    "font.size": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
}
_AXES = {"cores": "cores in use", "pss_mib": "memory, MiB", "p99_ms": "p99 from capture, ms"}
_FITTED = ("cores", "pss_mib")
CURVES = {"many cameras": "cameras", "many models": "models"}


def draw(parts: Mapping[str, Any], folder: Path, stem: str) -> dict[str, Path]:
    """A plot of each curve that was measured, by the name of its part."""
    found: dict[str, Path] = {}
    for name, noun in CURVES.items():
        rounds = parts.get(name, {}).get("rounds")
        if rounds:
            path = folder / f"{stem}-{noun}.svg"
            with mpl.rc_context(_STYLE):
                _figure(rounds, noun).savefig(path, metadata={"Date": None})
            found[name] = path
    return found


def _figure(rounds: Rounds, noun: str) -> Figure:
    figure = Figure(figsize=(8.4, 2.6), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(_AXES)), _AXES.items(), strict=True):
        _curve(axes, rounds, name)
        top = max(max(values) for values in points_of(rounds, name).values())
        axes.set(xlabel=noun, ylabel=label, ylim=(0, 1.15 * top), xlim=(0, None))
        axes.grid(alpha=0.3)
    return figure


def _curve(axes: Axes, rounds: Rounds, name: str) -> None:
    """Medians, the range over the rounds, and the line where one is fitted."""
    points = points_of(rounds, name)
    counts = list(points)
    if name in _FITTED and len(points) > 1:
        line = line_of(rounds, name)
        ends = np.array([0, max(counts)])
        text = f"{line.start:.3g} + {line.slope:.3g} n"
        axes.plot(ends, line.start + line.slope * ends, color=LINE, lw=1.5, label=text, zorder=1)
        axes.legend(frameon=False, loc="upper left")
    middles = [statistics.median(values) for values in points.values()]
    reach = [
        [middle - min(values) for middle, values in zip(middles, points.values(), strict=True)],
        [max(values) - middle for middle, values in zip(middles, points.values(), strict=True)],
    ]
    axes.errorbar(counts, middles, reach, fmt="o", color=COLOUR, ms=4, lw=1, capsize=2, zorder=2)
    axes.set_xticks(counts)
