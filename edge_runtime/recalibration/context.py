"""The model that is recalibrated: its identity, its files, its clocks, the way out for its events, its samples."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.baseline.baseline import Baseline
from calibration.stats.moments import MeanVar
from edge_runtime.bundles.manifest import Envelope
from edge_runtime.config import PicturesConfig
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.inference.postprocess.healthy_threshold import HealthyThreshold
from edge_runtime.messaging.events import Fact


@dataclass(frozen=True, slots=True)
class Identity:
    """The bundle, model and preprocessing that a baseline must belong to."""

    bundle: str
    """Name and version."""
    model_sha256: str
    preprocessing: str
    """Digest of the bundle's preprocessing spec."""
    manifest_sha256: str
    """Of the whole bundle."""

    def find_misfit(self, baseline: Baseline) -> str | None:
        """Why a baseline cannot be used here; None when it can. One that does not know its preprocessing may."""
        if baseline.model_sha256 != self.model_sha256:
            return f"of the model {baseline.model_sha256[:12]}…; the bundle's is {self.model_sha256[:12]}…"
        if baseline.facts.preprocessing not in (None, self.preprocessing):
            return "recorded with another preprocessing"
        return None


@dataclass(frozen=True, slots=True)
class ModelContext:
    """The surroundings of the recalibration of one model."""

    model: str
    """Its name in the configuration."""
    bundle: Path
    """Folder."""
    identity: Identity
    model_state: ModelState
    emit: Callable[[Fact], None]
    clock: Callable[[], float]
    """Monotonic time, seconds."""
    wall_clock: Callable[[], float]
    """Unix time, seconds."""
    channel_axis: int = 0
    """Of a prepared sample: 0 for (C,H,W), 2 for (H,W,C)."""
    pictures: PicturesConfig = field(default_factory=PicturesConfig)
    """Limits for the pictures of a reference folder."""
    envelope: Envelope | None = None
    """What the bundle allows a patch to change."""
    threshold: HealthyThreshold | None = None
    """Of anomalies, drawn from the scores of the baseline in use; None: the model needs none."""
    window_s: float = 0.0
    """How long a window lasts: of one sensor those that are kept do not come faster. 0: the model takes pictures."""


def compute_input_moments(tensor: NDArray[np.float32], channel_axis: int) -> MeanVar:
    """Mean and variance per channel of a prepared sample without batch axis."""
    axes = tuple(axis for axis in range(tensor.ndim) if axis != channel_axis)
    return tensor.mean(axis=axes, dtype=np.float64), tensor.var(axis=axes, dtype=np.float64)
