"""Logits to probabilities. Pure."""

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities over the last axis; safe for logits of any size."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), np.float64)


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probability of each score by itself; safe for logits of any size."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))), np.float64)
