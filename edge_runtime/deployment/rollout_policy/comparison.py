"""How much the candidate differs from the active version, with confidence intervals: the answer of an A/B test.

It shows, and decides nothing: that is the verdict's. Each interval holds for itself at 95 %, for frames that are
independent of each other; of a camera that sees one scene for long they are not, and the true interval is wider.

- On the same frames (shadow) the arms are compared frame by frame, which needs far fewer of them. In canary each arm
  has frames of its own.
- How often answers change is not compared: the arms see other gaps between their frames.
- A watch has no second arm, and a canary of whole cameras has other scenes: nothing is compared there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edge_runtime.deployment.rollout_policy.figures import CONFIDENT, SHOWN_LABELS, ArmSummary
from edge_runtime.deployment.rollout_policy.intervals import (
    Interval,
    difference_interval,
    frames_needed,
    mean_difference_interval,
    mean_frames_needed,
    paired_difference_interval,
    paired_mean_interval,
)
from edge_runtime.deployment.rollout_policy.pairs import SHOWN_LABELS as COMPARED_LABELS
from edge_runtime.deployment.rollout_policy.pairs import PairCounts, PairSummary
from edge_runtime.deployment.rollout_policy.plan import Stage

ComparedFigure = Literal["confidence", "confident_share", "label_share"]
MOST_FRAMES_NEEDED = 10_000_000
"""A difference that needs more frames to be told from none is none in practice."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of the candidate minus that of the active version, with its 95 % interval; -1..1."""

    name: ComparedFigure
    """The figure."""
    label: str | None
    """Of a ``label_share``."""
    is_paired: bool
    """On the same frames."""
    difference: float
    """Of the candidate, minus that of the active version."""
    low: float
    """Lower end of the interval."""
    high: float
    """Its upper end."""
    frames: int
    """Of the candidate."""
    active_frames: int
    """Of the active version."""
    frames_needed: int | None
    """Frames of each arm after which a true difference of this size is told from none in 80 of 100 trials; None: it is
    told already, or it is nothing."""
    text: str
    """For people."""


def compare(
    stage: Stage,
    candidate: ArmSummary,
    active: ArmSummary,
    pairs: PairSummary,
    *,
    are_scenes_alike: bool = True,
) -> tuple[Comparison, ...]:
    """All that can be compared in this stage; nothing where both arms do not see the like.

    Args:
        stage: SHADOW compares the same frames, CANARY those of each arm.
        candidate: Since the stage began.
        active: Since the stage began.
        pairs: Frames that both answered since the stage began.
        are_scenes_alike: False in a canary of whole cameras.
    """
    if stage is Stage.SHADOW:
        return tuple(_compare_pairs(pairs))
    if stage is Stage.CANARY and are_scenes_alike:
        return tuple(_compare_arms(candidate, active))
    return ()


def _compare_pairs(pairs: PairSummary) -> Iterator[Comparison]:
    count = pairs.confidences
    if count:
        total, squares = pairs.confidence_difference, pairs.confidence_difference_squares
        found = paired_mean_interval(total, squares, count)
        variance = max(squares / count - found.estimate**2, 0.0)
        yield _make(
            "confidence",
            None,
            found,
            (count, count),
            mean_frames_needed(variance, found.estimate),
            is_paired=True,
        )
        yield _compare_counts("confident_share", None, pairs.confident)
    for label, counts in pairs.labels:
        yield _compare_counts("label_share", label, counts)


def _compare_counts(name: ComparedFigure, label: str | None, counts: PairCounts) -> Comparison:
    found = paired_difference_interval(counts.both, counts.only_candidate, counts.only_active, counts.neither)
    apart = (counts.only_candidate + counts.only_active) / counts.frames
    needed = mean_frames_needed(max(apart - found.estimate**2, 0.0), found.estimate)
    return _make(name, label, found, (counts.frames, counts.frames), needed, is_paired=True)


def _compare_arms(candidate: ArmSummary, active: ArmSummary) -> Iterator[Comparison]:
    ours, theirs = candidate.confidences, active.confidences
    if ours and theirs:
        first, second = (
            ((one.confidence or 0.0) * one.confidences, one.confidence_squares, one.confidences)
            for one in (candidate, active)
        )
        found = mean_difference_interval(*first, *second)
        variance = sum(max(squares / n - (total / n) ** 2, 0.0) for total, squares, n in (first, second))
        needed = mean_frames_needed(variance, found.estimate)
        yield _make("confidence", None, found, (ours, theirs), needed, is_paired=False)
        sure, as_sure = (round((one.confident_share or 0.0) * one.confidences) for one in (candidate, active))
        yield _compare_shares("confident_share", None, (sure, ours), (as_sure, theirs))
    if not (candidate.labelled and active.labelled):
        return
    known = dict(candidate.labels)
    is_whole = len(candidate.labels) < SHOWN_LABELS  # or the count of a label beyond the list is not known
    compared = [label for label, _ in active.labels if is_whole or label in known][:COMPARED_LABELS]
    for label in compared:
        yield _compare_shares(
            "label_share",
            label,
            (known.get(label, 0), candidate.labelled),
            (dict(active.labels)[label], active.labelled),
        )


def _compare_shares(
    name: ComparedFigure, label: str | None, ours: tuple[int, int], theirs: tuple[int, int]
) -> Comparison:
    found = difference_interval(*ours, *theirs)
    share = theirs[0] / theirs[1]
    needed = frames_needed(share, found.estimate) if found.estimate else None
    return _make(name, label, found, (ours[1], theirs[1]), needed, is_paired=False)


def _make(
    name: ComparedFigure,
    label: str | None,
    found: Interval,
    frames: tuple[int, int],
    needed: int | None,
    *,
    is_paired: bool,
) -> Comparison:
    if not found.contains(0.0) or (needed is not None and needed > MOST_FRAMES_NEEDED):
        needed = None
    count = f"{frames[0]:,} frames" if is_paired else f"{frames[0]:,} against {frames[1]:,} frames"
    more = "" if needed is None else f"; to tell it from none takes about {needed:,} of each"
    text = f"{_title(name, label)} {_in_words(name, found)}, {count}{more}"
    return Comparison(name, label, is_paired, found.estimate, found.low, found.high, *frames, needed, text)


def _title(name: ComparedFigure, label: str | None) -> str:
    match name:
        case "confidence":
            return "mean confidence"
        case "confident_share":
            return f"share of confident answers (from {CONFIDENT:g})"
    return f"share of {label!r}"


def _in_words(name: ComparedFigure, found: Interval) -> str:
    if name == "confidence":
        mean, low, high = (round(value, 3) + 0.0 for value in (found.estimate, found.low, found.high))
        return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
    points = [100 * value for value in (found.estimate, found.low, found.high)]
    return "{:+.1f} points ({:+.1f} to {:+.1f})".format(*(round(one, 1) + 0.0 for one in points))
