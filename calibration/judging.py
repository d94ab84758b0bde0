"""Sends answers to the gate they belong to: class probabilities to ``gate``, detections to ``gate_detections``.

No rule of its own, no model. Called by ``trial``.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration import gate, gate_detections
from calibration.answers import Answers
from calibration.detections import Detections
from calibration.gate_detections import DetectionEvidence, DetectionGateSettings

Evidence = gate.Evidence | DetectionEvidence


def evidence_of(name: str, live: Answers, reenacted: Answers | None, *, is_gentle: bool = False) -> Evidence:
    """What a candidate answers, as its gate wants to hear it."""
    if isinstance(live, Detections):
        assert reenacted is None or isinstance(reenacted, Detections)
        return DetectionEvidence(name, live, reenacted, is_gentle)
    assert not isinstance(reenacted, Detections)
    return gate.Evidence(name, live, reenacted, is_gentle)


def mean_fidelity(reenacted: Answers, healthy: Answers) -> float | None:
    """How well answers on re-enacted frames agree with the healthy ones, more is better; None: they are not finite."""
    if isinstance(reenacted, Detections):
        assert isinstance(healthy, Detections)
        return gate_detections.soft_f1(reenacted, healthy) if reenacted.is_finite else None
    assert not isinstance(healthy, Detections)
    return float(gate.fidelity(reenacted, healthy).mean()) if np.isfinite(reenacted).all() else None


def choose(
    identity: Evidence,
    candidates: Sequence[Evidence],
    healthy: Answers | None,
    labels: NDArray[np.int64] | None,
    settings: gate.GateSettings,
    detection_settings: DetectionGateSettings,
    tried: int | None = None,
) -> gate.Choice:
    """The candidate to use, or identity; see the gates. ``tried`` is how many there were before a screening."""
    if isinstance(identity, DetectionEvidence):
        assert healthy is None or isinstance(healthy, Detections)
        rivals = [one for one in candidates if isinstance(one, DetectionEvidence)]
        return gate_detections.choose(identity, rivals, healthy, detection_settings, tried)
    assert not isinstance(healthy, Detections)
    others = [one for one in candidates if isinstance(one, gate.Evidence)]
    return gate.choose(identity, others, healthy, labels, settings, tried)
