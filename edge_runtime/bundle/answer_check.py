"""Whether a model's outputs can be read as the manifest says: the self-test of the postprocessing.

Outputs that equal the golden ones say nothing about ``postprocess`` and ``labels``, and a mistake there raises no error
either: wrong names, a score of 9.4, or every frame rejected. Called by ``self_test`` with the golden answers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle.verify import Bundle
from edge_runtime.errors import BundleError
from edge_runtime.manifest import MANIFEST_FILE
from edge_runtime.messages import Rejected, Sample
from edge_runtime.postprocess import Postprocessor

_ROUNDING = 1e-2  # int8 outputs: a probability may miss 1, and their sum may miss it by more
_SEVERAL = " (sigmoid_logits where several labels may be right at a time)"
_LEAST_TO_TELL = 16  # logits that all lie within 0..1: of fewer it may be chance

OneOutput = Mapping[str, NDArray[Any]]


def check_answers(bundle: Bundle, answers: Sequence[tuple[Sample, OneOutput]]) -> None:
    """Read every golden answer as live ones are read.

    Raises:
        BundleError: an output is missing or misshapen, or labels or the kind of scores do not fit.
    """
    postprocessor = Postprocessor(bundle.manifest, bundle.labels)
    for sample, outputs in answers:
        read = postprocessor.read(sample, outputs)
        if isinstance(read, Rejected):
            found = f"postprocess: {read.detail}"
            raise _refusal(bundle, found, "outputs that can be read as it says", "Correct postprocess")
    spec = bundle.manifest.postprocess
    if spec.task != "classification":
        return
    scores = [
        np.asarray(outputs[spec.output or next(iter(outputs))], np.float64).ravel() for _, outputs in answers
    ]
    _check_labels(bundle, scores[0].size)
    _check_kind(bundle, spec.scores, scores)


def _check_labels(bundle: Bundle, classes: int) -> None:
    if bundle.labels and len(bundle.labels) != classes:
        at = bundle.path / str(bundle.manifest.labels)
        found = f"{len(bundle.labels)} labels for {classes} class scores"
        raise BundleError(at, found, "one label a score", "Correct the labels and build it again.")


def _check_kind(bundle: Bundle, kind: str, scores: Sequence[NDArray[np.float64]]) -> None:
    least, most = min(s.min() for s in scores), max(s.max() for s in scores)
    are_shares = least >= -_ROUNDING and most <= 1 + _ROUNDING
    if kind == "probabilities" and not are_shares:
        found = f"postprocess: scores from {least:.3g} to {most:.3g}"
        other = "logits" if scores[0].size > 1 else "sigmoid_logits"
        fix = f"Set scores: {other}" + (_SEVERAL if other == "logits" else "")
        raise _refusal(bundle, found, "probabilities, 0 to 1", fix)
    if kind == "logits" and scores[0].size == 1:
        found = "postprocess: scores: logits with one score, whose softmax is 1 whatever the picture shows"
        fix = f"Set scores: {'probabilities' if are_shares else 'sigmoid_logits'}"
        raise _refusal(bundle, found, "two scores or more", fix)
    if kind == "sigmoid_logits" and are_shares and sum(s.size for s in scores) >= _LEAST_TO_TELL:
        found = f"postprocess: scores from {least:.3g} to {most:.3g} for every golden picture"
        raise _refusal(bundle, found, "logits; these are probabilities already", "Set scores: probabilities")
    if kind == "logits" and are_shares and all(abs(s.sum() - 1) <= _ROUNDING for s in scores):
        found = "postprocess: scores between 0 and 1 that add up to 1 for every golden picture"
        raise _refusal(bundle, found, "logits", "Set scores: probabilities")


def _refusal(bundle: Bundle, found: str, expected: str, fix: str) -> BundleError:
    return BundleError(bundle.path / MANIFEST_FILE, found, expected, f"{fix} and build it again.")
