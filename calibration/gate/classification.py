"""Decides whether a patch may be used. Pure: probabilities in, a choice with its reasons out.

Every candidate is compared with doing nothing (*unpatched*), which wins when in doubt. Evidence, the best first:

* **labels** of the live frames: an exact test against the unpatched model; where they prove nothing they keep a veto.
* the **simulated** frames, healthy frames made to look like the live ones, for which the healthy model's own answers
  are known, together with the **live** frames. A candidate's *fidelity* is minus the mean cross-entropy between the
  healthy answers and its own, compared frame by frame with that of the unpatched model. The *nuclear norm* of the
  softmax matrix of the live frames is high when answers are confident *and* diverse (arXiv 2510.02956). Each is wrong
  now and then, seldom both in the same way, so their gains are added up; one has to outweigh a loss of the other.
* the **live** frames alone: weak evidence, so only the conservative candidates may use it, at a margin.

When the scene shows far fewer classes than the healthy one did, the difference in *content* looks like a drift:
then the nuclear norm means nothing, and the fidelity must have grown much more surely and by more than content can
fake. No model, no file, no clock here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb

import numpy as np
from numpy.typing import NDArray

from calibration.gate import reasons
from calibration.gate.bar import Bar, Scores
from calibration.gate.evidence import Evidence, judgeable, refusal_reason
from calibration.gate.scores import (
    Probabilities,
    effective_classes,
    expected_classes,
    live_scores,
    sample_scores,
)

FEW_CLASS_GROWTH = 1.5
"""Answers that a drift has collapsed must spread over this many times more classes to count as put right."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """When a candidate is good enough; the defaults were measured (``benchmarks/accuracy``).

    Attributes:
        min_live: Fewer live frames than this decide nothing.
        min_simulated: Fewer healthy samples than this decide nothing.
        fidelity_weight: What a nat of fidelity counts against the logarithm of the nuclear norm's growth; on recorded
            candidates of two nets every weight from 0.3 to 1 served.
        min_evidence: Least sum of both: what no patch can mend fakes up to 0.05.
        least_standard_errors: By how many of its standard errors the fidelity must have grown, too: the live frames
            alone prove nothing.
        sure_standard_errors: Where the fidelity grew by so many of them, less evidence is enough, as long as the live
            answers became no less certain and varied: what is small but sure.
        sure_gain: And by how much at least there.
        standard_errors: The same where the live frames show too few classes for their nuclear norm to mean anything.
        min_gain: And by how much at least there.
        min_agreement_gain: Share of the simulated frames that must be put right there, net: surer wrong answers are no
            reason.
        margin_without_samples: How much the nuclear norm must grow, as a share, when it is the only evidence and frames
            are many.
        margin_times_frames: With few frames the margin is this over their number: 12 % for 20, where noise faked 10 %.
        min_classes: Effective classes the live frames must show for that margin when there are no healthy
            samples to compare with.
        few_class_margin: The margin for fewer classes: 1-class scenes alone gave up to 0.35, answers collapsed by a
            drift 0.4 to 2.
        one_class: Live frames that show fewer effective classes than this (by the best candidate) are a one-class
            scene: a patch that always gave this answer would look right, so nothing is changed without labels.
        min_healthy_classes: The same for the healthy samples: of fewer classes they cannot tell. (48 crops of one
            photograph showed 1.0 to 3.1 by EfficientNet-Lite0.) With k classes in all, at most 3/4 k is asked for.
        min_class_share: Live frames that show a smaller share of the effective classes of the healthy ones are
            *few-class* frames.
        few_class_standard_errors: For few-class frames, instead of ``standard_errors``.
        few_class_min_gain: For few-class frames, instead of ``min_gain``: their content faked gains up to 0.13,
            worthwhile drifts gave 0.38 and more (a Fashion net and Lite0, 1 to 4 classes).
        errors_over_chance: By how many of its standard errors a candidate's agreement with the healthy answers must
            exceed that of one answer for all frames, and its share of right labels that of guessing: what is no better
            than that decides nothing, whatever it gained.
        max_p_value: One-sided exact test against the unpatched model, when labels are given.
    """

    min_live: int = 8
    min_simulated: int = 8
    fidelity_weight: float = 0.5
    min_evidence: float = 0.06
    least_standard_errors: float = 1.0
    sure_standard_errors: float = 3.0
    sure_gain: float = 0.02
    standard_errors: float = 2.0
    min_gain: float = 0.08
    min_agreement_gain: float = 0.04
    margin_without_samples: float = 0.05
    margin_times_frames: float = 2.4
    min_classes: float = 5.0
    few_class_margin: float = 0.4
    one_class: float = 1.8
    min_healthy_classes: float = 3.0
    min_class_share: float = 0.4
    few_class_standard_errors: float = 4.0
    few_class_min_gain: float = 0.25
    errors_over_chance: float = 1.0
    max_p_value: float = 0.05


DEFAULTS = GateSettings()


@dataclass(frozen=True, slots=True)
class Choice:
    """The decision, its reasons in sentences, and every candidate's figures."""

    accepted: bool
    name: str
    """The chosen candidate; the unpatched model's name when nothing was accepted."""
    reasons: tuple[str, ...]
    scores: dict[str, Scores]


