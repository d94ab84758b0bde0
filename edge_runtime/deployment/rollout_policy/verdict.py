"""The verdict on a candidate: every metric gives a finding, and they decide together.

- Failing beats passing. Too many failures (in a row, or more than all frames of the stage may have) and memory fail at
  once; the other metrics are first looked at when the stage has its frames, and can fail from then on.
- A pass needs every metric that decides to pass, all frames, and the time of the stage. An early end is no pass.
- What cannot be measured (too few frames, no number) never passes: it waits while there is time, then it is
  inconclusive, and a person decides.
- Answers that cannot be compared with those of the active version are inconclusive once the frames of the shadow are
  there.
- A metric in ``dry_run`` is measured and shown, and does not decide. Where none decides nothing passes.

After Argo Rollouts (three verdicts, dry run) and Flagger.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from edge_runtime.config import RolloutConfig, RolloutMetric
from edge_runtime.deployment.rollout_policy.figures import ArmSummary
from edge_runtime.deployment.rollout_policy.intervals import (
    difference_interval,
    frames_until,
    mean_interval,
)
from edge_runtime.deployment.rollout_policy.plan import Stage, StageLength, length_of

COLLAPSED = 0.95
"""Share of one label that counts as nearly always."""
CLEARLY_MORE = 0.1
"""So much more often than the active version gives its most frequent label, it gives one: surely a collapse."""
_LATENCY_STEP_MS = 0.01
"""Latencies are rounded to this, so a fast one may read 0."""
LEAST_COMPARED = 30
"""Frames with an agreement, below which it is not judged (or all of a stage that has fewer)."""


class VerdictKind(StrEnum):
    """What a metric, or all of them, say."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    """Neither, and the time is over: a person decides."""
    RUNNING = "running"
    """Neither yet."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one metric says."""

    name: RolloutMetric
    """The metric."""
    value: float | None
    """None: not measured."""
    limit: float
    """Where it fails."""
    kind: VerdictKind
    is_dry_run: bool
    """It is told and decides nothing."""
    text: str
    """For people."""
    low: float | None = None
    """Ends of the 95 % interval of ``value``; None where it has none."""
    high: float | None = None
    """Its upper end."""
    frames_needed: int | None = None
    """Where it is not decided for want of frames: those of the candidate after which it is, if its figures stay."""


def as_fields(findings: Iterable[Finding]) -> dict[str, dict[str, float | str | None]]:
    """By metric, what an event says of it; interval and frames only where there are some."""
    return {one.name: _as_fields(one) for one in findings}


def _as_fields(one: Finding) -> dict[str, float | str | None]:
    known = {"low": one.low, "high": one.high, "frames_needed": one.frames_needed}
    return {
        "value": one.value,
        "limit": one.limit,
        "verdict": str(one.kind),
        **{name: value for name, value in known.items() if value is not None},
    }


@dataclass(frozen=True, slots=True)
class RolloutVerdict:
    """What all metrics say together."""

    kind: VerdictKind
    findings: tuple[Finding, ...]
    text: str
    """Why, in one line."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a candidate is held to in one stage."""

    length: StageLength
    agreement: float
    failures: float
    failures_in_a_row: int
    latency_ratio: float
    latency_ms: float
    confidence: float
    memory_mib: float
    dry_run: frozenset[str]
    are_scenes_alike: bool
    """False in a canary of whole streams: confidence and labels of other cameras say nothing, and are left out."""

    @classmethod
    def of(cls, config: RolloutConfig, stage: Stage) -> "Limits":
        """Those of the configuration."""
        return cls(
            length=length_of(config, stage),
            dry_run=frozenset(config.dry_run),
            are_scenes_alike=not (stage is Stage.CANARY and config.canary.streams),
            **config.limits.model_dump(),
        )


def judge(
    stage: Stage,
    candidate: ArmSummary,
    active: ArmSummary,
    limits: Limits,
    *,
    waited_s: float,
    memory_growth_mib: float | None,
) -> RolloutVerdict:
    """The verdict now.

    Args:
        stage: SHADOW compares medians of latency, as the candidate runs at low priority there; CANARY and WATCHED
            compare the 99th percentiles too (of the candidate what its one surely exceeds), and agreement only where
            it was measured.
        candidate: Figures of the candidate since the stage began.
        active: Those of the version it is compared with, over the same kind of frames; in WATCHED of the previous one.
        limits: ``Limits.of`` this stage.
        waited_s: Since the stage began.
        memory_growth_mib: Growth of the process since the candidate was opened; None: not known.
    """
    length = limits.length
    is_complete = candidate.frames >= length.frames
    has_time = waited_s < length.longest_s and not (
        is_complete and _are_of_other_kinds(stage, candidate, limits)
    )
    undecided = VerdictKind.RUNNING if has_time else VerdictKind.INCONCLUSIVE
    found = list(_findings(stage, candidate, active, limits, memory_growth_mib, is_complete=is_complete))
    findings = tuple(
        replace(
            finding,
            kind=undecided if finding.kind is VerdictKind.INCONCLUSIVE else finding.kind,
            is_dry_run=finding.name in limits.dry_run,
        )
        for finding in found
    )
    deciding = [finding for finding in findings if not finding.is_dry_run]
    failed = [finding for finding in deciding if finding.kind is VerdictKind.FAIL]
    if failed:
        return RolloutVerdict(VerdictKind.FAIL, findings, _texts(failed))
    if not is_complete:
        text = f"{candidate.frames} of {length.frames} frames"
        return RolloutVerdict(undecided, findings, text)
    if not deciding:
        return RolloutVerdict(VerdictKind.INCONCLUSIVE, findings, "every metric is in dry_run: none decides")
    waiting = [finding for finding in deciding if finding.kind is not VerdictKind.PASS]
    if waiting:
        text = _texts(waiting)
        if active.frames < length.frames:
            text += f"; the version it is compared with has {active.frames} of {length.frames} frames"
        return RolloutVerdict(undecided, findings, text)
    if not waited_s >= length.least_s:
        text = f"good so far; {waited_s:.0f} of {length.least_s:.0f} s"
        return RolloutVerdict(VerdictKind.RUNNING, findings, text)
    return RolloutVerdict(VerdictKind.PASS, findings, f"all metrics pass after {candidate.frames} frames")


