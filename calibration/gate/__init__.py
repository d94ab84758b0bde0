"""Decides whether a candidate may be used, by the gate for classifiers or the one for detectors. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.gate import classification, detection
from calibration.gate.detection import DetectionEvidence, DetectionGateSettings
from calibration.outputs.detections import Detections
from calibration.outputs.read import Answers

Evidence = classification.Evidence | DetectionEvidence


def evidence_of(
    name: str, live: Answers, simulated: Answers | None, *, is_conservative: bool = False
) -> Evidence:
    """What a candidate answers, in the form that its gate judges."""
    if isinstance(live, Detections):
        assert simulated is None or isinstance(simulated, Detections)
        return DetectionEvidence(name, live, simulated, is_conservative)
    assert not isinstance(simulated, Detections)
    return classification.Evidence(name, live, simulated, is_conservative)


def mean_fidelity(simulated: Answers, healthy: Answers) -> float | None:
    """How well answers on simulated frames agree with the healthy ones, more is better; None: they are not finite."""
    if isinstance(simulated, Detections):
        assert isinstance(healthy, Detections)
        return detection.soft_f1(simulated, healthy) if simulated.is_finite else None
    assert not isinstance(healthy, Detections)
    return float(classification.fidelity(simulated, healthy).mean()) if np.isfinite(simulated).all() else None


def choose(
    unpatched: Evidence,
    candidates: Sequence[Evidence],
    healthy: Answers | None,
    labels: NDArray[np.int64] | None,
    settings: classification.GateSettings,
    detection_settings: DetectionGateSettings,
    tried: int | None = None,
) -> classification.Choice:
    """The candidate to use, or none; see the gates. ``tried`` is how many there were before a screening."""
    if isinstance(unpatched, DetectionEvidence):
        assert healthy is None or isinstance(healthy, Detections)
        rivals = [one for one in candidates if isinstance(one, DetectionEvidence)]
        return detection.choose(unpatched, rivals, healthy, detection_settings, tried)
    assert not isinstance(healthy, Detections)
    others = [one for one in candidates if isinstance(one, classification.Evidence)]
    return classification.choose(unpatched, others, healthy, labels, settings, tried)
