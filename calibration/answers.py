"""What a model answered, out of its raw outputs: class probabilities or detections. Pure; called by ``recalibrate``.

Conservative on purpose: outputs that are clearly neither the scores of one class out of several nor detections are
refused with a reason, and then nothing is judged without labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.detections import Detections, joined
from calibration.detector_layout import DetectionLayout, NotDetections, read
from calibration.detector_recognition import recognise

Answers = NDArray[np.float64] | Detections
"""(N,K) class probabilities, or the detections of N frames."""


class UnknownAnswers(Exception):
    """The outputs cannot be judged; the text says why, as a clause."""


def layout_of(outputs: Mapping[str, NDArray[Any]]) -> DetectionLayout | None:
    """How to read the detections in the healthy model's outputs on healthy frames; None for a classifier.

    Raises:
        UnknownAnswers: neither class scores nor detections.
    """
    if class_probabilities(outputs) is not None:
        return None
    try:
        return recognise(outputs)
    except NotDetections as err:
        raise UnknownAnswers(
            f"the model's outputs are not the scores of one class out of several, and {err}"
        ) from err


def read_answers(outputs: Mapping[str, NDArray[Any]], layout: DetectionLayout | None) -> Answers:
    """The answers in these outputs, by the layout that belongs to the model (None for a classifier).

    Raises:
        UnknownAnswers: they cannot be read so.
    """
    if layout is None:
        found = class_probabilities(outputs)
        if found is None:
            raise UnknownAnswers("the model's outputs are not the scores of one class out of several")
        return found
    try:
        return read(layout, outputs)
    except NotDetections as err:
        raise UnknownAnswers(f"the model's outputs are not the detections they were: {err}") from err


def joined_answers(parts: Sequence[Answers]) -> Answers:
    """The answers to the frames of all parts, one part after the other; all of one kind."""
    boxes = [part for part in parts if isinstance(part, Detections)]
    if boxes:
        return joined(boxes)
    return np.concatenate([part for part in parts if not isinstance(part, Detections)])


def class_probabilities(outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
    """(N, K) float64 probabilities from the one output of class scores; None when there is none, or several.

    Rows that already are probabilities stay (quantized ones are brought to a sum of 1); anything else goes through
    a softmax. Independent scores per class (multi-label) are no classification.
    """
    found = [scores for scores in map(_class_scores, outputs.values()) if scores is not None]
    if len(found) != 1:
        return None
    scores = found[0]
    if not np.isfinite(scores).all():
        return np.full(scores.shape, np.nan)
    if scores.min() >= -1e-6 and scores.max() <= 1 + 1e-6:
        sums = scores.sum(axis=1, keepdims=True)
        is_distribution = bool((np.abs(sums - 1) < 0.5).all())
        return np.clip(scores, 0, None) / sums if is_distribution else None
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float64)


def _class_scores(output: NDArray[Any]) -> NDArray[np.float64] | None:
    """(N, K) when the output is that, or (N, K, 1, 1)."""
    if output.ndim < 2 or output.shape[1] < 2 or any(n != 1 for n in output.shape[2:]):
        return None
    if not np.issubdtype(output.dtype, np.floating):
        return None
    return output.reshape(output.shape[:2]).astype(np.float64)
