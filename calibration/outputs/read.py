"""Reads a model's answers out of its raw outputs: class probabilities, detections or numbers. Pure.

Without a layout, outputs that are clearly neither the scores of one class out of several nor detections are refused
with a reason, and then nothing is judged without labels.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.outputs.activations import sigmoid, softmax
from calibration.outputs.detection_layout import DetectionLayout, NotDetections, Outputs, read
from calibration.outputs.detections import Detections, join, labels_as_detections
from calibration.outputs.layout_inference import recognise
from calibration.outputs.values import NotValues, Numbers, Values, join_numbers, read_numbers

_UNIT = 1e-3
"""Rounding of a length of 1."""
_MOST_ZEROS = 0.1
"""Share of values that may be exactly 0 where none is negative; behind a ReLU about a half are."""

Answers = NDArray[np.float64] | Detections | Numbers
"""(N,K) class probabilities, the detections of N frames, or N times K numbers."""


class ClassScores(Enum):
    """What the scores of a classifier are: a property of the model, found once and not batch by batch."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    INDEPENDENT = "sigmoid_logits"
    """Logits of one label each, several of which may be right at a time; never inferred."""


class NoAnswers(Enum):
    """Outputs that are published as they are: nothing says what they mean; never inferred."""

    RAW = "raw"


Layout = DetectionLayout | ClassScores | Values | NoAnswers
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
    if scores is not None:
        _require_finite(scores)
        _refuse_features(scores)
        kind = _kind_of(scores)
        if kind is not None:
            return kind
    try:
        return recognise(outputs)
    except NotDetections as err:
        raise UnknownAnswers(
            f"the model's outputs are not the scores of one class out of several, and {err}"
        ) from err


def read_answers(
    outputs: Mapping[str, NDArray[Any]], layout: Layout, x: NDArray[np.float32] | None = None
) -> Answers:
    """The answers in these outputs, by the layout that belongs to the model, to samples ``x`` (N, C, ...).

    Only a reconstruction asks for ``x``.

    Raises:
        UnknownAnswers: they cannot be read so.
    """
    if isinstance(layout, NoAnswers):
        raise UnknownAnswers("the model's outputs are published as they are, so nothing says what they mean")
    if isinstance(layout, Values):
        try:
            return read_numbers(layout, outputs, x)
        except NotValues as err:
            raise UnknownAnswers(str(err)) from err
    if isinstance(layout, ClassScores):
        scores = _only_scores(outputs, least=1 if layout is ClassScores.INDEPENDENT else 2)
        if scores is None:
            raise UnknownAnswers("the model's outputs are not the scores of one class out of several")
        return _probabilities(scores, layout)
    try:
        return read(layout, outputs)
    except NotDetections as err:
        raise UnknownAnswers(f"the model's outputs are not the detections they were: {err}") from err


def as_judged(answers: Answers, layout: Layout | None) -> Answers:
    """The answers as a gate without labels compares them: independent labels as sets, see ``labels_as_detections``."""
    if layout is ClassScores.INDEPENDENT and not isinstance(answers, Detections | Numbers):
        return labels_as_detections(answers)
    return answers


def join_answers(parts: Sequence[Answers]) -> Answers:
    """The answers to the frames of all parts, one part after the other; all of one kind."""
    if boxes := [part for part in parts if isinstance(part, Detections)]:
        return join(boxes)
    if numbers := [part for part in parts if isinstance(part, Numbers)]:
        return join_numbers(numbers)
    return np.concatenate([part for part in parts if not isinstance(part, Detections | Numbers)])


def _kind_of(scores: NDArray[np.float64]) -> ClassScores | None:
    """None for independent scores per class."""
    if scores.min() < -1e-6 or scores.max() > 1 + 1e-6:
        return ClassScores.LOGITS
    return ClassScores.PROBABILITIES if (np.abs(scores.sum(axis=1) - 1) < 0.5).all() else None


def _probabilities(scores: NDArray[np.float64], kind: ClassScores) -> NDArray[np.float64]:
    """(N, K) that sum to 1 (quantized ones are brought to that), but for labels; all NaN when not finite."""
    if not np.isfinite(scores).all():
        return np.full(scores.shape, np.nan)
    if kind is ClassScores.INDEPENDENT:
        return sigmoid(scores)
    if kind is ClassScores.PROBABILITIES:
        kept = np.clip(scores, 0, None)
        return np.asarray(kept / np.maximum(kept.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))
    return softmax(scores)


def _refuse_features(scores: NDArray[np.float64]) -> None:
    """Raise UnknownAnswers for vectors that no classifier answers: of unit length, or behind a ReLU.

    A vector of probabilities has unit length where it names one class surely: these sum to 1 too.
    """
    lengths, sums = np.linalg.norm(scores, axis=1), scores.sum(axis=1)
    are_units = (np.abs(lengths - 1) < _UNIT).all() and not (np.abs(sums - 1) < _UNIT).all()
    are_rectified = scores.min() >= 0 and scores.max() > 1 and (scores == 0).mean() > _MOST_ZEROS
    if are_units or are_rectified:
        kind = "of length 1" if are_units else "without a negative value, and often 0"
        raise UnknownAnswers(f"the model answers vectors {kind}: features, neither boxes nor class scores")


def _require_finite(scores: NDArray[np.float64]) -> None:
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad.size:
        raise UnknownAnswers(
            f"the model's answers to {bad.size} of {len(scores)} frames are not finite numbers"
        )


def scores_output(outputs: Outputs) -> str | None:
    """Name of the one output that holds class scores; None when there is none, or several."""
    found = [name for name, output in outputs.items() if _only_scores({name: output}, least=1) is not None]
    return found[0] if len(found) == 1 else None


def _only_scores(outputs: Mapping[str, NDArray[Any]], least: int = 2) -> NDArray[np.float64] | None:
    """(N, K) of the one output that is that, or (N, K, 1, 1), K >= ``least``; None when there is none, or several."""
    found = [
        output.reshape(output.shape[:2]).astype(np.float64)
        for output in outputs.values()
        if output.ndim >= 2 and output.shape[1] >= least and set(output.shape[2:]) <= {1}
        if np.issubdtype(output.dtype, np.floating)
    ]
    return found[0] if len(found) == 1 else None
