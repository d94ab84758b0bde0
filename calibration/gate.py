"""Decides whether a patch may be used. Pure: probabilities in, a choice with its reasons out.

Doing nothing (*identity*) is always one of the candidates and wins when in doubt. Two witnesses speak:

* the **live** frames: the nuclear norm of the softmax matrix is high when answers are confident *and* diverse
  (arXiv 2510.02956). It means nothing on a scene that shows one class.
* the **re-enacted** frames: healthy frames made to look like the live ones, for which the healthy model's own
  answers are known. It works on any scene but is only as good as the re-enactment.

With labels for the live frames neither is needed: an exact test against identity decides.
No model, no file, no clock here. Called by ``recalibrate``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]
Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one candidate answers. ``probabilities_live`` is (n,k), ``probabilities_reenacted`` (m,k) or None."""

    name: str
    probabilities_live: Probabilities
    probabilities_reenacted: Probabilities | None = None


@dataclass(frozen=True, slots=True)
class GateSettings:
    """When a candidate is good enough."""

    min_live: int = 8
    """Fewer live frames than this decide nothing."""
    min_reenacted: int = 8
    """Fewer re-enacted frames are no witness."""
    margin_with_witness: float = 0.05
    """How much better than identity the joint score must be, as a share."""
    margin_without_witness: float = 0.03
    """The same for the nuclear norm alone."""
    min_effective_classes: float = 3.0
    """Below this the live frames count as a scene with too few classes for the nuclear norm."""
    max_p_value: float = 0.05
    """One-sided exact test against identity, when labels are given."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The decision, its reasons in sentences, and every candidate's figures."""

    accepted: bool
    name: str
    """The chosen candidate; identity's name when nothing was accepted."""
    reasons: tuple[str, ...]
    scores: dict[str, Scores]


def choose(
    identity: Evidence,
    candidates: Sequence[Evidence],
    healthy_answers: Probabilities | None = None,
    labels: NDArray[np.int64] | None = None,
    settings: GateSettings = GateSettings(),
) -> Choice:
    """The candidate to use, or identity.

    Args:
        identity: Answers of the unpatched model.
        candidates: Answers of the patched ones, on the same frames in the same order.
        healthy_answers: (m,k) answers of the healthy model on the healthy originals of the re-enacted frames.
        labels: (n,) true classes of the live frames, when known.
        settings: Margins and minimums.

    Raises:
        ValueError: the arrays do not fit together.
    """
    usable, reasons = _finite(identity, candidates)
    count = len(identity.probabilities_live)
    if count < settings.min_live:
        return _nothing(
            identity, {}, [f"{count} live frames are too few; at least {settings.min_live} are needed."]
        )
    if not _is_finite(identity):
        return _nothing(
            identity, {}, ["The unpatched model's answers are not finite: nothing to compare with."]
        )
    if labels is not None:
        return _by_labels(identity, usable, labels, settings, reasons)
    witness = healthy_answers is not None and len(healthy_answers) >= settings.min_reenacted
    scores = {e.name: _scores(e, healthy_answers if witness else None) for e in [identity, *usable]}
    classes = effective_classes(identity.probabilities_live)
    if classes < settings.min_effective_classes:
        reasons.append(
            f"The live frames show about {classes:.1f} classes; without labels at least "
            f"{settings.min_effective_classes:g} are needed to tell better from worse. Nothing is changed."
        )
        return _nothing(identity, scores, reasons)
    margin = settings.margin_with_witness if witness else settings.margin_without_witness
    return _by_score(identity, usable, scores, margin, reasons)


def nuclear_norm(probabilities: Probabilities) -> float:
    """Confident and diverse is high: sum of the singular values of (n,k), scaled to 0..1 (arXiv 2510.02956)."""
    n, k = probabilities.shape
    return float(np.linalg.svd(probabilities, compute_uv=False).sum() / np.sqrt(n * min(n, k)))


