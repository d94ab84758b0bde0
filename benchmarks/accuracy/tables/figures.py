"""Pools rows into the figures that the pages show. Pure; no table, no plot."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from benchmarks.accuracy.drifts.by_name import CAMERA, HEALTHY
from benchmarks.accuracy.records import (
    CANDIDATE,
    FASHION_MNIST,
    GATE,
    IID,
    NOTHING,
    PEDESTRIANS,
    PHOTO_CUTOUTS,
    Case,
    Row,
)

POINT = 0.01
"""One point of accuracy or F1."""
MAIN_N = {FASHION_MNIST: 64, PHOTO_CUTOUTS: 128, PEDESTRIANS: 64}
"""Reference pictures in the main setting, by track."""
MAIN_SEVERITY, MAIN_CAMERA_SEVERITY = 3, 5

Key = TypeVar("Key", bound=Hashable)
One = TypeVar("One")


@dataclass(frozen=True, slots=True)
class Pooled:
    """Several cases of one method together."""

    cases: int
    before: float
    after: float
    recovered: float
    """Sum of what came back over the sum of what was lost; nan when nothing was lost."""
    recovered_spread: float
    """Standard deviation of the same figure over the seeds; nan for one seed."""
    worst: float
    """Smallest change of a single case."""
    worst_case: str
    harmed: int
    """Cases that lost more than a point."""
    seconds: float
    """Median."""


@dataclass(frozen=True, slots=True)
class GateFigures:
    """The gate against what was true of every candidate."""

    cases: int
    candidates: int
    helpful: int
    """Better than doing nothing by more than a point."""
    harmful: int
    """Worse than doing nothing by more than a point."""
    helpful_accepted_alone: int
    harmful_accepted_alone: int
    """Would be accepted if they were the only candidate."""
    harmful_chosen: int
    cases_with_help: int
    """Cases with at least one helpful candidate."""
    helped: int
    """Of those, how many ended with a helpful one."""
    possible: float
    """Recovered share if the best candidate were taken every time."""
    recovered: float
    """By what was chosen, in the same cases."""


def pooled(rows: Iterable[Row]) -> Pooled | None:
    """The rows of one method together; None without any."""
    found = list(rows)
    if not found:
        return None
    worst = min(found, key=lambda row: row.after - row.before)
    shares = [recovered(of_seed) for of_seed in grouped(found, lambda row: row.case.seed).values()]
    return Pooled(
        cases=len(found),
        before=float(np.mean([row.before for row in found])),
        after=float(np.mean([row.after for row in found])),
        recovered=recovered(found),
        recovered_spread=float(np.std(shares, ddof=1)) if len(shares) > 1 else float("nan"),
        worst=worst.after - worst.before,
        worst_case=describe(worst),
        harmed=sum(is_harm(row) for row in found),
        seconds=float(np.median([row.seconds for row in found])),
    )


def recovered(rows: Iterable[Row]) -> float:
    """Pooled share of the loss that came back; nan when nothing was lost. Other cases count what changed."""
    found = list(rows)
    lost = sum(row.healthy - row.before for row in found)
    return sum(row.after - row.before for row in found) / lost if lost > 0 else float("nan")


def is_harm(row: Row) -> bool:
    """Worse than doing nothing by more than a point."""
    return row.after - row.before < -POINT


def is_help(row: Row) -> bool:
    """Better than doing nothing by more than a point."""
    return row.after - row.before > POINT


def describe(row: Row) -> str:
    """The case in words, for a table."""
    case = row.case
    stream = "" if case.stream == "iid" else f", {case.stream}"
    severity = f" severity {case.severity}" if case.severity else ""
    return f"{case.drift}{severity}, n {case.n}{stream}, seed {case.seed}: {row.chosen}"


def grouped(rows: Iterable[One], key: Callable[[One], Key]) -> dict[Key, list[One]]:
    """The rows by a key, in the order met."""
    found: dict[Key, list[One]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return dict(found)


def drifted_only(rows: Iterable[Row]) -> list[Row]:
    """Without the healthy cases."""
    return [row for row in rows if row.case.drift != HEALTHY]


def is_main(row: Row) -> bool:
    """In the setting of the main tables: i.i.d., the track's own n, and its drifts.

    Those of Fashion-MNIST are the corruptions at severity 3, those of the others the camera drifts at 5.
    """
    case = row.case
    is_small = case.track == FASHION_MNIST
    severity = MAIN_SEVERITY if is_small else MAIN_CAMERA_SEVERITY
    is_usual = case.stream == IID and case.n == MAIN_N[case.track] and not case.baseline
    is_own = case.drift != HEALTHY and case.drift.startswith(CAMERA) != is_small
    return is_usual and is_own and case.severity == severity


def of_several_sizes(rows: Iterable[Row]) -> list[Row]:
    """The i.i.d. rows whose drift, severity and seed were tried with more than one reference size; smallest first."""
    usual = [row for row in drifted_only(rows) if row.case.stream == IID and not row.case.baseline]
    together = grouped(usual, lambda row: (row.case.drift, row.case.severity, row.case.seed))
    sized = [group for group in together.values() if len({row.case.n for row in group}) > 1]
    return sorted((row for group in sized for row in group), key=lambda row: row.case.n)


def best_candidates(rows: Sequence[Row]) -> list[Row]:
    """Per case with known candidates, the best of them by the test labels, doing nothing among them."""
    by_case = grouped((row for row in rows if row.method in (CANDIDATE, NOTHING)), lambda row: row.case)
    return [max(group, key=lambda row: row.after) for group in by_case.values() if len(group) > 1]


def gate_figures(rows: Sequence[Row]) -> GateFigures | None:
    """The gate's record over all cases with known candidates; None without any."""
    candidates = [row for row in rows if row.method == CANDIDATE]
    if not candidates:
        return None
    by_case: Mapping[Case, list[Row]] = grouped(candidates, lambda row: row.case)
    gated = {row.case: row for row in rows if row.method == GATE and row.case in by_case}
    with_help = [case for case, group in by_case.items() if any(map(is_help, group))]
    helpful, harmful = ([row for row in candidates if judge(row)] for judge in (is_help, is_harm))
    return GateFigures(
        cases=len(by_case),
        candidates=len(candidates),
        helpful=len(helpful),
        harmful=len(harmful),
        helpful_accepted_alone=sum(_alone(row) for row in helpful),
        harmful_accepted_alone=sum(_alone(row) for row in harmful),
        harmful_chosen=sum(row.accepted for row in harmful),
        cases_with_help=len(with_help),
        helped=sum(is_help(gated[case]) for case in with_help if case in gated),
        possible=recovered(best_candidates(drifted_only([r for r in rows if r.case in by_case]))),
        recovered=recovered(drifted_only(gated.values())),
    )


def float_gaps(rows: Iterable[Row]) -> list[float]:
    """Per drifted case, int8 patched at all taps minus the float model re-estimated from the same pictures."""
    gaps: list[float] = []
    for group in grouped(drifted_only(rows), lambda row: row.case).values():
        after = {row.method: row.after for row in group}
        if {"all taps, prior 0", "float, fvcore"} <= after.keys():
            gaps.append(after["all taps, prior 0"] - after["float, fvcore"])
    return gaps


def gains(rows: Iterable[Row], one: str, other: str) -> tuple[list[float], list[float]]:
    """What two methods changed in the drifted cases that both were measured in, each against its own model."""
    found: tuple[list[float], list[float]] = ([], [])
    for group in grouped(drifted_only(rows), lambda row: row.case).values():
        change = {row.method: row.after - row.before for row in group if row.method in (one, other)}
        if len(change) == 2:
            found[0].append(change[one])
            found[1].append(change[other])
    return found


def _alone(row: Row) -> bool:
    return bool(row.detail.get("accepted_alone", 0.0))
