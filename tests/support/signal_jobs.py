"""Recalibration jobs on windows, and the sensor that has drifted."""

import numpy as np

from calibration.baseline.metadata import BaselineFacts
from edge_runtime.config import RecalibrationConfig, ReferenceConfig
from edge_runtime.datatypes import Frame, Sample
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.recalibration.job.messages import JobRequest
from edge_runtime.recalibration.task import Cause, ChosenReference
from tests.support.signal_bundles import LABELS, signal_spec

COUNT = 96
"""Windows of a baseline and of a reference."""


def make_order(kind, bundle, folder, reference=None, name="baseline"):
    """A job of ``bundle`` whose baseline is, or will be, in ``folder``."""
    return JobRequest(
        kind,
        Cause.COMMAND,
        12.0,
        bundle.path,
        folder / f"{name}.safetensors",
        reference or ChosenReference(),
        COUNT,
        RecalibrationConfig(reference=ReferenceConfig(frames=COUNT)),
        BaselineFacts(),
        (),
        bundle.manifest.sha256,
    )


def drift(window):
    """The sensor gives 1.6 times as much, and half a g more on its last axis."""
    return window * 1.6 + np.array([0.0, 0.0, 0.5])


def samples_of(windows):
    prepare = make_preprocessor(signal_spec()).prepare
    samples = [prepare(Frame("pump", i, window, 0.0, 0.0)) for i, window in enumerate(windows)]
    assert all(isinstance(sample, Sample) for sample in samples)
    return samples


def values_of(windows):
    """(N, C, T) float32 in g, as the reservoir keeps them."""
    return np.stack([sample.values for sample in samples_of(windows)])


def share_right(engine, windows):
    """Of windows of each class in turn."""
    [scores] = engine.infer(np.stack([sample.tensor for sample in samples_of(windows)])).values()
    return float((scores.argmax(axis=1) == np.arange(len(windows)) % len(LABELS)).mean())
