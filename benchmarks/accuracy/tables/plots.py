"""Draws the records: SVG files, the same bytes for the same rows."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from benchmarks.accuracy.records import CANDIDATE, GATE, MOMENTS, NOTHING, TENT, Row
from benchmarks.accuracy.tables.figures import best_candidates, grouped, is_main, of_several_sizes, recovered

COLOURS = {
    GATE: "#0b6e4f",
    MOMENTS: "#5c80bc",
    "all taps, prior 0": "#d1495b",
    "all taps, prior 0.3": "#edae49",
    "bias alone": "#8d6a9f",
    "input": "#8fb8de",
    TENT: "#c17c00",
    "float, fvcore": "#333333",
    "float, torch update_bn": "#999999",
}
NAMES = {GATE: "gate on", MOMENTS: "gate on, moments alone"}
"""How a method is called in a legend, where that is not its own name."""


def draw(rows: Sequence[Row], title: str, folder: Path, stem: str) -> dict[str, Path]:
    """Every plot that the rows of one track give, by what it shows."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = {"drifts": _drifts, "sizes": _sizes, "candidates": _candidates}
    found: dict[str, Path] = {}
    with mpl.rc_context({"svg.hashsalt": "edge-runtime", "font.size": 9, "axes.spines.right": False,
                         "axes.spines.top": False}):  # fmt: skip
        for name, plot in plots.items():
            figure = plot(rows, title)
            if figure is None:
                continue
            path = folder / f"{stem}-{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            found[name] = path
    return found


def _drifts(rows: Sequence[Row], title: str) -> Figure | None:
    """Per drift, from before to after, with moments alone, the healthy score and the best candidate."""
    main = [row for row in rows if is_main(row)]
    drifts = list(grouped(main, lambda row: row.case.drift))
    if not drifts:
        return None
    figure, axes = _canvas(7.2, 0.24 * len(drifts) + 1.2)
    best = best_candidates(main)
    for place, drift in enumerate(reversed(drifts)):
        here = [row for row in main if row.case.drift == drift]
        before, moments, after = (_mean(here, method) for method in (NOTHING, MOMENTS, GATE))
        healthy = np.mean([row.healthy for row in here if row.method == NOTHING])
        possible = [row.after for row in best if row.case.drift == drift]
        axes.plot([before, after], [place, place], color=COLOURS[GATE], lw=3, alpha=0.5, zorder=1)
        axes.scatter(before, place, color="#d1495b", s=22, zorder=3)
        axes.scatter(moments, place, color=COLOURS[MOMENTS], s=22, zorder=3)
        axes.scatter(after, place, color=COLOURS[GATE], s=30, zorder=4)
        axes.scatter(healthy, place, marker="|", color="#333333", s=60)
        if possible:
            axes.scatter(np.mean(possible), place, marker="D", facecolor="none", edgecolor="#333333", s=30)
    for label, marker, colour in (
        ("nothing done", "o", "#d1495b"),
        ("moments alone", "o", COLOURS[MOMENTS]),
        ("gate on", "o", COLOURS[GATE]),
        ("healthy", "|", "#333333"),
        ("best candidate", "D", "#aaaaaa"),
    ):
        axes.scatter([], [], marker=marker, color=colour, s=30, label=label)
    axes.set_yticks(range(len(drifts)), list(reversed(drifts)))
    axes.set(title=title, xlim=(0, 1.02), ylim=(-0.8, len(drifts) - 0.2))
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return figure


def _sizes(rows: Sequence[Row], title: str) -> Figure | None:
    """Recovered share by the number of reference pictures."""
    by_size = grouped(of_several_sizes(rows), lambda row: row.case.n)
    if len(by_size) < 2:
        return None
    figure, axes = _canvas(6.4, 3.4)
    for method in ("float, fvcore", "all taps, prior 0", MOMENTS, GATE):
        here = {n: [r for r in group if r.method == method] for n, group in sorted(by_size.items())}
        here = {n: group for n, group in here.items() if group}
        if len(here) < 2:
            continue
        shares = [recovered(group) for group in here.values()]
        axes.plot(list(here), shares, marker="o", color=COLOURS[method], label=NAMES.get(method, method))
        spread = [
            [recovered(g) for g in grouped(group, lambda r: r.case.seed).values()] for group in here.values()
        ]
        axes.fill_between(list(here), [min(s) for s in spread], [max(s) for s in spread],
                          color=COLOURS[method], alpha=0.12, lw=0)  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(by_size), [str(n) for n in sorted(by_size)])
    axes.set(title=title, xlabel="reference pictures", ylabel="share of the loss recovered")
    axes.axhline(0, color="#333333", lw=0.8)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _candidates(rows: Sequence[Row], title: str) -> Figure | None:
    """What accepted and refused candidates would truly have changed."""
    found = [row for row in rows if row.method == CANDIDATE]
    if not found:
        return None
    figure, axes = _canvas(6.4, 3.2)
    changes = {
        accepted: [
            100 * (row.after - row.before) for row in found if bool(row.detail["accepted_alone"]) == accepted
        ]
        for accepted in (False, True)
    }
    edges = np.arange(-60, 85, 2.5).tolist()
    for accepted, label, colour in ((False, "refused", "#bbbbbb"), (True, "accepted", COLOURS[GATE])):
        axes.hist(
            np.clip(changes[accepted], -60, 80), edges, color=colour, alpha=0.75, label=f"{label} alone"
        )
    axes.axvline(0, color="#333333", lw=0.8)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set(title=title, xlabel="true change, points", ylabel="candidates")
    axes.legend(frameon=False)
    return figure


def _mean(rows: Sequence[Row], method: str) -> float:
    values = [row.after for row in rows if row.method == method]
    return float(np.mean(values)) if values else float("nan")


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()
