"""The goals of the recalibration and what the records say about them.

Every goal is one function of the rows, by its key in ``goals.yaml``; a goal whose cases were not measured is left out.
Pure.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy.drifts.by_name import CAMERA, HEALTHY
from benchmarks.accuracy.drifts.streams import CLASS_SORTED, TWO_CLASS
from benchmarks.accuracy.poison_records import PoisonRow
from benchmarks.accuracy.records import (
    FASHION_MNIST,
    GATE,
    IID,
    PEDESTRIANS,
    PHOTO_CUTOUTS,
    TENT,
    TENT_LONG,
    TENT_STILL,
    Row,
)
from benchmarks.accuracy.tables.figures import (
    Pooled,
    drifted_only,
    float_gaps,
    gains,
    gate_figures,
    grouped,
    is_main,
    pooled,
    recovered,
)
from benchmarks.accuracy.tables.markdown import points, table
from benchmarks.goals import goals_of

SKEWED = (CLASS_SORTED, TWO_CLASS)


@dataclass(frozen=True, slots=True)
class Figure:
    """What the records say about one goal."""

    value: float
    """Compared with the goal's limits."""
    text: str


Measure = Callable[[Sequence[Row]], Figure | None]


def goals(rows: Sequence[Row], poisoned: Sequence[PoisonRow] = ()) -> str:
    """The table: goal, what was asked for, what was measured, and whether that is enough."""
    lines = []
    for goal in goals_of("accuracy"):
        measure, track = MEASURES.get(goal.key), POISON.get(goal.key)
        found = measure(rows) if measure else poison_count(poisoned, track or "")
        if found is not None:
            met = "met" if goal.is_met(found.value) else "**missed**"
            lines.append([goal.what, goal.asked, found.text, met])
    return table(["gate on", "goal", "measured", ""], lines)


def camera_share(track: str) -> Measure:
    """Pooled over the track's camera drifts in its main setting."""

    def measured(rows: Sequence[Row]) -> Figure | None:
        return _pooled_share(_main_camera(rows, track))

    return measured


def camera_harm(track: str) -> Measure:
    """Cases of the same that ended more than a point below doing nothing."""

    def measured(rows: Sequence[Row]) -> Figure | None:
        return _harm(_main_camera(rows, track))

    return measured


def corruption_share(n: int) -> Measure:
    """Fashion-MNIST: the fifteen corruptions pooled, with ``n`` pictures."""

    def measured(rows: Sequence[Row]) -> Figure | None:
        return _pooled_share(_corruptions(rows, n))

    return measured


def single_shares(rows: Sequence[Row]) -> Figure | None:
    """Fashion-MNIST: the mean of the fifteen corruptions' own shares."""
    groups = grouped(_corruptions(rows, 64), lambda row: row.case.drift).values()
    if not groups:
        return None
    mean = float(np.nanmean([recovered(group) for group in groups]))
    return Figure(mean, f"{mean:.2f} over {len(groups)}")


def against_tent(track: str) -> Measure:
    """What the gate gains on the int8 file over what TENT gains on its float net, in the same cases.

    Of several ways to run TENT the one that gains most counts. Where TENT loses, any gain is enough.
    """

    def measured(rows: Sequence[Row]) -> Figure | None:
        ratios, texts = [], []
        for method in (TENT, TENT_LONG, TENT_STILL):
            ours, theirs = gains([r for r in rows if r.case.track == track and is_main(r)], GATE, method)
            if not ours:
                continue
            both = f"{points(np.mean(ours))} points against {points(np.mean(theirs))} ({len(ours)} cases)"
            ratio = sum(ours) / sum(theirs) if sum(theirs) > 0 else np.copysign(np.inf, sum(ours))
            ratios.append(float(ratio))
            share = f"{ratio:.0%}: " if np.isfinite(ratio) else ""
            texts.append(f"{method.removeprefix('float, ')} {share}{both}")
        return Figure(min(ratios), "; ".join(texts)) if ratios else None

    return measured


def healthy_loss(rows: Sequence[Row]) -> Figure | None:
    """Mean and worst change of healthy cases, track by track, any stream; the worst mean counts, in points."""
    still = [row for row in rows if row.method == GATE and row.case.drift == HEALTHY]
    texts, means = [], []
    for track, group in grouped(still, lambda row: row.case.track).items():
        changes = [row.after - row.before for row in group]
        means.append(float(np.mean(changes)))
        texts.append(f"{track}: mean {points(means[-1])}, worst {points(min(changes))} of {len(group)}")
    return Figure(100 * max(-mean for mean in means), "; ".join(texts)) if texts else None


def skewed_harm(rows: Sequence[Row]) -> Figure | None:
    """Cases of the class-skewed streams that ended more than a point below doing nothing."""
    return _harm([r for r in drifted_only(rows) if r.method == GATE and r.case.stream in SKEWED])


