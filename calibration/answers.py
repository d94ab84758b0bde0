"""Class probabilities out of a model's raw outputs, where there are any. Pure; called by ``recalibrate``.

Conservative on purpose: outputs that are not clearly the scores of one class out of several give None, and then
nothing is judged without labels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
