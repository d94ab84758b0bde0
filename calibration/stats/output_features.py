"""The answers of a model as numbers that the drift monitor can watch.

When the first layers see nothing unusual and the answers move, the *content* has changed: other products, more people,
things the model does not know. That is reported, and is no reason to recalibrate. The live side comes from published
results, so that watching costs no further inference. Pure.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.outputs.detection_layout import DetectionLayout
from calibration.outputs.detections import Detections
from calibration.outputs.read import Answers, Layout
from calibration.outputs.values import Numbers
from calibration.stats.moments import FrameMoments, MeanVar

BINS = 16
"""Classes share this many bins (class number modulo 16): a change between two classes of one bin is not seen."""
COUNTED_FROM = 0.5
"""Least score of a detection that counts; weaker ones may be missing in what is published."""


def class_features(index: int, score: float) -> MeanVar:
    """Of the best class of one frame and its probability: (18,) each, the second part all ones."""
    bins = np.zeros(BINS)
    bins[index % BINS] = 1.0
    return _pair(1, float(np.clip(score, 0.0, 1.0)), bins)


def detection_features(
    scores: Sequence[float] | NDArray[np.floating], counted_from: float = COUNTED_FROM
) -> MeanVar:
    """Of the detections of one frame, by their scores: how many count, and how sure they are.

    Their classes are left out: published numbers may begin elsewhere than the model's.
    """
    counted = [float(score) for score in scores if score >= counted_from]
    return _pair(len(counted), float(np.mean(counted)) if counted else 0.0, np.zeros(BINS))


def value_features(values: Sequence[float] | NDArray[np.floating]) -> MeanVar:
    """Of the numbers that answer one sample: (K + 16,) each for up to 16 of them, (20,) for more.

    More are told by their mean, spread, least and largest. No spread is given: the monitor takes that of the healthy
    answers, so that units do not matter. The last sixteen are zeros, for there are no classes.
    """
    rows = np.asarray(values, np.float64).ravel()
    if rows.size > BINS:
        rows = np.array([rows.mean(), rows.std(), rows.min(), rows.max()])
    found = np.concatenate([rows, np.zeros(BINS)])
    return found, np.zeros_like(found)


def answer_features(answers: Answers, layout: Layout | None = None) -> FrameMoments:
    """Of N frames, as the single-frame moments that a baseline keeps as ``output/answers``.

    A ``layout`` says from which score on detections are published: weaker ones never show in live results.
    """
    if isinstance(answers, Detections):
        least = layout.score_threshold if isinstance(layout, DetectionLayout) else COUNTED_FROM
        found = [detection_features(scores, max(least, COUNTED_FROM)) for scores in answers.scores]
    elif isinstance(answers, Numbers):
        found = [value_features(row) for row in answers.rows]
    else:
        found = [class_features(int(row.argmax()), float(row.max())) for row in answers]
    means, ones = zip(*found, strict=True)
    return FrameMoments(np.stack(means), np.stack(ones))


def _pair(count: int, score: float, bins: NDArray[np.float64]) -> MeanVar:
    values = np.concatenate([[np.log1p(count), score], bins])
    return values, np.ones_like(values)
