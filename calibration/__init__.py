"""Recalibrate BatchNorm statistics inside a finished model file, and know when not to.

Five lines in a notebook::

    import calibration as c
    b = c.profile("m.onnx", x)                    # x: healthy, prepared, float32 (N, C, ...)
    v = c.recalibrate("m.onnx", b, reference)     # reference: what the sensor gives now, prepared alike
    if v.accepted:
        open("p.onnx", "wb").write(c.apply("m.onnx", v.patch))

Samples are pictures (N, C, H, W), windows of a signal (N, C, T) or features (N, F), prepared as the model expects them:
resized, normalised, channels first. Where a text says frame, a window is meant as well. For a bundle,
``edge_runtime.inference.preprocess.make_preprocessor`` does it by the manifest. Record 64 healthy samples or more; 8
are the least. Run the original model again when the drift ends; :func:`watch_drift` tells.

This library never imports the runtime, and knows neither cameras nor brokers. Errors are those of
:class:`CalibrationError`; a verdict that refuses is none.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibration.api import (
        apply,
        judge,
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
    from calibration.drift.monitor import DriftMonitor, DriftSettings, DriftStatus
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
    from calibration.gate.values import ValueGateSettings
    from calibration.outputs.detection_layout import DetectionLayout
    from calibration.outputs.detections import Detections
    from calibration.outputs.read import ClassScores, NoAnswers
    from calibration.outputs.values import Numbers, Values
    from calibration.patch import Affine, Patch
    from calibration.search.options import Options
    from calibration.stats.moments import INPUT_TAP, FrameMoments, Moments, TapMoments, blend, merge
    from calibration.targets.base import ModelFiles, PatchedModel
    from calibration.targets.open import open_target
    from calibration.targets.target import Target
    from calibration.verdict import FrameCounts, Verdict

__all__ = [
    "INPUT_TAP",
    "Affine",
    "Baseline",
    "BaselineError",
    "BaselineFacts",
    "CalibrationError",
    "ClassScores",
    "DataError",
    "DetectionGateSettings",
    "DetectionLayout",
    "Detections",
    "DriftMonitor",
    "DriftReport",
    "DriftSettings",
    "DriftStatus",
    "FrameCounts",
    "FrameMoments",
    "GateSettings",
    "HealthySamples",
    "ModelError",
    "ModelFiles",
    "Moments",
    "NoAnswers",
    "Numbers",
    "Options",
    "Patch",
    "PatchError",
    "PatchedModel",
    "TapMismatch",
    "TapMoments",
    "Target",
    "ValueGateSettings",
    "Values",
    "Verdict",
    "apply",
    "blend",
    "judge",
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

_HOMES = {
    "calibration.api": "apply judge measure_drift patched probe probe_files profile recalibrate snapshot watch_drift",
    "calibration.baseline.baseline": "Baseline HealthySamples",
    "calibration.baseline.metadata": "BaselineFacts",
    "calibration.baseline.pooling": "pool",
    "calibration.drift.monitor": "DriftMonitor DriftSettings DriftStatus",
    "calibration.drift.replay": "DriftReport",
    "calibration.errors": "BaselineError CalibrationError DataError ModelError PatchError TapMismatch",
    "calibration.gate.classification": "GateSettings",
    "calibration.gate.detection": "DetectionGateSettings",
    "calibration.gate.values": "ValueGateSettings",
    "calibration.outputs.detection_layout": "DetectionLayout",
    "calibration.outputs.detections": "Detections",
    "calibration.outputs.read": "ClassScores NoAnswers",
    "calibration.outputs.values": "Numbers Values",
    "calibration.patch": "Affine Patch",
    "calibration.search.options": "Options",
    "calibration.stats.moments": "INPUT_TAP FrameMoments Moments TapMoments blend merge",
    "calibration.targets.base": "ModelFiles PatchedModel",
    "calibration.targets.open": "open_target",
    "calibration.targets.target": "Target",
    "calibration.verdict": "FrameCounts Verdict",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
_OLD_NAMES = {"Watched": "DriftReport", "Witness": "HealthySamples", "sketch": "snapshot"}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for; give what had another name in the release before, with a warning.

    A program that reads one file by ``calibration.stats.regular_file`` need not wait for the whole library (0.4 s).
    """
    new = _OLD_NAMES.get(name, name)
    if new not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if new != name:
        warnings.warn(f"calibration.{name} is now calibration.{new}", DeprecationWarning, stacklevel=2)
    found = globals()[new] = getattr(import_module(_HOME_OF[new]), new)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
