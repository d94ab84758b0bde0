"""Reads a model's answers out of its raw outputs: class probabilities or detections. Pure.

Without a layout, outputs that are clearly neither the scores of one class out of several nor detections are refused
with a reason, and then nothing is judged without labels.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.outputs.activations import softmax
from calibration.outputs.detection_layout import DetectionLayout, NotDetections, Outputs, read
from calibration.outputs.detections import Detections, join
from calibration.outputs.layout_inference import recognise

Answers = NDArray[np.float64] | Detections
"""(N,K) class probabilities, or the detections of N frames."""


class ClassScores(Enum):
    """What the scores of a classifier are: a property of the model, found once and not batch by batch."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"


Layout = DetectionLayout | ClassScores
"""How a model's outputs are read."""


class UnknownAnswers(Exception):
    """The outputs cannot be judged; the text says why, as a clause."""


def named_only(outputs: Outputs, name: str | None) -> Outputs:
    """The output with the answers, of a model that has several; None takes them all.

    Raises:
        ModelError: the model has no such output.
    """
    if name is None:
        return outputs
    if name not in outputs:
        known = ", ".join(sorted(outputs))
        raise ModelError("model", f"no output {name!r}", f"one of {known}", "Name the one with the answers.")
    return {name: outputs[name]}


def layout_of(outputs: Mapping[str, NDArray[Any]]) -> Layout:
    """How to read a model's answers, found in what the healthy model gives.

    Ask once and keep it: a few logits may well lie between 0 and 1, and a drifted detector may give no box.

    Raises:
        UnknownAnswers: neither class scores nor detections.
    """
    scores = _only_scores(outputs)
    kind = None if scores is None else _kind_of(scores)
    if kind is not None:
        return kind
    try:
        return recognise(outputs)
    except NotDetections as err:
        raise UnknownAnswers(
            f"the model's outputs are not the scores of one class out of several, and {err}"
        ) from err


def read_answers(outputs: Mapping[str, NDArray[Any]], layout: Layout) -> Answers:
    """The answers in these outputs, by the layout that belongs to the model.

    Raises:
        UnknownAnswers: they cannot be read so.
    """
    if isinstance(layout, ClassScores):
        scores = _only_scores(outputs)
        if scores is None:
            raise UnknownAnswers("the model's outputs are not the scores of one class out of several")
        return _probabilities(scores, layout)
    try:
        return read(layout, outputs)
    except NotDetections as err:
        raise UnknownAnswers(f"the model's outputs are not the detections they were: {err}") from err


def join_answers(parts: Sequence[Answers]) -> Answers:
    """The answers to the frames of all parts, one part after the other; all of one kind."""
    boxes = [part for part in parts if isinstance(part, Detections)]
    return join(boxes) if boxes else np.concatenate([p for p in parts if not isinstance(p, Detections)])


def _kind_of(scores: NDArray[np.float64]) -> ClassScores | None:
    """None for independent scores per class. Scores that are not finite belong to nothing else than logits."""
    if not np.isfinite(scores).all() or scores.min() < -1e-6 or scores.max() > 1 + 1e-6:
        return ClassScores.LOGITS
    return ClassScores.PROBABILITIES if (np.abs(scores.sum(axis=1) - 1) < 0.5).all() else None


def _probabilities(scores: NDArray[np.float64], kind: ClassScores) -> NDArray[np.float64]:
    """(N, K) that sum to 1 (quantized ones are brought to that); all NaN when the scores are not finite."""
    if not np.isfinite(scores).all():
        return np.full(scores.shape, np.nan)
    if kind is ClassScores.PROBABILITIES:
        kept = np.clip(scores, 0, None)
        return np.asarray(kept / np.maximum(kept.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))
    return softmax(scores)


def _only_scores(outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
    """(N, K) of the one output that is that, or (N, K, 1, 1); None when there is none, or several."""
    found = [
        output.reshape(output.shape[:2]).astype(np.float64)
        for output in outputs.values()
        if output.ndim >= 2 and output.shape[1] > 1 and set(output.shape[2:]) <= {1}
        if np.issubdtype(output.dtype, np.floating)
    ]
    return found[0] if len(found) == 1 else None
