"""The model in a plain ONNX Runtime session, as users write it: a tensor in, the best classes out.

Only the threads are set, one inside a call: the defaults spin on both cores, which costs a user of two cores half.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

TOP = 5
Classify = Callable[[NDArray[np.float32]], list[dict[str, Any]]]
"""A tensor (1,3,224,224) to the five best classes, each with ``label`` and ``score``."""


def open_classifier(bundle: Path, intra: int) -> Classify:
    """The ONNX model of the bundle with its labels."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra
    session = onnxruntime.InferenceSession(bundle / "model.onnx", options, providers=["CPUExecutionProvider"])
    labels = (bundle / "labels.txt").read_text(encoding="utf-8").splitlines()
    name = session.get_inputs()[0].name

    def classify(tensor: NDArray[np.float32]) -> list[dict[str, Any]]:
        logits = session.run(None, {name: tensor})[0][0]
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = np.argsort(scores)[::-1][:TOP]
        return [{"label": labels[index], "score": float(scores[index])} for index in best]

    return classify