def effective_classes(probabilities: Probabilities) -> float:
    """How many classes the predictions are spread over: exp of the entropy of the predicted classes."""
    shares = np.bincount(probabilities.argmax(axis=1)) / len(probabilities)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _is_finite(evidence: Evidence) -> bool:
    again = evidence.probabilities_reenacted
    return bool(
        np.isfinite(evidence.probabilities_live).all() and (again is None or np.isfinite(again).all())
    )


def _finite(identity: Evidence, candidates: Sequence[Evidence]) -> tuple[list[Evidence], list[str]]:
    for e in candidates:
        if e.probabilities_live.shape != identity.probabilities_live.shape:
            raise ValueError(
                f"candidate {e.name!r} answered {e.probabilities_live.shape} live frames and classes, "
                f"identity {identity.probabilities_live.shape}; expected the same"
            )
    usable = [e for e in candidates if _is_finite(e)]
    out = [e.name for e in candidates if not _is_finite(e)]
    return usable, [f"Left out, answers not finite: {', '.join(out)}."] if out else []


def _scores(evidence: Evidence, healthy: Probabilities | None) -> Scores:
    scores = {"nuclear_norm": nuclear_norm(evidence.probabilities_live)}
    if healthy is not None and evidence.probabilities_reenacted is not None:
        answers = healthy.argmax(axis=1)
        again = evidence.probabilities_reenacted
        scores["agreement"] = float((again.argmax(axis=1) == answers).mean())
        scores["confidence"] = float(again[np.arange(len(answers)), answers].mean())
    scores["joint"] = float(np.prod(list(scores.values())))
    return scores


def _by_score(
    identity: Evidence,
    candidates: Sequence[Evidence],
    scores: Mapping[str, Scores],
    margin: float,
    reasons: list[str],
) -> Choice:
    base = scores[identity.name]["joint"]
    best = max(candidates, key=lambda e: scores[e.name]["joint"], default=identity)
    found = scores[best.name]["joint"]
    gain = found / base - 1 if base > 0 else 0.0
    text = f"The best candidate, {best.name}, scores {found:.3f} against {base:.3f} without a patch ({gain:+.1%})"
    if best is identity or gain < margin:
        reasons.append(f"{text}; at least {margin:+.0%} is needed. Nothing is changed.")
        return _nothing(identity, dict(scores), reasons)
    reasons.append(f"{text}, above the margin of {margin:.0%}.")
    return Choice(True, best.name, tuple(reasons), dict(scores))


def _by_labels(
    identity: Evidence,
    candidates: Sequence[Evidence],
    labels: NDArray[np.int64],
    settings: GateSettings,
    reasons: list[str],
) -> Choice:
    if labels.shape != (len(identity.probabilities_live),):
        raise ValueError(f"labels are {labels.shape}; expected ({len(identity.probabilities_live)},)")
    before = identity.probabilities_live.argmax(axis=1) == labels
    right = {e.name: e.probabilities_live.argmax(axis=1) == labels for e in candidates}
    scores = {identity.name: {"accuracy": float(before.mean()), "p_value": 1.0}}
    for name, after in right.items():
        p_value = _mcnemar(int((after & ~before).sum()), int((before & ~after).sum()))
        scores[name] = {"accuracy": float(after.mean()), "p_value": p_value}
    best = max(right, key=lambda name: scores[name]["accuracy"], default=identity.name)
    text = (
        f"With {len(labels)} labels: {best} is right on {scores[best]['accuracy']:.1%}, "
        f"the unpatched model on {before.mean():.1%} (p = {scores[best]['p_value']:.3f}"
    )
    if best == identity.name or scores[best]["p_value"] > settings.max_p_value:
        reasons.append(f"{text}, needed <= {settings.max_p_value:g}). Nothing is changed.")
        return _nothing(identity, scores, reasons)
    return Choice(True, best, (*reasons, f"{text})."), scores)


def _mcnemar(gained: int, lost: int) -> float:
    """One-sided exact McNemar test: the chance of at least this many gains if neither were better."""
    changed = gained + lost
    return sum(comb(changed, i) for i in range(gained, changed + 1)) / float(2**changed)


def _nothing(identity: Evidence, scores: dict[str, Scores], reasons: list[str]) -> Choice:
    return Choice(False, identity.name, tuple(reasons), scores)
