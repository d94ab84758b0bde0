"""The report in words: column names, descriptions of candidates, numbers as a person reads them.

Pure. A score without an entry here gets a name made from its key, so that a new score of the gate needs no change.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from calibration.baseline.baseline import Baseline
from calibration.patch import Patch
from calibration.stats.moments import INPUT_TAP

Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ScoreColumn:
    """A column of the table of candidates."""

    key: str
    title: str
    tip: str
    form: str = "number"
    """``share`` is a percentage, ``flag`` yes or no, ``signed`` with its sign."""
    error: str | None = None
    """Key of its standard error."""


COLUMNS = (
    ScoreColumn("accuracy", "Right", "Share of the labelled frames answered right.", "share"),
    ScoreColumn("confidence", "Trust in the right class", "Mean probability of the labelled class.", "share"),
    ScoreColumn("p_value", "p", "Chance of such a gain if it were no better than no patch."),
    ScoreColumn("evidence", "Evidence", "Both scores together: live answers and fidelity.", "signed"),
    ScoreColumn("gain", "Fidelity gain", "How much nearer to the healthy answers than without a patch.", "signed",
                "gain_error"),
    ScoreColumn("sure_gain", "Sure gain", "The gain less its uncertainty: what is left in a bad case.", "signed"),
    ScoreColumn("agreement", "Agreement", "Simulated frames answered as the healthy model did.", "share"),
    ScoreColumn("fidelity", "Fidelity", "Minus the cross-entropy with the healthy answers; more is nearer."),
    ScoreColumn("nuclear_norm", "Nuclear norm", "High when live answers are confident and varied, 0 to 1."),
    ScoreColumn("classes", "Classes in view", "How many classes the live answers are spread over."),
    ScoreColumn("live_objects", "Objects per live frame", "Detections that count, borderline ones in part."),
    ScoreColumn("healthy_objects", "… per healthy frame", "The same in the frames of the healthy site."),
    ScoreColumn("live_outside", "Live answers astray", "How far outside of the healthy range, in healthy spreads."),
    ScoreColumn("resampled_error", "Error if resampled", "In healthy variances, where other samples tell the drift."),
    ScoreColumn("is_plausible", "Plausible", "Whether the live answers are as can be expected.", "flag"),
)  # fmt: skip
_NEARNESS = ScoreColumn(
    "fidelity",
    "Fidelity",
    "Minus the squared error against the healthy answers, in their variances; 0 is best.",
)
_SOFT_F1 = ScoreColumn("fidelity", "Soft F1", "Agreement with the healthy detections, 0 to 1.")


def columns(scores: Iterable[Scores]) -> list[ScoreColumn]:
    """The columns for these scores: known ones in order, then others by name; errors join the column they belong to."""
    keys = {key for one in scores for key in one}
    own = _SOFT_F1 if "live_objects" in keys else _NEARNESS if "live_outside" in keys else None
    known = [own if own is not None and one.key == "fidelity" else one for one in COLUMNS]
    found = [one for one in known if one.key in keys]
    taken = {one.key for one in found} | {one.error for one in found}
    others = sorted(keys - taken)
    return found + [ScoreColumn(key, key.replace("_", " ").capitalize(), "") for key in others]


def format_score(value: float | None, column: ScoreColumn) -> str:
    """One score; a dash for what is not a number."""
    if value is None or not math.isfinite(value):
        return "–"
    match column.form:
        case "share":
            return f"{value:.0%}"
        case "flag":
            return "yes" if value else "no"
        case "signed":
            return f"{value:+.3f}"
        case _:
            return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def correction_in_words(patch: Patch, taps: int) -> str:
    """What a patch does to a model of ``taps`` layers that can be corrected."""
    layers = sum(tap != INPUT_TAP for tap in patch.taps)
    parts = ["the input"] if INPUT_TAP in patch.taps else []
    if layers:
        parts.append(f"{layers} of {taps} layers" if layers < taps else f"all {taps} layers")
    return f"corrects {' and '.join(parts) or 'nothing'} ({plural(patch.channels, 'channel')})"


def baseline_in_words(baseline: Baseline, now_wall_s: float | None) -> str:
    """A baseline's name, age and worth."""
    parts = [f"{baseline.name} ({baseline.id})", f"recorded {moment(baseline.created_wall_s)}"]
    if now_wall_s is not None and now_wall_s > baseline.created_wall_s:
        parts.append(f"{age(now_wall_s - baseline.created_wall_s)} before")
    parts.append(f"{plural(baseline.count, 'frame')}, worth {baseline.effective_count:.0f} independent ones")
    kept = 0 if baseline.healthy_samples is None else len(baseline.healthy_samples)
    parts.append(f"{kept} healthy samples kept to judge by" if kept else "no healthy sample kept")
    return ", ".join(parts)


def moment(wall_s: float) -> str:
    """Unix seconds as a date and time in UTC; a clock that is out of range is said to be so."""
    try:
        return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"


def age(seconds: float) -> str:
    """A span of time in its largest fitting unit."""
    for unit, length_s in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 2 * length_s:
            return plural(round(seconds / length_s), unit)
    return plural(round(seconds), "second")


def plural(count: int, noun: str) -> str:
    """``1 frame``, ``2 frames``, ``21,008 channels``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