def _are_of_other_kinds(stage: Stage, candidate: ArmSummary, limits: Limits) -> bool:
    """Whether no answer could be compared with the active version's: more frames would not change that."""
    is_compared = stage is Stage.SHADOW and "agreement" not in limits.dry_run
    return is_compared and candidate.answers > 0 and not candidate.agreements


def _findings(
    stage: Stage,
    candidate: ArmSummary,
    active: ArmSummary,
    limits: Limits,
    memory_growth_mib: float | None,
    *,
    is_complete: bool,
) -> Iterator[Finding]:
    """One a metric; INCONCLUSIVE stands for "not decided", whether there is time left or not."""
    yield _judge_failures(candidate, limits, is_complete=is_complete)
    yield _judge_failures_in_a_row(candidate, limits, is_complete=is_complete)
    yield _judge_memory(memory_growth_mib, limits, is_complete=is_complete)
    are_comparable = is_complete and active.frames >= limits.length.frames
    yield _judge_latency(stage, candidate, active, limits, is_complete=are_comparable)
    if stage is Stage.SHADOW or candidate.agreements:
        yield _judge_agreement(candidate, limits, is_complete=is_complete)
    has_labels = candidate.labelled > 0 or active.labelled > 0  # raw outputs have none, and no confidence
    if has_labels and limits.are_scenes_alike:
        yield _judge_confidence(candidate, active, limits, is_complete=are_comparable)
        yield _judge_answers(candidate, active, is_complete=are_comparable)


def _judge_failures(candidate: ArmSummary, limits: Limits, *, is_complete: bool) -> Finding:
    share = candidate.failure_share
    allowed = limits.failures * max(candidate.frames, limits.length.frames)
    kind = VerdictKind.INCONCLUSIVE
    if candidate.failures > allowed:
        kind = VerdictKind.FAIL
    elif is_complete and share is not None:
        kind = VerdictKind.PASS
    text = f"{candidate.failures} of {candidate.frames} frames failed, at most {limits.failures:.1%}"
    return _finding("failures", share, limits.failures, kind, text)


def _judge_failures_in_a_row(candidate: ArmSummary, limits: Limits, *, is_complete: bool) -> Finding:
    worst, limit = candidate.worst_in_a_row, limits.failures_in_a_row
    kind = VerdictKind.FAIL if worst >= limit else _pass_if(is_complete)
    reasons = f" ({', '.join(reason for reason, _ in candidate.reasons[:3])})" if worst else ""
    return _finding(
        "failures_in_a_row", worst, limit, kind, f"{worst} frames failed in a row{reasons}, limit {limit}"
    )


def _judge_memory(growth_mib: float | None, limits: Limits, *, is_complete: bool) -> Finding:
    value = _number(growth_mib)
    if value is None:
        text = "growth of memory is not known"
        return _finding("memory", None, limits.memory_mib, VerdictKind.INCONCLUSIVE, text)
    kind = VerdictKind.FAIL if value > limits.memory_mib else _pass_if(is_complete)
    text = f"memory grew by {value:.0f} MiB, at most {limits.memory_mib:.0f} MiB"
    return _finding("memory", value, limits.memory_mib, kind, text)


def _judge_latency(
    stage: Stage, candidate: ArmSummary, active: ArmSummary, limits: Limits, *, is_complete: bool
) -> Finding:
    pairs = {"p50": (candidate.latency_p50_ms, active.latency_p50_ms)}
    if stage is not Stage.SHADOW:  # where it runs at low priority, its tail says nothing
        pairs["p99"] = candidate.latency_p99_low_ms, active.latency_p99_ms
    limit, worst = limits.latency_ratio, None
    is_slow, texts = False, list[str]()
    for which, pair in pairs.items():
        ours, theirs = map(_number, pair)
        if ours is None or theirs is None:
            text = "latency is not known of both arms"
            return _finding("latency", None, limit, VerdictKind.INCONCLUSIVE, text)
        worst = max(worst or 0.0, ours / max(theirs, _LATENCY_STEP_MS))
        is_slow |= ours - theirs > limits.latency_ms and ours > limit * theirs
        bound = "at least " if which == "p99" else ""
        texts.append(f"latency {which} {bound}{ours:.1f} ms against {theirs:.1f} ms")
    kind = VerdictKind.INCONCLUSIVE
    if is_complete:
        kind = VerdictKind.FAIL if is_slow else VerdictKind.PASS
    return _finding("latency", worst, limit, kind, f"{', '.join(texts)}, at most {limit:g} times")


