"""One recalibration as a page for people: a single HTML file without scripts or outside parts, readable for ever.

``page`` is a pure function from verdict, baseline and material to text; the material decides whether thumbnails are
in it. Every text is escaped by the template engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np

from calibration.baseline.baseline import Baseline
from calibration.patch import SCALE_LIMITS, Affine, clipped_channels, spread
from calibration.report import charts, formatting
from calibration.report.data import Material
from calibration.report.template import render
from calibration.search.candidates import UNPATCHED
from calibration.stats.moments import INPUT_TAP, TapMoments
from calibration.verdict import Verdict

MOST_ROWS = 400
"""Rows of a table; the JSON report has all layers of a larger model."""
FEW_TAPS = 3
"""A table shows so few better than a chart."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and why it happened, as far as the caller knows."""

    title: str = "Recalibration"
    """A model, a device."""
    at_wall_s: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    """Further lines, e.g. what it was begun by."""
    further: Sequence[tuple[str, str]] = ()
    """What a person may want to do next, and the command for it."""


def page(verdict: Verdict, baseline: Baseline, material: Material, setting: Setting) -> str:
    """The page, complete; well below 400 KB with thumbnails.

    Args:
        verdict: What was decided.
        baseline: The healthy site it was decided against.
        material: Drift at every layer, thumbnails; an empty one shows what the verdict alone holds.
        setting: Where and why.
    """
    taps = {} if verdict.patch is None else verdict.patch.taps
    headline = "Refused: the model stays as it is."
    if verdict.patch is not None:
        words = formatting.correction_in_words(verdict.patch, len(baseline.moments) - 1)
        headline = f"A correction was accepted: it {words}."
    return render(
        files("calibration.report").joinpath("page.html.jinja").read_text(encoding="utf-8"),
        title=setting.title,
        outcome="accepted" if verdict.accepted else "refused",
        is_good=verdict.accepted,
        headline=headline,
        reasons=verdict.reasons,
        notes=verdict.notes,
        verdict=verdict,
        setting=setting,
        material=material,
        figures=_figures(verdict, baseline, setting),
        layers=_layers(verdict, material),
        candidates=_candidates(verdict),
        taps=[_tap_row(tap, part, baseline.moments[tap]) for tap, part in taps.items()],
        scale_chart=_scale_chart(taps) if len(taps) > FEW_TAPS else None,
        limits=[f"{limit:g}" for limit in SCALE_LIMITS],
        most_rows=MOST_ROWS,
        few_taps=FEW_TAPS,
    )


def _figures(verdict: Verdict, baseline: Baseline, setting: Setting) -> list[tuple[str, str]]:
    counts, patch = verdict.frames, verdict.patch
    left_out = ", ".join(f"{count} {reason}" for reason, count in counts.left_out.items() if count)
    rows = [("When", formatting.moment(setting.at_wall_s))] if setting.at_wall_s is not None else []
    rows += list(setting.facts.items())
    rows += [
        ("Frames given", f"{counts.given}" + (f", left out: {left_out}" if left_out else "")),
        ("Frames used", f"{counts.observed} to measure, {counts.judged} to judge on"),
        (
            "Healthy samples used",
            f"{counts.healthy_samples} to judge on, {counts.distilled_from} to distil from",
        ),
        ("Baseline", formatting.baseline_in_words(baseline, setting.at_wall_s)),
        ("Model", f"sha256 {verdict.model_sha256[:16]}…"),
        ("Cost", f"{verdict.seconds:.1f} s, {verdict.extra_memory_mb:.0f} MB of memory"),
    ]
    if patch is not None:
        rows.append(("Patch", f"{patch.id}, {len(patch.to_bytes()) / 1024:.1f} KiB"))
        untouched = formatting.plural(verdict.channels_left_alone, "channel")
        rows.append(("Left alone", f"{untouched} that cannot take a correction"))
    return rows


def _layers(verdict: Verdict, material: Material) -> dict[str, Any]:
    """Drift per layer: measured at all of them, else what the verdict knows of the first ones."""
    seen = material.layers
    before = verdict.drift if seen is None else seen.before
    after, healthy = (None, None) if seen is None else (seen.after, seen.healthy)
    parts = (before, after or {}, healthy or {})
    rows = [(tap, *(_short(part.get(tap)) for part in parts)) for tap in before]
    return {
        "chart": charts.layer_chart(before, after, healthy),
        "rows": rows,
        "has_after": after is not None,
        "has_healthy": healthy is not None,
        "frames": None if seen is None else seen.frames,
        "first": rows[0][0] if rows else "",
        "last": rows[-1][0] if len(rows) > 1 else "",
    }


def _candidates(verdict: Verdict) -> dict[str, Any]:
    """The table of candidates, best first, identity last."""
    columns = formatting.columns(verdict.scores.values())
    if not columns:
        return {"columns": [], "rows": [], "ruling": None}
    ruling = next((column for column in columns if column.error is not None), columns[0])  # drawn as bars

    def worth(name: str) -> tuple[bool, bool, float]:
        value = verdict.scores[name].get(columns[0].key, float("nan"))
        return name != UNPATCHED, name == verdict.candidate, value if np.isfinite(value) else -np.inf

    names = sorted(verdict.scores, key=worth, reverse=True)
    values = [verdict.scores[name].get(ruling.key) for name in names]
    errors = [verdict.scores[name].get(ruling.error or "") for name in names]
    rows = [
        {
            "name": "no patch" if name == UNPATCHED else name,
            "is_chosen": verdict.accepted and name == verdict.candidate,
            "cells": [_cell(verdict.scores[name], column) for column in columns],
            "bar": bar,
        }
        for name, bar in zip(names, charts.bars(values, errors), strict=True)
    ]
    return {"columns": columns, "rows": rows, "ruling": ruling}


def _cell(scores: Mapping[str, float], column: formatting.ScoreColumn) -> str:
    text, error = formatting.format_score(scores.get(column.key), column), scores.get(column.error or "")
    return text if error is None or not np.isfinite(error) else f"{text} ± {error:.3f}"


def _tap_row(tap: str, affine: Affine, usual: TapMoments) -> dict[str, Any]:
    """Least, median and largest factor, and the median shift of the mean in the tap's healthy standard deviations."""
    scale = affine.scale.astype(np.float64)
    moved = np.abs((scale - 1) * usual.mean + affine.offset) / spread(usual.var, usual.var)
    return {
        "name": "the input itself" if tap == INPUT_TAP else tap,
        "channels": scale.size,
        "scales": [f"{value:.2f}" for value in np.quantile(scale, (0.0, 0.5, 1.0))],
        "shift": f"{float(np.median(moved)):.2f}",
        "clipped": clipped_channels({tap: affine}),
    }


def _scale_chart(taps: Mapping[str, Affine]) -> charts.Chart | None:
    spans = {}
    for tap, affine in taps.items():
        low, middle, high = np.quantile(affine.scale.astype(np.float64), (0.1, 0.5, 0.9)).tolist()
        spans[tap] = low, middle, high
    return charts.span_chart(spans, SCALE_LIMITS)


def _short(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.3g}"
