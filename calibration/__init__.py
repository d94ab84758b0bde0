"""Recalibrate BatchNorm statistics inside a finished model file, and know when not to.

Five lines in a notebook::

    import calibration as c
    b = c.profile("m.onnx", x)                    # x: healthy, prepared, float32 (N, C, H, W)
    v = c.recalibrate("m.onnx", b, reference)     # reference: what the camera sees now
    if v.accepted:
        open("p.onnx", "wb").write(c.apply("m.onnx", v.patch))

A library of its own: it never imports the runtime around it, and knows neither cameras nor brokers.
"""

from calibration.api import (
    apply,
    measure_drift,
    patched,
    probe,
    probe_files,
    profile,
    recalibrate,
    snapshot,
    watch_drift,
)
from calibration.baseline.baseline import Baseline, HealthySamples
from calibration.baseline.metadata import BaselineFacts
from calibration.baseline.pooling import pool
from calibration.drift.replay import DriftReport
from calibration.errors import (
    BaselineError,
    CalibrationError,
    DataError,
    ModelError,
    PatchError,
    TapMismatch,
)
from calibration.gate.classification import GateSettings
from calibration.gate.detection import DetectionGateSettings
from calibration.outputs.detection_layout import DetectionLayout
from calibration.outputs.detections import Detections
from calibration.patch import Affine, Patch
from calibration.search.flow import Options
from calibration.stats.moments import INPUT_TAP, FrameMoments, Moments, TapMoments, blend, merge
from calibration.targets.base import ModelFiles, PatchedModel, Target
from calibration.targets.open import open_target
from calibration.verdict import FrameCounts, Verdict

__all__ = [
    "INPUT_TAP",
    "Affine",
    "Baseline",
    "BaselineError",
    "BaselineFacts",
    "CalibrationError",
    "DataError",
    "DetectionGateSettings",
    "DetectionLayout",
    "Detections",
    "DriftReport",
    "FrameCounts",
    "FrameMoments",
    "GateSettings",
    "HealthySamples",
    "ModelError",
    "ModelFiles",
    "Moments",
    "Options",
    "Patch",
    "PatchError",
    "PatchedModel",
    "TapMismatch",
    "TapMoments",
    "Target",
    "Verdict",
    "apply",
    "blend",
    "measure_drift",
    "merge",
    "open_target",
    "patched",
    "pool",
    "probe",
    "probe_files",
    "profile",
    "recalibrate",
    "snapshot",
    "watch_drift",
]
