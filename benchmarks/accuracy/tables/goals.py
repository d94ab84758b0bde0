"""The first table of the accuracy page: the goals and what the records say.

Every goal is one function of the rows; a goal whose cases were not measured is left out. Pure.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from benchmarks.accuracy.drifts.by_name import CAMERA, HEALTHY
from benchmarks.accuracy.records import FASHION_MNIST, GATE, IID, PEDESTRIANS, PHOTO_CUTOUTS, Row
from benchmarks.accuracy.tables.figures import (
    Pooled,
    drifted_only,
    float_gaps,
    gate_figures,
    grouped,
    is_main,
    pooled,
    recovered,
)
from benchmarks.accuracy.tables.markdown import points, table
from benchmarks.goals import goals_of

Measure = Callable[[Sequence[Row]], str | None]

SKEWED = ("class-sorted", "2-class")


def goals(rows: Sequence[Row]) -> str:
    """The table: goal, what was asked for, what was measured."""
    found = [(goal.what, goal.asked, MEASURES[goal.key](rows)) for goal in goals_of("accuracy")]
    return table(["gate on", "goal", "measured"], [line for line in found if line[2] is not None])


def corruption_share(n: int) -> Measure:
    """Fashion-MNIST: the mean of the fifteen corruptions' own shares, and the pooled one, with ``n`` pictures."""

    def measured(rows: Sequence[Row]) -> str | None:
        gated = [
            r
            for r in _gated(rows, FASHION_MNIST)
            if _is_plain(r, n, 3) and not r.case.drift.startswith(CAMERA)
        ]
        if not gated:
            return None
        shares = [recovered(group) for group in grouped(gated, lambda row: row.case.drift).values()]
        return f"{_share(pooled(gated))} pooled, {np.nanmean(shares):.2f} mean over the corruptions"

    return measured


def main_share(track: str) -> Measure:
    """Pooled over the track's camera drifts in its main setting, and the worst of them."""

    def measured(rows: Sequence[Row]) -> str | None:
        found = pooled(r for r in _gated(rows, track) if is_main(r) and r.case.drift.startswith(CAMERA))
        if found is None:
            return None
        worst = f"worst {points(found.worst)} points, {found.harmed} of {found.cases} harmed"
        return f"{_share(found)}; {worst}"

    return measured


def healthy_loss(rows: Sequence[Row]) -> str | None:
    """Mean and worst change of healthy cases, track by track, any stream."""
    still = [row for row in rows if row.method == GATE and row.case.drift == HEALTHY]
    texts = []
    for track, group in grouped(still, lambda row: row.case.track).items():
        changes = [row.after - row.before for row in group]
        mean = points(float(np.mean(changes)))
        texts.append(f"{track}: mean {mean}, worst {points(min(changes))} of {len(group)}")
    return "; ".join(texts) or None


def skewed_loss(rows: Sequence[Row]) -> str | None:
    """Worst change over the drifted cases of the class-skewed streams."""
    found = pooled(r for r in drifted_only(rows) if r.method == GATE and r.case.stream in SKEWED)
    return None if found is None else f"worst {points(found.worst)}, {found.harmed} of {found.cases} harmed"


def skewed_gain(rows: Sequence[Row]) -> str | None:
    """What class-skewed references gain, as a share of what i.i.d. ones of the same cases do, stream by stream."""
    gated = [row for row in drifted_only(rows) if row.method == GATE and not row.case.baseline]
    texts = []
    for stream in SKEWED:
        skewed = {_place(row): row for row in gated if row.case.stream == stream}
        usual = {_place(row): row for row in gated if row.case.stream == IID}
        both = [place for place in skewed if place in usual]
        gain = sum(usual[place].after - usual[place].before for place in both)
        if gain > 0:
            share = sum(skewed[place].after - skewed[place].before for place in both) / gain
            texts.append(f"{stream} {share:.0%}")
    return ", ".join(texts) or None


def gate_harmful(rows: Sequence[Row]) -> str | None:
    """Harmful candidates that were accepted, alone and as the choice."""
    found = gate_figures(rows)
    if found is None or not found.harmful:
        return None
    alone = found.harmful_accepted_alone / found.harmful
    chosen = f"{found.harmful_chosen} chosen"
    return f"{alone:.1%} of {found.harmful} alone, {chosen} ({found.candidates} candidates)"


def gate_helpful(rows: Sequence[Row]) -> str | None:
    """Helpful candidates that were accepted alone, and cases that could be helped and were."""
    found = gate_figures(rows)
    if found is None or not found.helpful:
        return None
    alone = found.helpful_accepted_alone / found.helpful
    helped = f"{found.helped} of {found.cases_with_help} cases that could be helped were"
    return f"{alone:.1%} of {found.helpful} alone; {helped}"


def against_float(rows: Sequence[Row]) -> str | None:
    """The int8 patch of all taps against float re-estimation."""
    gaps = float_gaps(rows)
    if not gaps:
        return None
    spread = f"mean absolute {100 * float(np.mean(np.abs(gaps))):.1f}"
    return f"mean {points(float(np.mean(gaps)))}, {spread}, lowest {points(min(gaps))} ({len(gaps)} cases)"


MEASURES: Mapping[str, Measure] = {
    "corruptions_64": corruption_share(64),
    "corruptions_16": corruption_share(16),
    "photo_cutouts": main_share(PHOTO_CUTOUTS),
    "pedestrians": main_share(PEDESTRIANS),
    "healthy": healthy_loss,
    "skewed_loss": skewed_loss,
    "skewed_gain": skewed_gain,
    "harmful_candidates": gate_harmful,
    "helpful_candidates": gate_helpful,
    "against_float": against_float,
}
"""By the keys of ``goals.yaml``."""


def _gated(rows: Iterable[Row], track: str) -> list[Row]:
    return [row for row in drifted_only(rows) if row.method == GATE and row.case.track == track]


def _is_plain(row: Row, n: int, severity: int) -> bool:
    case = row.case
    return case.stream == IID and case.n == n and case.severity == severity and not case.baseline


def _place(row: Row) -> tuple[str, int, str, int, int]:
    case = row.case
    return case.track, case.seed, case.drift, case.severity, case.n


def _share(found: Pooled | None) -> str:
    assert found is not None
    spread = "" if np.isnan(found.recovered_spread) else f" ± {found.recovered_spread:.2f}"
    return f"{found.recovered:.2f}{spread}"