def _judge_agreement(candidate: ArmSummary, limits: Limits, *, is_complete: bool) -> Finding:
    value, limit, compared = _number(candidate.agreement), limits.agreement, candidate.agreements
    if value is None or not math.isfinite(candidate.agreement_squares):
        text = "the answers of both arms cannot be compared: they differ in kind, or in names or shapes of outputs"
        return _finding("agreement", None, limit, VerdictKind.INCONCLUSIVE, text)
    interval = mean_interval(value * compared, candidate.agreement_squares, compared)
    kind, needed = VerdictKind.INCONCLUSIVE, None
    if is_complete and compared >= min(LEAST_COMPARED, limits.length.frames):
        if interval.high < limit:
            kind = VerdictKind.FAIL
        elif interval.low >= limit or value == 1:  # or it could never pass a limit of 1
            kind = VerdictKind.PASS
        else:
            end = interval.low if value > limit else interval.high
            needed = frames_until(compared, abs(end - value), abs(value - limit))
    text = (
        f"agreement {value:.3f} ({interval.low:.3f} to {interval.high:.3f}, {compared} frames), "
        f"at least {limit:g}{_say_needed(needed)}"
    )
    found = _finding("agreement", value, limit, kind, text)
    return replace(found, low=interval.low, high=interval.high, frames_needed=needed)


def _judge_confidence(
    candidate: ArmSummary, active: ArmSummary, limits: Limits, *, is_complete: bool
) -> Finding:
    ours, theirs, limit = _number(candidate.confidence), _number(active.confidence), limits.confidence
    if ours is None or theirs is None or theirs <= 0:
        text = "confidence is not known of both arms"
        return _finding("confidence", None, limit, VerdictKind.INCONCLUSIVE, text)
    kind, needed = VerdictKind.INCONCLUSIVE, None
    if is_complete:
        most, least = (
            mean_interval(mean * arm.confidences, arm.confidence_squares, arm.confidences)
            for mean, arm in ((ours, candidate), (theirs, active))
        )
        if most.high < limit * least.low:  # few frames of one scene say little about another few
            kind = VerdictKind.FAIL
        elif ours >= limit * theirs:
            kind = VerdictKind.PASS
        else:
            reach = most.high - ours + limit * (theirs - least.low)
            needed = frames_until(candidate.frames, reach, limit * theirs - ours)
    text = f"mean confidence {ours:.2f} against {theirs:.2f}, at least {limit:g} of it{_say_needed(needed)}"
    return replace(_finding("confidence", ours / theirs, limit, kind, text), frames_needed=needed)


def _judge_answers(candidate: ArmSummary, active: ArmSummary, *, is_complete: bool) -> Finding:
    ours, theirs = candidate.most_frequent, active.most_frequent
    if ours is None or theirs is None:
        text = "labels are not known of both arms"
        return _finding("answers", None, COLLAPSED, VerdictKind.INCONCLUSIVE, text)
    difference = difference_interval(ours[1], candidate.labelled, theirs[1], active.labelled)
    share = ours[1] / candidate.labelled
    kind, needed = _pass_if(is_complete), None
    if is_complete and share >= COLLAPSED:
        if difference.low > CLEARLY_MORE:
            kind = VerdictKind.FAIL
        elif difference.low > 0:
            kind = VerdictKind.INCONCLUSIVE  # rare labels are gone, which may be an improvement
            beyond = (
                difference.estimate - CLEARLY_MORE
            )  # where it is less, no number of frames makes it a collapse
            needed = frames_until(candidate.frames, difference.estimate - difference.low, beyond)
    text = (
        f"{share:.0%} of answers are {ours[0]!r}; most frequent of the active one is {theirs[0]!r} with "
        f"{theirs[1] / active.labelled:.0%}{_say_needed(needed)}"
    )
    return replace(_finding("answers", share, COLLAPSED, kind, text), frames_needed=needed)


def _finding(name: RolloutMetric, value: float | None, limit: float, kind: VerdictKind, text: str) -> Finding:
    return Finding(name, value, limit, kind, is_dry_run=False, text=text)


def _say_needed(frames: int | None) -> str:
    return "" if frames is None else f"; about {frames:,} frames would decide, if this stays so"


def _pass_if(is_complete: bool) -> VerdictKind:
    return VerdictKind.PASS if is_complete else VerdictKind.INCONCLUSIVE


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _texts(findings: Iterable[Finding]) -> str:
    return "; ".join(finding.text for finding in findings)
