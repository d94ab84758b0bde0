"""Decides whether a candidate may be used, by the gate for classes, for boxes or for numbers. Pure."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from calibration.gate import classification, detection, scores, values
from calibration.gate.detection import DetectionGateSettings
from calibration.gate.evidence import Evidence, are_finite
from calibration.gate.values import ValueGateSettings
from calibration.outputs.detections import Detections
from calibration.outputs.read import Answers
from calibration.outputs.values import Numbers

__all__ = ["Evidence", "choose", "mean_fidelity"]


def mean_fidelity(simulated: Answers, healthy: Answers) -> float | None:
    """How well answers on simulated frames agree with the healthy ones, more is better; None: they are not finite."""
    if not are_finite(simulated):
        return None
    if isinstance(simulated, Detections):
        assert isinstance(healthy, Detections)
        return detection.soft_f1(simulated, healthy)
    if isinstance(simulated, Numbers):
        assert isinstance(healthy, Numbers)
        return float(values.fidelity(simulated, healthy).mean())
    assert not isinstance(healthy, Detections | Numbers)
    return float(scores.fidelity(simulated, healthy).mean())


def choose(
    unpatched: Evidence[Answers],
    candidates: Sequence[Evidence[Answers]],
    healthy: Answers | None,
    labels: NDArray[np.int64] | None,
    settings: classification.GateSettings,
    detection_settings: DetectionGateSettings,
    value_settings: ValueGateSettings,
    *,
    tried: int,
) -> classification.Choice:
    """The candidate to use, or none; see the gates. ``tried`` is how many there were before a screening."""
    if isinstance(unpatched.live, Detections):
        detected = cast("Sequence[Evidence[Detections]]", [unpatched, *candidates])
        assert healthy is None or isinstance(healthy, Detections)
        return detection.choose(detected[0], detected[1:], healthy, detection_settings, tried)
    if isinstance(unpatched.live, Numbers):
        numbers = cast("Sequence[Evidence[Numbers]]", [unpatched, *candidates])
        assert healthy is None or isinstance(healthy, Numbers)
        return values.choose(numbers[0], numbers[1:], healthy, value_settings, tried)
    classified = cast("Sequence[Evidence[NDArray[np.float64]]]", [unpatched, *candidates])
    assert not isinstance(healthy, Detections | Numbers)
    return classification.choose(classified[0], classified[1:], healthy, labels, settings, tried)
