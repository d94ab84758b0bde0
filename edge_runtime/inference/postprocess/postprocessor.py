"""Raw outputs of one sample -> what is published: classes, boxes in frame pixels, values, a score, or the arrays.

Pure numpy, and OpenCV for non-maximum suppression. Non-finite or misshapen outputs become ``Rejected`` values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.outputs.activations import sigmoid, softmax
from edge_runtime.datatypes import Anomaly, Detection, Label, Rejected, RejectReason, Sample, Value
from edge_runtime.inference.postprocess.detections import read_boxes
from edge_runtime.inference.postprocess.numbers import measure_anomaly, pick_output, read_values
from edge_runtime.inference.postprocess.output_flaw import OutputFlaw
from edge_runtime.inference.specs import (
    AnomalySpec,
    ClassificationSpec,
    DetectionSpec,
    PostprocessSpec,
    PreprocessSpec,
    RawSpec,
    RegressionSpec,
    ScoreKind,
)

OneOutput = Mapping[str, NDArray[Any]]
"""Outputs of one sample by name, without the batch axis."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a model to one sample. Exactly one field is set; they are those of ``Result``."""

    top: tuple[Label, ...] | None = None
    detections: tuple[Detection, ...] | None = None
    values: tuple[Value, ...] | None = None
    anomaly: Anomaly | None = None
    outputs: dict[str, NDArray[Any]] | None = None


class Meaning(Protocol):
    """The meaning of a model's answers: a manifest, or the recipe of one."""

    @property
    def preprocess(self) -> PreprocessSpec:
        """How its pictures were prepared."""

    @property
    def postprocess(self) -> PostprocessSpec:
        """The meaning of its outputs."""


class Postprocessor:
    """Reads the outputs of one model. Holds no state between samples; callable from several threads at once."""

    def __init__(
        self,
        meaning: Meaning,
        labels: tuple[str, ...],
        threshold: Callable[[], float | None] = lambda: None,
    ) -> None:
        """``threshold`` gives that of an anomaly, drawn from healthy scores, where the specification has none."""
        self._threshold = threshold
        self._spec = meaning.postprocess
        self._input_size = meaning.preprocess.size
        self._labels = labels

    def read(self, sample: Sample, outputs: OneOutput) -> Answer | Rejected:
        """The answer in the outputs of one sample, without the batch axis; its geometry maps boxes back to the frame.

        ``Rejected(BAD_OUTPUT)`` when an output is missing, misshapen or not finite.
        """
        try:
            match self._spec:
                case ClassificationSpec() as spec:
                    return Answer(top=self._top(spec, outputs))
                case DetectionSpec() as spec:
                    return Answer(detections=self._detections(spec, outputs, sample))
                case RegressionSpec() as spec:
                    return Answer(values=read_values(spec, outputs))
                case AnomalySpec() as spec:
                    return Answer(anomaly=self._anomaly(spec, outputs, sample))
                case RawSpec() as spec:
                    return Answer(outputs=_select(spec, outputs))
        except OutputFlaw as flaw:
            return Rejected(
                sample.stream,
                sample.seq,
                RejectReason.BAD_OUTPUT,
                str(flaw),
                sample.captured_at_wall_s,
                sample.origin,
            )

    def _top(self, spec: ClassificationSpec, outputs: OneOutput) -> tuple[Label, ...]:
        scores = np.asarray(pick_output(outputs, spec.output), np.float64).reshape(-1)
        if scores.size == 0 or not np.isfinite(scores).all():
            raise OutputFlaw("class scores are not finite numbers")
        probabilities = as_probabilities(spec.scores, scores)
        best = largest(probabilities, spec.top_k)
        return tuple(Label(int(i), self._name(int(i)), float(probabilities[i])) for i in best)

    def _anomaly(self, spec: AnomalySpec, outputs: OneOutput, sample: Sample) -> Anomaly:
        score = measure_anomaly(spec, outputs, sample.tensor)
        return Anomaly(score, self._threshold() if spec.threshold is None else spec.threshold)

    def _detections(self, spec: DetectionSpec, outputs: OneOutput, sample: Sample) -> tuple[Detection, ...]:
        boxes = read_boxes(spec, outputs, self._input_size, sample.geometry)
        return tuple(
            Detection(int(index), self._name(int(index) + spec.class_offset), float(score), (x1, y1, x2, y2))
            for (x1, y1, x2, y2), score, index in zip(
                boxes.corners.tolist(), boxes.scores, boxes.classes, strict=True
            )
        )

    def _name(self, index: int) -> str:
        return self._labels[index] if 0 <= index < len(self._labels) else str(index)


def largest(values: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Indices of the ``count`` largest values, largest first; of equal ones the one with the lower index."""
    if count < values.size:
        least = np.partition(values, -count)[-count]
        candidates = np.flatnonzero(values >= least)  # sorting these few costs a tenth of sorting all
    else:
        candidates = np.arange(values.size)
    return candidates[np.argsort(-values[candidates], kind="stable")][:count]


def as_probabilities(kind: ScoreKind, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Class scores of any kind -> probabilities, over the last axis."""
    match kind:
        case "logits":
            return softmax(scores)
        case "sigmoid_logits":
            return sigmoid(scores)
        case "probabilities":
            return scores


def _select(spec: RawSpec, outputs: OneOutput) -> dict[str, NDArray[Any]]:
    names = spec.outputs if spec.outputs is not None else tuple(outputs)
    chosen = {name: pick_output(outputs, name) for name in names}
    for name, array in chosen.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise OutputFlaw(f"output {name} holds values that are not finite")
    return chosen
