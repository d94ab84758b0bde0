"""The values that go into a target and come out of it: model files, taps, moments, a patched model.

A *tap* is a layer output that can be measured and corrected. No framework is imported here.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.patch import Affine
from calibration.stats.moments import FrameMoments, Moments

Batch = NDArray[np.float32]

DEAD_WEIGHT_SCALE = 1e-7
"""Below it the int8 weights of a channel stand for zeros: its output is constant and takes no correction."""

MEAN, VARIANCE = "/mean", "/var"
"""Behind the name of a tap: the two outputs of a probe."""


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
    """The moments of one pass."""

    moments: Moments
    """``input`` and then every tap asked for, in graph order."""
    frames: Mapping[str, FrameMoments]
    """Single-frame moments of the first few of them (``input`` among them); none of a pass that corrects."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How each tap is corrected while the next ones are measured."""

    baseline: Moments
    prior: float = 0.0
    input: Affine | None = None
    """A correction of the input itself, applied before the first layer."""

    def settings(self, channels: int) -> list[NDArray[np.float32]]:
        """The prior (), and scale and offset (C,) of the input correction; without one those of the identity."""
        affine = self.input or Affine(np.ones(channels, np.float32), np.zeros(channels, np.float32))
        return [np.asarray(self.prior, np.float32), affine.scale, affine.offset]


class NoDerivative(Exception):
    """What was asked for cannot be differentiated; the text says why, as a clause."""


LEAST_PROBABILITY = 1e-3
"""Added to probabilities before their logarithm is taken."""

LossKind = Literal["squares", "softmax", "likelihood", "sigmoid"]


@dataclass(frozen=True, slots=True)
class Aim:
    """A tensor that a correction brings near to what the healthy model made of the healthy frame.

    ``squares``: half the sum of weighted squared differences. The others are weighted cross-entropies: ``softmax`` of
    logits of one class out of several (on axis 1), ``likelihood`` of the probabilities themselves, ``sigmoid`` of
    logits of independent labels.
    """

    name: str
    """Of a tap, an output of the model, or a head (:attr:`Gradients.heads`)."""
    kind: LossKind = "squares"


@dataclass(frozen=True, slots=True)
class Slope:
    """The derivatives of a loss by the correction of one tap: float64 (C,) each."""

    scale: NDArray[np.float64]
    offset: NDArray[np.float64]

    @property
    def is_finite(self) -> bool:
        """Whether all of them are numbers."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.offset).all())


class Gradients(Protocol):
    """A model in float32 whose taps are corrected by arguments, and its derivatives by them.

    Where the deployed model rounds to integers, this one only keeps to their range.
    """

    batch: int
    """Frames at once, always as many."""
    aims: tuple[Aim, ...]
    """Those asked for that can be reached."""
    taps: tuple[str, ...]
    """The taps that the aims depend on, ``input`` first."""
    problems: tuple[str, ...]
    """Operators without a derivative that stand in the way of the other aims, for people."""

    def run(self, x: Batch) -> dict[str, NDArray[np.float32]]:
        """The aims of the uncorrected model for ``x`` (``batch``, C, ...), by name."""

    def step(
        self,
        x: Batch,
        affines: Mapping[str, Affine],
        targets: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, NDArray[np.float32]],
    ) -> tuple[dict[str, float], dict[str, Slope]]:
        """The losses by aim, and the derivatives of their sum by tap.

        Args:
            x: float32 (``batch``, C, ...).
            affines: A correction for each of ``taps``.
            targets: What each aim is compared with, in its own shape.
            weights: Of the comparison; they broadcast over the aim.
        """


InputLayout = Literal["nchw", "nhwc", "nct", "ntc", "nf"]
"""Axes of a model's input: N samples, C channels, H x W pixels, T steps of time, F features (they are the channels)."""

FORMATS = "ONNX (.onnx), TorchScript (.pt) or an OpenVINO IR (.xml with its .bin)"
"""The model files that are accepted, for messages."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model as bytes: one file, or the two of an OpenVINO IR."""

    data: bytes
    """The file; of an IR the .xml."""
    weights: bytes | None = None
    """Of an IR the .bin; None for the formats of one file."""
    layout: InputLayout | None = field(default=None, kw_only=True)
    """Of the input, where it is known; None leaves it to the model."""

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
    layout: InputLayout | None = None
    """Of the input, as it was told of the model without the patch."""

    @property
    def files(self) -> ModelFiles:
        """The bytes, as a model to open or to write."""
        return ModelFiles(self.data, self.weights, layout=self.layout)


def over_weights(
    shape: tuple[int, ...], axis: int, scale: NDArray[np.float64], groups: int, op: str
) -> NDArray[np.float64]:
    """``scale`` (C,) in a form that broadcasts over the weights of an ``op``, of ``shape``, with C on ``axis``."""
    if op == "ConvTranspose":  # (C_in, C_out / groups, ...), inputs in group order
        rows = np.repeat(scale.reshape(groups, -1), shape[0] // groups, axis=0)
        return rows.reshape(shape[:2] + (1,) * (len(shape) - 2))
    return scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])


class Runner(Protocol):
    """A loaded model that gives its raw outputs."""

    def __call__(self, x: Batch) -> dict[str, NDArray[Any]]:
        """Outputs by name for ``x`` (N, C, ...); the first axis of each is N."""
