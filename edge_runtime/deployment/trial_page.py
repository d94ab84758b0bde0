"""One trial of a newer version, or of a patch, as a page: stages, findings, both arms, pictures of disagreements.

Pure: figures in, HTML out, in the look of the other reports (``calibration.report``). Labels come from bundles and are
escaped like every other text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from calibration.report import charts, formatting
from calibration.report.template import render
from edge_runtime.deployment.arm_tables import figure_rows, label_rows
from edge_runtime.deployment.disagreements import Disagreement
from edge_runtime.deployment.rollout_policy.comparison import Comparison
from edge_runtime.deployment.rollout_policy.figures import ArmSummary
from edge_runtime.deployment.rollout_policy.plan import Stage
from edge_runtime.deployment.rollout_policy.verdict import Finding, VerdictKind

_WHAT = {
    Stage.SHADOW: "It answered copies of frames; nothing was published.",
    Stage.CANARY: "It answered a part of the frames.",
    Stage.WATCHED: "It answered all frames. The figures of the version before are of the stage before.",
}
_METRICS = {
    "failures": ("Frames without an answer", "share"),
    "failures_in_a_row": ("The same, in a row", "count"),
    "memory": ("Growth of memory", "mib"),
    "latency": ("Latency", "times"),
    "agreement": ("Agreement", "number"),
    "confidence": ("Confidence", "of"),
    "answers": ("The most frequent label", "share"),
}
_CSS = {VerdictKind.PASS: "good", VerdictKind.FAIL: "warn"}


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One stage of a trial that is over."""

    stage: Stage
    began_wall_s: float
    took_s: float
    reason: str
    """Why it ended."""
    findings: tuple[Finding, ...] = ()
    """Of its end."""
    candidate: ArmSummary | None = None
    """None: nothing was measured."""
    active: ArmSummary | None = None
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """A trial that is over."""

    model: str
    candidate: str
    """Name and version, or generation."""
    active: str
    """Of the version it was compared with."""
    is_promoted: bool
    reason: str
    stages: tuple[StageRecord, ...]
    patch: str | None = None
    """Id of the patch that was tried; both names are generations then. None: it was a version."""
    waits: bool = False
    """Neither promoted nor refused: a person decides."""


def make_page(outcome: TrialOutcome, shots: Sequence[Disagreement]) -> str:
    """The page, complete; below 500 KB with eight pictures."""
    words = _words_of_version(outcome) if outcome.patch is None else _words_of_patch(outcome, outcome.patch)
    measured = [
        _measured(one, one.candidate, one.active)
        for one in outcome.stages
        if one.candidate is not None and one.active is not None and one.stage in _WHAT
    ]
    source = files("edge_runtime.deployment").joinpath("trial_page.jinja").read_text(encoding="utf-8")
    return render(
        source,
        title=words.title,
        outcome=words.outcome,
        is_good=outcome.is_promoted,
        headline=words.headline,
        reasons=[_sentence(outcome.reason)],
        notes=[f"Model {outcome.model}; tried for {_span(sum(one.took_s for one in outcome.stages))}."],
        names={"active": words.active, "candidate": words.candidate},
        stages=[_stage_row(one) for one in outcome.stages],
        measured=measured,
        shots=shots,
        further=words.further,
    )


@dataclass(frozen=True, slots=True)
class _Words:
    """What the page calls things."""

    title: str
    outcome: str
    headline: str
    active: str
    candidate: str
    further: list[tuple[str, str]]


def _words_of_version(outcome: TrialOutcome) -> _Words:
    ours, theirs = (bundle.rpartition("/")[2] for bundle in (outcome.candidate, outcome.active))
    title, names = f"{outcome.candidate} against version {theirs}", (f"version {theirs}", f"version {ours}")
    if outcome.is_promoted:
        back = [("Go back", f"models: {{{outcome.model}: {{version: {theirs}}}}}")]
        return _Words(title, "promoted", f"Version {ours} was promoted and answers.", *names, back)
    again = [("Try it again", f"edge-runtime rollout retry CONFIG {ours} --model {outcome.model}")]
    headline = f"Version {ours} was refused, version {theirs} answers."
    return _Words(title, "refused", headline, *names, again)


def _words_of_patch(outcome: TrialOutcome, patch: str) -> _Words:
    title, names = f"Patch {patch} against {outcome.active}", (outcome.active, f"with {patch}")

    def send(verb: str) -> str:
        return f"edge-runtime send {verb} --config CONFIG --model {outcome.model}"

    if outcome.is_promoted:
        headline = f"Patch {patch} passed its shadow and is active."
        return _Words(title, "used", headline, *names, [("Go back", send("rollback"))])
    if outcome.waits:
        headline = f"Patch {patch} waits for a person, {outcome.active} answers."
        choice = [("Use it", send("approve-patch")), ("Never use it", send("reject-patch"))]
        return _Words(title, "waits", headline, *names, choice)
    headline = f"Patch {patch} was refused in the shadow, {outcome.active} answers."
    return _Words(title, "refused", headline, *names, [("Make another one", send("recalibrate"))])


def _stage_row(one: StageRecord) -> dict[str, str]:
    return {
        "name": str(one.stage).capitalize(),
        "began": formatting.moment(one.began_wall_s),
        "took": _span(one.took_s),
        "frames": "–" if one.candidate is None else f"{one.candidate.frames:,}",
        "reason": one.reason,
    }


def _measured(one: StageRecord, candidate: ArmSummary, active: ArmSummary) -> dict[str, Any]:
    return {
        "name": str(one.stage).capitalize(),
        "what": _WHAT[one.stage],
        "findings": [_finding_row(finding) for finding in one.findings],
        "rows": figure_rows(active, candidate),
        "comparisons": [comparison.text for comparison in one.comparisons],
        "labels": label_rows(active, candidate),
        "margins": charts.histograms(active.margins, candidate.margins),
        "entropies": charts.histograms(active.entropies, candidate.entropies),
    }


def _finding_row(finding: Finding) -> dict[str, str]:
    title, form = _METRICS.get(finding.name, (finding.name.replace("_", " "), "number"))
    dry_run = " (dry run)" if finding.is_dry_run else ""
    return {
        "name": title,
        "value": _form(finding.value, form),
        "limit": _form(finding.limit, form, digits="g"),
        "verdict": f"{finding.kind}{dry_run}",
        "css": _CSS.get(finding.kind, "quiet"),
        "text": finding.text,
    }


def _form(value: float | None, form: str, digits: str = "") -> str:
    """A number of a metric; ``digits`` for a limit, which a person wrote."""
    if value is None:
        return "–"
    number = f"{value:{digits or '.2f'}}"
    match form:
        case "share":
            return f"{100 * value:{digits or '.1f'}}%"
        case "count":
            return f"{value:.0f}"
        case "mib":
            return f"{value:.0f} MiB"
        case "times":
            return f"{number} times"
        case "of":
            return f"{number} of it"
    return f"{value:{digits or '.3f'}}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else formatting.age(seconds)
