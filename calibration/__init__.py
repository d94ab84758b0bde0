"""Recalibrate BatchNorm statistics inside a finished model file, and know when not to.

Five lines in a notebook::

    import calibration as c
    b = c.profile("m.onnx", x)                    # x: healthy, prepared, float32 (N, C, H, W)
    v = c.recalibrate("m.onnx", b, reference)     # reference: what the camera sees now
    if v.accepted:
        open("p.onnx", "wb").write(c.apply("m.onnx", v.patch))

A library of its own: it never imports the runtime around it, and knows neither cameras nor brokers.
"""

from calibration.baseline import Baseline, Witness
from calibration.baseline_facts import BaselineFacts
from calibration.detections import Detections
from calibration.detector_layout import DetectionLayout
from calibration.errors import (
    BaselineError,
    CalibrationError,
    DataError,
    ModelError,
    PatchError,
    TapMismatch,
)
from calibration.gate import GateSettings
from calibration.gate_detections import DetectionGateSettings
from calibration.moments import INPUT_TAP, FrameMoments, Moments, TapMoments, blend, merge
from calibration.opening import open_target
from calibration.patch import Affine, Patch
from calibration.pooling import pool
from calibration.recalibrate import (
    apply,
    measure_drift,
    patched,
    probe,
    probe_files,
    profile,
    recalibrate,
    sketch,
    watch_drift,
)
from calibration.report import FrameCounts, Verdict
from calibration.targets.base import ModelFiles, PatchedModel, Target
from calibration.trial import Options
from calibration.watching import Watched

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
    "FrameCounts",
    "FrameMoments",
    "GateSettings",
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
    "Watched",
    "Witness",
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
    "sketch",
    "watch_drift",
]