def skewed_gain(stream: str) -> Measure:
    """What references of this stream gain, as a share of what i.i.d. ones of the same cases do; the lowest track."""

    def measured(rows: Sequence[Row]) -> Figure | None:
        gated = [row for row in drifted_only(rows) if row.method == GATE and not row.case.baseline]
        shares = {}
        for track, group in grouped(gated, lambda row: row.case.track).items():
            skewed = {_place(row): row for row in group if row.case.stream == stream}
            usual = {_place(row): row for row in group if row.case.stream == IID}
            both = [place for place in skewed if place in usual]
            gain = sum(usual[place].after - usual[place].before for place in both)
            if gain > 0:
                shares[track] = sum(skewed[place].after - skewed[place].before for place in both) / gain
        text = ", ".join(f"{track} {share:.0%}" for track, share in shares.items())
        return Figure(min(shares.values()), text) if shares else None

    return measured


def gate_harmful(rows: Sequence[Row]) -> Figure | None:
    """Share of the harmful candidates that would be accepted alone, and how many were chosen."""
    found = gate_figures(rows)
    if found is None or not found.harmful:
        return None
    alone = found.harmful_accepted_alone / found.harmful
    chosen = f"{found.harmful_chosen} chosen"
    return Figure(alone, f"{alone:.1%} of {found.harmful} alone, {chosen} ({found.candidates} candidates)")


def gate_helpful(rows: Sequence[Row]) -> Figure | None:
    """Share of the helpful candidates that were accepted alone, and cases that could be helped and were."""
    found = gate_figures(rows)
    if found is None or not found.helpful:
        return None
    alone = found.helpful_accepted_alone / found.helpful
    helped = f"{found.helped} of {found.cases_with_help} cases that could be helped were"
    return Figure(alone, f"{alone:.1%} of {found.helpful} alone; {helped}")


def poison_count(rows: Sequence[PoisonRow], track: str) -> Figure | None:
    """Poisoned references of a track that led to a harmful patch."""
    found = [row for row in rows if row.track == track]
    harmful = sum(row.is_harmful for row in found)
    accepted = sum(row.is_accepted for row in found)
    return Figure(harmful, f"{harmful} of {len(found)} ({accepted} patches accepted)") if found else None


def against_float(rows: Sequence[Row]) -> Figure | None:
    """The int8 patch of all taps against float re-estimation: the mean difference, in points."""
    gaps = float_gaps(row for row in rows if row.case.track == FASHION_MNIST)
    if not gaps:
        return None
    spread = f"mean absolute {100 * float(np.mean(np.abs(gaps))):.1f}"
    mean = float(np.mean(gaps))
    return Figure(
        abs(100 * mean), f"mean {points(mean)}, {spread}, lowest {points(min(gaps))} ({len(gaps)} cases)"
    )


MEASURES: Mapping[str, Measure] = {
    "photo_cutouts": camera_share(PHOTO_CUTOUTS),
    "photo_cutouts_harmed": camera_harm(PHOTO_CUTOUTS),
    "corruptions_64": corruption_share(64),
    "corruptions_16": corruption_share(16),
    "single_shares": single_shares,
    "pedestrians": camera_share(PEDESTRIANS),
    "pedestrians_harmed": camera_harm(PEDESTRIANS),
    "tent_photo_cutouts": against_tent(PHOTO_CUTOUTS),
    "tent_fashion_mnist": against_tent(FASHION_MNIST),
    "healthy": healthy_loss,
    "skewed_harmed": skewed_harm,
    "class_sorted_gain": skewed_gain(CLASS_SORTED),
    "two_class_gain": skewed_gain(TWO_CLASS),
    "helpful_candidates": gate_helpful,
    "harmful_candidates": gate_harmful,
    "against_float": against_float,
}
"""By the keys of ``goals.yaml``."""
POISON = {"poison_photo_cutouts": PHOTO_CUTOUTS, "poison_fashion_mnist": FASHION_MNIST}
"""The keys that count poisoned references, and their track."""


def _gated(rows: Iterable[Row], track: str) -> list[Row]:
    return [row for row in drifted_only(rows) if row.method == GATE and row.case.track == track]


def _main_camera(rows: Iterable[Row], track: str) -> list[Row]:
    return [r for r in _gated(rows, track) if is_main(r) and r.case.drift.startswith(CAMERA)]


def _corruptions(rows: Iterable[Row], n: int) -> list[Row]:
    gated = _gated(rows, FASHION_MNIST)
    return [r for r in gated if _is_plain(r, n, 3) and not r.case.drift.startswith(CAMERA)]


def _is_plain(row: Row, n: int, severity: int) -> bool:
    case = row.case
    return case.stream == IID and case.n == n and case.severity == severity and not case.baseline


def _place(row: Row) -> tuple[str, int, str, int, int]:
    case = row.case
    return case.track, case.seed, case.drift, case.severity, case.n


def _pooled_share(rows: Sequence[Row]) -> Figure | None:
    found = pooled(rows)
    if found is None:
        return None
    return Figure(found.recovered, f"{_share(found)} ({found.cases} cases)")


def _harm(rows: Sequence[Row]) -> Figure | None:
    found = pooled(rows)
    if found is None:
        return None
    return Figure(found.harmed, f"{found.harmed} of {found.cases}; worst {points(found.worst)} points")


def _share(found: Pooled) -> str:
    spread = "" if np.isnan(found.recovered_spread) else f" ± {found.recovered_spread:.2f}"
    return f"{found.recovered:.2f}{spread}"
