"""Decides whether a patch of a model that answers numbers may be used: a regression, or the score of an anomaly. Pure.

There is no class to be sure of, so the live answers alone prove nothing. A candidate is judged on the healthy samples
under the simulated drift: the squared error against the healthy model's answers, in units of how much these vary. It is
compared sample by sample with the unpatched model, which wins when in doubt. An answer that never changes has an error
of 1, so that more than that decides nothing, whatever was gained. Where few samples told the drift, the error under
drifts that others could have told counts as well, and in full: rare answers far off are what harms. It may not rise,
and of several good candidates the one with the least is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.gate import reasons
from calibration.gate.bar import Scores
from calibration.gate.classification import Choice
from calibration.gate.evidence import Evidence, judgeable, refusal_reason
from calibration.outputs.values import Numbers

MOST_ERROR = 9.0
"""Of one value, three healthy spreads: one wild sample must not outvote twenty others."""


@dataclass(frozen=True, slots=True)
class ValueGateSettings:
    """When a candidate for a model that answers numbers is good enough.

    Attributes:
        min_live: Fewer live samples than this decide nothing.
        min_simulated: Fewer healthy samples than this decide nothing.
        min_gain: Least gain, in healthy variances: with less, the simulation's error decides.
        standard_errors: By how many of its standard errors the gain must be above 0.
        most_error: A candidate's own error must be below it: the mean of the healthy answers has 1.
        room: How far the live answers may lie outside the range of the healthy ones, in healthy spreads, unless they
            come nearer than without a patch.
        must_be_in_room: Whether coming nearer is not enough.
    """

    min_live: int = 8
    min_simulated: int = 16
    min_gain: float = 0.1
    standard_errors: float = 3.0
    most_error: float = 0.7
    room: float = 1.0
    must_be_in_room: bool = False


DEFAULTS = ValueGateSettings()


def for_reconstructions(settings: ValueGateSettings) -> ValueGateSettings:
    """The same gate for scores of a reconstruction.

    These tell by themselves whether the input is as the model knows it: the live ones must be in the range of the
    healthy ones, neither above nor below. Healthy ones vary by a twentieth of their size only, and say nothing by it.
    So a simulation that is off by an eighth of the score, as that of a camera's tones may be, is allowed.
    """
    return replace(settings, most_error=6.0, must_be_in_room=True)


def choose(
    unpatched: Evidence[Numbers],
    candidates: Sequence[Evidence[Numbers]],
    healthy: Numbers | None = None,
    settings: ValueGateSettings = DEFAULTS,
    tried: int | None = None,
) -> Choice:
    """The candidate to use, or the unpatched model.

    Args:
        unpatched: Answers of the unpatched model.
        candidates: Answers of the patched ones, on the same samples in the same order.
        healthy: Of the healthy model to the healthy originals of the simulated samples.
        settings: Margins and minimums.
        tried: How many candidates there were before a screening; for the text alone.

    Raises:
        ValueError: the answers do not fit together.
    """
    usable, notes = judgeable(unpatched, candidates, healthy)
    refusal = refusal_reason(unpatched, settings.min_live) or _why_not_judged(healthy, settings)
    if refusal is not None:
        return Choice(False, unpatched.name, (*notes, refusal), {})
    assert healthy is not None
    scores = _scores(unpatched, usable, healthy, settings)
    rivals = [name for name in scores if name != unpatched.name]
    best = max(rivals, key=lambda name: _rank(scores[name], settings), default=None)
    if best is None:
        return Choice(False, unpatched.name, (*notes, "No candidate is left. Nothing is changed."), scores)
    named = reasons.best_of(best, len(rivals), tried)
    text = reasons.by_values(named, scores[best], scores[unpatched.name], len(healthy))
    if _is_good(scores[best], settings):
        return Choice(True, best, (*notes, reasons.accepted(text)), scores)
    needed = (
        f"a gain of {settings.min_gain:g} that is {settings.standard_errors:g} times its error, an error below "
        f"{settings.most_error:g}, and live answers in the range of the healthy ones"
    )
    if not settings.must_be_in_room:
        needed += " or nearer to it than now"
    if "resampled_error" in scores[best]:
        needed += "; and no larger error where other samples had told the drift"
    return Choice(False, unpatched.name, (*notes, reasons.unsure(text, needed)), scores)


def fidelity(simulated: Numbers, healthy: Numbers) -> NDArray[np.float64]:
    """(m,) minus the squared error of each sample against the healthy answer, in healthy variances."""
    spread, varies = healthy.measure_spread()
    off = np.square((simulated.rows - healthy.rows)[:, varies] / spread[varies])
    return -np.asarray(np.minimum(off, MOST_ERROR).mean(axis=1), np.float64)


def mean_error(answers: Numbers, healthy: Numbers) -> float:
    """Mean squared error of ``answers`` (R * m, K) to m healthy samples R times over, in healthy variances, in full."""
    spread, varies = healthy.measure_spread()
    off = answers.rows.reshape(-1, *healthy.shape) - healthy.rows
    return float(np.square(off[..., varies] / spread[varies]).mean())


def _why_not_judged(healthy: Numbers | None, settings: ValueGateSettings) -> str | None:
    if healthy is None or len(healthy) < settings.min_simulated:
        return (
            "Numbers are judged on healthy samples under the simulated drift only, and the baseline keeps none or too "
            "few. Nothing is changed."
        )
    if not healthy.measure_spread()[1].any():
        return "The healthy answers are all the same, so none can be told from another. Nothing is changed."
    return None


def _scores(
    unpatched: Evidence[Numbers],
    candidates: Sequence[Evidence[Numbers]],
    healthy: Numbers,
    settings: ValueGateSettings,
) -> dict[str, Scores]:
    assert unpatched.simulated is not None
    before, far = fidelity(unpatched.simulated, healthy), _outside(unpatched.live, healthy)
    room = settings.room if settings.must_be_in_room else max(settings.room, far)
    wild = _wild_share(unpatched, healthy)
    scores: dict[str, Scores] = {}
    for one in (unpatched, *candidates):
        assert one.simulated is not None
        gain, outside = fidelity(one.simulated, healthy) - before, _outside(one.live, healthy)
        error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
        is_sane = _wild_share(one, healthy) <= wild
        if one.resampled_error is not None and unpatched.resampled_error is not None:
            is_sane &= one.resampled_error <= unpatched.resampled_error
        scores[one.name] = {
            "fidelity": float(before.mean() + gain.mean()),
            "gain": float(gain.mean()),
            "gain_error": error,
            "sure_gain": float(gain.mean()) - settings.standard_errors * error,
            "live_outside": outside,
            "is_plausible": float(outside <= room and is_sane),
        }
        if one.resampled_error is not None:
            scores[one.name]["resampled_error"] = one.resampled_error
    return scores


def _outside(live: Numbers, healthy: Numbers) -> float:
    """How far the median live answer lies outside of the healthy range, in healthy spreads: of the worst value."""
    spread, varies = healthy.measure_spread()
    low, high = np.quantile(healthy.rows, (0.02, 0.98), axis=0)
    middle = np.median(live.rows, axis=0)
    beyond = np.maximum(np.maximum(low - middle, middle - high), 0.0)
    return float((beyond[varies] / spread[varies]).max())


def _wild_share(one: Evidence[Numbers], healthy: Numbers) -> float:
    """Share of all its answers that no healthy one is near to: a dead unit that awakes makes few of them, far off."""
    assert one.simulated is not None
    spread, varies = healthy.measure_spread()
    room = np.sqrt(MOST_ERROR) * spread
    rows = np.concatenate([one.live.rows, one.simulated.rows])
    is_wild = (rows < healthy.rows.min(axis=0) - room) | (rows > healthy.rows.max(axis=0) + room)
    return float(is_wild[:, varies].any(axis=1).mean())


def _rank(found: Scores, settings: ValueGateSettings) -> tuple[bool, float]:
    """Good ones first; then the least error over all drifts that could be, or the largest gain under the only one."""
    return _is_good(found, settings), -found.get("resampled_error", -found["gain"])


def _is_good(found: Scores, settings: ValueGateSettings) -> bool:
    is_sure = found["gain"] >= max(settings.min_gain, settings.standard_errors * found["gain_error"])
    return is_sure and -found["fidelity"] < settings.most_error and bool(found["is_plausible"])