def choose(
    unpatched: Evidence[Probabilities],
    candidates: Sequence[Evidence[Probabilities]],
    healthy_answers: Probabilities | None = None,
    labels: NDArray[np.int64] | None = None,
    settings: GateSettings = DEFAULTS,
    tried: int | None = None,
) -> Choice:
    """The candidate to use, or the unpatched model.

    Args:
        unpatched: Answers of the unpatched model.
        candidates: Answers of the patched ones, on the same frames in the same order.
        healthy_answers: (m,k) answers of the healthy model on the healthy originals of the simulated frames.
        labels: (n,) true classes of the live frames, when known.
        settings: Margins and minimums.
        tried: How many candidates there were before a screening; for the text alone.

    Raises:
        ValueError: the arrays do not fit together.
    """
    usable, notes = judgeable(unpatched, candidates, healthy_answers)
    refusal = refusal_reason(unpatched, settings.min_live)
    if refusal is not None:
        return _nothing(unpatched, {}, [*notes, refusal])
    has_samples = healthy_answers is not None and len(healthy_answers) >= settings.min_simulated
    if labels is not None:
        choice = _by_labels(unpatched, usable, labels, settings, notes)
        by_chance = _accuracy_by_chance(unpatched, labels, settings)
        are_strange = max(scores["accuracy"] for scores in choice.scores.values()) <= by_chance
        if choice.accepted or not has_samples or are_strange:
            return choice
        # Too few labels to prove it: the healthy samples may, among those that the labels do not speak against.
        least = choice.scores[unpatched.name]["accuracy"]
        usable = [one for one in usable if choice.scores[one.name]["accuracy"] >= least]
        notes, tried = list(choice.reasons), None
    if healthy_answers is not None and has_samples:
        return _by_samples(unpatched, usable, healthy_answers, settings, notes, tried)
    return _by_live_frames(unpatched, usable, settings, notes)


def _by_samples(
    unpatched: Evidence[Probabilities],
    candidates: Sequence[Evidence[Probabilities]],
    healthy: Probabilities,
    settings: GateSettings,
    notes: list[str],
    tried: int | None,
) -> Choice:
    scores = sample_scores(unpatched, candidates, healthy, settings.fidelity_weight)
    shown = _shown_classes(scores, unpatched.name, settings)
    blind = _why_blind(shown, healthy, settings)
    if blind is not None:
        return _nothing(unpatched, scores, [*notes, blind])
    bar = _bar(shown, expected_classes(healthy, len(unpatched.live)), settings)
    bar = replace(bar, least_agreement=_agreement_by_chance(healthy, settings))
    notes = [*notes, *bar.notes]
    rivals = [name for name in scores if name != unpatched.name]
    fit = [name for name in rivals if bar.is_cleared_by(scores[name], scores[unpatched.name])]
    best = max(fit or rivals, key=lambda name: _rank(scores[name], bar if not fit else None), default=None)
    if best is None:
        return _nothing(unpatched, scores, [*notes, "There is no candidate to judge. Nothing is changed."])
    named = reasons.best_of(best, len(rivals), tried)
    text = reasons.by_samples(named, scores[best], scores[unpatched.name], len(healthy))
    if not fit:
        return _nothing(unpatched, scores, [*notes, reasons.unsure(text, str(bar))])
    return Choice(True, best, (*notes, reasons.accepted(text)), scores)


def _rank(found: Scores, bar: Bar | None) -> tuple[bool, float]:
    """Of those that are good enough (no ``bar``) the most faithful, if the live frames do not speak against it.

    The nuclear norm tells whether a patch is plausible, not which is best: by the evidence 5 of 9 recorded choices were
    worse ones.
    """
    if bar is not None:
        return False, found[bar.needs]
    return found["growth"] >= 0, found["gain"]


def _agreement_by_chance(healthy: Probabilities, settings: GateSettings) -> float:
    """What one answer for all frames may reach: the share of the commonest healthy answer, and its error."""
    share = float(np.bincount(healthy.argmax(axis=1)).max()) / len(healthy)
    return share + settings.errors_over_chance * float(np.sqrt(share * (1 - share) / len(healthy)))


def _why_blind(shown: float, healthy: Probabilities, settings: GateSettings) -> str | None:
    """Why nothing could prove anything, by the classes in view; None: something could."""
    most = 0.75 * healthy.shape[1]
    if shown < min(settings.one_class, most):
        return reasons.one_class_scene(shown)
    expected, least = effective_classes(healthy), min(settings.min_healthy_classes, most)
    return reasons.few_healthy_classes(expected, least) if expected < least else None


