"""The port every framework implements: where the taps are, what flows through them, how a patch gets in.

No framework is imported here.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.patch import Affine, Patch
from calibration.stats.moments import FrameMoments, Moments

Batch = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TapInfo:
    """A layer output that can be measured and corrected."""

    name: str
    channels: int
    kind: str
    """For people, e.g. ``Conv int8`` or ``BatchNormalization``."""


@dataclass(frozen=True, slots=True)
class SkippedLayer:
    """A layer that stays as it is, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What one pass saw."""

    moments: Moments
    """``input`` and then every tap asked for, in graph order."""
    frames: Mapping[str, FrameMoments]
    """Single-frame moments of the first few of them (``input`` among them); none of a pass that corrects."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What the observer does at each tap while it measures the next ones."""

    baseline: Moments
    prior: float = 0.0
    input: Affine | None = None
    """A correction of the input itself, applied before the first layer."""


FORMATS = "ONNX (.onnx), TorchScript (.pt) or an OpenVINO IR (.xml with its .bin)"
"""The model files that are taken, in words."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model as bytes: one file, or the two of an OpenVINO IR."""

    data: bytes
    """The file; of an IR the .xml."""
    weights: bytes | None = None
    """Of an IR the .bin; None for the formats of one file."""

    @property
    def sha256(self) -> str:
        """Hex digest of the file; of an IR that of the .xml followed by the .bin."""
        digest = hashlib.sha256(self.data)
        digest.update(self.weights or b"")
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class PatchedModel:
    """A model with a patch in it."""

    data: bytes
    left_alone: Mapping[str, int] = field(default_factory=dict)
    """Per tap, channels that could not take the correction (dead weights, int32 bias overflow)."""
    weights: bytes | None = None
    """The second file of an OpenVINO IR; None for the formats of one file."""

    @property
    def files(self) -> ModelFiles:
        """The bytes, as a model to open or to write."""
        return ModelFiles(self.data, self.weights)


class Runner(Protocol):
    """A loaded model that gives its raw outputs."""

    def __call__(self, x: Batch) -> dict[str, NDArray[Any]]:
        """Outputs by name for ``x`` (N, C, ...); the first axis of each is N."""


class Target(Protocol):
    """One model file in one framework, opened for recalibration."""

    @property
    def sha256(self) -> str:
        """Hex digest of the model file."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, C, ...) of the one picture input; None is dynamic."""

    @property
    def taps(self) -> tuple[TapInfo, ...]:
        """The layer outputs that can be corrected, in the order the data passes them; without ``input``."""

    @property
    def skipped(self) -> tuple[SkippedLayer, ...]:
        """Layers with weights that stay as they are."""

    def observe(
        self,
        x: Batch,
        normalise: Normalisation | None = None,
        first_taps: int | None = None,
        frames_of_first: int = 0,
    ) -> Observation:
        """Moments at the taps over ``x`` (N, C, ...), in micro-batches (memory does not grow with N).

        With ``normalise`` every tap is set to the baseline's moments inside the graph before the next layer
        sees it, so that one pass gives what layer-by-layer recalibration would.

        Args:
            x: Prepared samples, finite.
            normalise: None measures the model as it is.
            first_taps: Measure (and normalise) only the first so many taps; None is all.
            frames_of_first: Also keep single-frame moments of so many taps, ``input`` being the first; without
                ``normalise`` only.

        Raises:
            ModelError: the framework failed on the graph.
            TapMismatch: the baseline is of another model.
        """

    def patched(self, patch: Patch) -> PatchedModel:
        """The model with the corrections in its own constants; channels at identity stay bit for bit.

        Raises:
            PatchError: the patch is for another model.
        """

    def runner(self, patch: Patch | None = None) -> Runner:
        """The model as deployed (same quantized arithmetic), with or without a patch, ready to run."""

    def probe(self, first_taps: int) -> ModelFiles:
        """A small model of the same framework: outputs ``<tap>/mean`` and ``<tap>/var`` of the first taps per frame."""

    def inspect(self) -> dict[str, Any]:
        """What the file is and what can be done with it, for people and ``--json``."""
