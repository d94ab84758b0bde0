"""Decides whether a patch may be used in a detector. Pure: detections in, a choice with its reasons out.

* The **simulated** frames, healthy frames made to look like the live ones, judge: a candidate's *fidelity* is the
  soft F1 of its detections there against the healthy model's on the healthy originals. Its gain over the
  unpatched model's must exceed twice its standard error, taken from blocks of neighbouring frames (those of a
  fixed camera resemble each other).
* The **live** frames have a veto: a candidate must see neither far fewer objects there than the unpatched model
  and the healthy frames do, nor far more. Content may change; everything vanishing or multiplying may not.

Without healthy samples nothing is judged: more and surer detections are as likely to be false ones. No model, no file,
no clock here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.gate import reasons
from calibration.gate.bar import Scores
from calibration.gate.classification import Choice
from calibration.gate.evidence import Evidence, judgeable, refusal_reason
from calibration.outputs.detections import Detections, shared_objects, weight
from calibration.stats.moments import Vector


@dataclass(frozen=True, slots=True)
class DetectionGateSettings:
    """When a candidate is good enough for a detector.

    Attributes:
        min_live: Fewer live frames than this decide nothing.
        min_simulated: Fewer healthy samples than this decide nothing.
        min_objects: Fewer objects in all healthy samples are too few to judge by.
        standard_errors: By how many of its standard errors the soft F1 must have grown.
        min_gain: And by how much at least: a gain too small to matter is not worth a change.
        min_fidelity: Least soft F1 of a candidate, whatever it gained. At 1/3 the objects it misses and those it makes
            up are four times those it shares with the healthy model; what finds less than that decides nothing.
        block_frames: Neighbouring healthy samples that count as one observation.
        least_live_share: Objects per live frame a candidate must show, as a share of those of the unpatched model or
            of the healthy frames, whichever are fewer.
        most_live_times: A candidate may show this many times the objects of the unpatched model or of the
            healthy frames, whichever are more.
        spare_objects: Objects per frame by which that may be exceeded anyway: on empty scenes every ratio is large.
    """

    min_live: int = 8
    min_simulated: int = 8
    min_objects: float = 8.0
    standard_errors: float = 2.0
    min_gain: float = 0.03
    min_fidelity: float = 1 / 3
    block_frames: int = 4
    least_live_share: float = 0.5
    most_live_times: float = 2.0
    spare_objects: float = 0.5


DEFAULTS = DetectionGateSettings()


def choose(
    unpatched: Evidence[Detections],
    candidates: Sequence[Evidence[Detections]],
    healthy: Detections | None,
    settings: DetectionGateSettings = DEFAULTS,
    tried: int | None = None,
) -> Choice:
    """The candidate to use, or the unpatched model; as :func:`calibration.gate.classification.choose`."""
    usable, notes = judgeable(unpatched, candidates, healthy)
    refusal = refusal_reason(unpatched, settings.min_live) or _why_not_judged(healthy, settings)
    if refusal is not None:
        return Choice(False, unpatched.name, (refusal,), {})
    assert healthy is not None
    scores = _scores(unpatched, usable, healthy, settings)
    by_chance = 0.0 if healthy.has_places else constant_f1(healthy)
    return _choose_best(unpatched.name, scores, len(healthy), settings, notes, tried, by_chance)


def soft_f1(detections: Detections, healthy: Detections) -> float:
    """Agreement 0..1 of detections with the healthy ones on the same frames, pooled over the frames."""
    return _f1(*_tally(detections, healthy))


def constant_f1(labels: Detections) -> float:
    """The best agreement that one set of labels for all pictures reaches: a patch may be no better than that.

    Such an answer proves nothing: on a scene of one label, always giving that one looks right. Of detections with
    places this would count objects that never move as proof of nothing, so it is asked of labels alone.
    """
    weights = weight(labels.scores, labels.score_threshold)
    found = np.bincount(labels.classes.ravel(), weights=weights.ravel())
    most = np.arange(1, len(found) + 1)
    reached = 2 * np.cumsum(np.sort(found)[::-1]) / (most * len(labels) + found.sum())
    return float(reached.max(initial=0.0))


def _choose_best(
    unpatched: str,
    scores: dict[str, Scores],
    frames: int,
    settings: DetectionGateSettings,
    notes: list[str],
    tried: int | None,
    by_chance: float,
) -> Choice:
    others = [name for name in scores if name != unpatched]
    likely = [name for name in others if scores[name]["is_plausible"]]
    if vetoed := len(others) - len(likely):
        of = f"{vetoed} of {len(others)} candidates"
        notes = [*notes, f"{of} show implausibly few or many objects in the live frames."]
    if not likely:
        return Choice(False, unpatched, (*notes, "No candidate is left. Nothing is changed."), scores)
    best = max(likely, key=lambda name: scores[name]["sure_gain"])
    found = scores[best]
    named = reasons.best_of(best, len(others), tried)
    text = reasons.by_detections(named, found, scores[unpatched], frames)
    if found["gain"] < max(settings.min_gain, settings.standard_errors * found["gain_error"]):
        needed = f"a gain of {settings.min_gain:g} that is {settings.standard_errors:g} times its error"
        return Choice(False, unpatched, (*notes, reasons.unsure(text, needed)), scores)
    least = max(settings.min_fidelity, by_chance)
    if found["fidelity"] <= least:
        return Choice(
            False, unpatched, (*notes, reasons.unsure(text, f"a soft F1 above {least:.2f}")), scores
        )
    return Choice(True, best, (*notes, reasons.accepted(text)), scores)


def _why_not_judged(healthy: Detections | None, settings: DetectionGateSettings) -> str | None:
    if healthy is None or len(healthy) < settings.min_simulated:
        return (
            "A detector is judged on healthy frames under the simulated drift only, and the baseline keeps none or too "
            "few. Nothing is changed."
        )
    objects = float(healthy.objects().sum())
    if objects < settings.min_objects:
        return (
            f"The healthy frames show about {objects:.0f} objects in all; at least {settings.min_objects:g} are needed "
            "to judge by. Record the baseline while something is in view. Nothing is changed."
        )
    return None


def _scores(
    unpatched: Evidence[Detections],
    candidates: Sequence[Evidence[Detections]],
    healthy: Detections,
    settings: DetectionGateSettings,
) -> dict[str, Scores]:
    assert unpatched.simulated is not None
    before = _tally(unpatched.simulated, healthy)
    healthy_rate = float(healthy.objects().mean())
    plain_rate = float(unpatched.live.objects().mean())
    least = settings.least_live_share * min(plain_rate, healthy_rate)
    most = settings.most_live_times * max(plain_rate, healthy_rate) + settings.spare_objects
    scores: dict[str, Scores] = {}
    for one in (unpatched, *candidates):
        assert one.simulated is not None
        after = _tally(one.simulated, healthy)
        gain = _f1(*after) - _f1(*before)
        error = _gain_error(before, after, settings.block_frames)
        rate = float(one.live.objects().mean())
        scores[one.name] = {
            "fidelity": _f1(*after),
            "gain": gain,
            "gain_error": error,
            "sure_gain": gain - settings.standard_errors * error,
            "live_objects": rate,
            "healthy_objects": healthy_rate,
            "is_plausible": float(least <= rate <= most),
        }
    return scores


def _tally(detections: Detections, healthy: Detections) -> tuple[Vector, Vector]:
    """Per frame (m,): objects both show, and the objects of one plus those of the other."""
    return shared_objects(detections, healthy), detections.objects() + healthy.objects()


def _f1(shared: Vector, both: Vector) -> float:
    return float(2 * shared.sum() / both.sum()) if both.sum() > 0 else 1.0


def _gain_error(before: tuple[Vector, Vector], after: tuple[Vector, Vector], block_frames: int) -> float:
    """Standard error of the gain of a pooled F1: jackknife over blocks of neighbouring frames.

    Source: Kuensch 1989, The jackknife and the bootstrap for general stationary observations (non-overlapping blocks).
    """
    frames = np.arange(len(before[0]))
    blocks = np.array_split(frames, max(2, round(len(frames) / block_frames)))
    rests = [np.setdiff1d(frames, block) for block in blocks]
    gains = np.array([_f1(after[0][i], after[1][i]) - _f1(before[0][i], before[1][i]) for i in rests])
    spread = ((gains - gains.mean()) ** 2).sum()
    return float(np.sqrt((len(blocks) - 1) / len(blocks) * spread))