def _bar(shown: float, comparable: float, settings: GateSettings) -> Bar:
    """How much proof is asked for, by the classes in view and those that as many healthy frames show."""
    if shown < settings.min_class_share * comparable:
        few = f"The live frames show about {shown:.1f} classes, as many healthy ones showed {comparable:.1f}."
        errors, least = settings.few_class_standard_errors, settings.few_class_min_gain
        return Bar("gain", least, errors, settings.min_agreement_gain, (few,))
    if shown < settings.min_classes:  # scattered errors look diverse: their nuclear norm means nothing
        return Bar("gain", settings.min_gain, settings.standard_errors, settings.min_agreement_gain)
    return Bar(
        "evidence",
        settings.min_evidence,
        settings.least_standard_errors,
        -np.inf,
        small_errors=settings.sure_standard_errors,
        small_gain=settings.sure_gain,
    )


def _shown_classes(scores: dict[str, Scores], unpatched: str, settings: GateSettings) -> float:
    """Effective classes of the live frames, by the candidate that agrees best with the healthy samples."""

    def sure_gain(name: str) -> float:
        found = scores[name]
        return (
            found["gain"] - settings.standard_errors * found["gain_error"] if name != unpatched else -np.inf
        )

    return scores[max(scores, key=sure_gain)]["classes"]


def _by_live_frames(
    unpatched: Evidence[Probabilities],
    candidates: Sequence[Evidence[Probabilities]],
    settings: GateSettings,
    notes: list[str],
) -> Choice:
    scores = {one.name: live_scores(one) for one in (unpatched, *candidates)}
    conservative = [one for one in candidates if one.is_conservative]
    best = max(conservative, key=lambda one: scores[one.name]["nuclear_norm"], default=unpatched)
    before, after = (scores[one.name]["nuclear_norm"] for one in (unpatched, best))
    classes = scores[unpatched.name]["classes"]
    margin = max(settings.margin_without_samples, settings.margin_times_frames / len(unpatched.live))
    if classes < settings.min_classes:
        margin = settings.few_class_margin
        notes = [*notes, f"The unpatched model sees only about {classes:.1f} classes in the live frames."]
    is_same_class = (
        classes < settings.min_classes and scores[best.name]["classes"] < FEW_CLASS_GROWTH * classes
    )
    gain = after / before - 1 if before > 0 and not is_same_class else 0.0  # surer of one class says nothing
    text = reasons.by_live_frames(best.name, after, before, gain, len(conservative))
    if best is unpatched or gain < margin:
        return _nothing(unpatched, scores, [*notes, reasons.unsure(text, f"{margin:+.0%}")])
    return Choice(True, best.name, (*notes, reasons.accepted(text)), scores)


def _by_labels(
    unpatched: Evidence[Probabilities],
    candidates: Sequence[Evidence[Probabilities]],
    labels: NDArray[np.int64],
    settings: GateSettings,
    notes: list[str],
) -> Choice:
    count = len(unpatched.live)
    if labels.shape != (count,):
        raise ValueError(f"labels are {labels.shape}; expected ({count},), one per live frame")
    before = unpatched.live.argmax(axis=1) == labels
    scores: dict[str, Scores] = {}
    for one in (unpatched, *candidates):
        after = one.live.argmax(axis=1) == labels
        gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
        scores[one.name] = live_scores(one) | {
            "accuracy": float(after.mean()),
            "confidence": float(one.live[np.arange(count), labels].mean()),
            "p_value": _mcnemar(gained, lost),
        }

    def rank(one: Evidence[Probabilities]) -> tuple[float, float]:
        return scores[one.name]["accuracy"], scores[one.name]["confidence"]

    best = max(candidates, key=rank, default=unpatched)
    found = scores[best.name]
    text = reasons.by_labels(best.name, found, float(before.mean()), len(candidates), count)
    is_chance = found["accuracy"] <= _accuracy_by_chance(unpatched, labels, settings)
    if best is unpatched or is_chance or found["p_value"] > settings.max_p_value:
        return _nothing(unpatched, scores, [*notes, reasons.unproven(text, settings.max_p_value)])
    return Choice(True, best.name, (*notes, reasons.accepted(text)), scores)


def _accuracy_by_chance(
    unpatched: Evidence[Probabilities], labels: NDArray[np.int64], settings: GateSettings
) -> float:
    """Share of right labels that guessing may reach: when nothing is better, class numbers or pictures are wrong."""
    chance = 1 / unpatched.live.shape[1]
    return float(chance + 2 * settings.errors_over_chance * np.sqrt(chance / len(labels)))


def _mcnemar(gained: int, lost: int) -> float:
    """One-sided exact McNemar test: the chance of at least this many gains if neither were better."""
    changed = gained + lost
    return sum(comb(changed, i) for i in range(gained, changed + 1)) / float(2**changed)


def _nothing(unpatched: Evidence[Probabilities], scores: dict[str, Scores], reasons: Sequence[str]) -> Choice:
    return Choice(False, unpatched.name, tuple(reasons), scores)
