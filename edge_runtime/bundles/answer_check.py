"""Whether a model's outputs can be read as the manifest says: the self-test of the postprocessing.

Outputs that equal the golden ones do not check ``postprocess`` and ``labels``, and a mistake there raises no error
either: wrong names, a score of 9.4, boxes outside the picture, or every frame rejected.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.outputs.detections import Boxes
from edge_runtime.bundles.manifest import MANIFEST_FILE
from edge_runtime.bundles.verify import Bundle
from edge_runtime.datatypes import Rejected, Sample
from edge_runtime.errors import BundleError
from edge_runtime.inference.postprocess.detections import raw_boxes
from edge_runtime.inference.postprocess.postprocessor import Meaning, OneOutput, Postprocessor
from edge_runtime.inference.specs import DetectionSpec

_ROUNDING = 1e-2  # int8 outputs: a probability may miss 1, and their sum may miss it by more
_SEVERAL = " (sigmoid_logits where several labels may be right at a time)"
_LEAST_TO_TELL = 16  # logits that all lie within 0..1: of fewer it may be chance
_PADDING = -1.0  # the score of rows that only fill up an output
_OUTSIDE = 0.9  # share of the boxes; some detectors put a few outside the picture
_SMALL = 2.0  # pixels; boxes in 0..1 taken for pixels end within them


def check_answers(bundle: Bundle, answers: Sequence[tuple[Sample, OneOutput]]) -> None:
    """Read every golden answer as live ones are read.

    Raises:
        BundleError: an output is missing or misshapen, or labels, the kind of scores or the boxes do not fit.
    """
    at, labels_at = bundle.path / MANIFEST_FILE, bundle.path / str(bundle.manifest.labels)
    check_readable(bundle.manifest, bundle.labels, answers, at, labels_at)


def check_readable(
    meaning: Meaning,
    labels: tuple[str, ...],
    answers: Sequence[tuple[Sample, OneOutput]],
    at: Path,
    labels_at: Path | str,
) -> None:
    """As ``check_answers``, with its errors, for answers that are not yet a bundle's; messages name the two places."""
    postprocessor = Postprocessor(meaning, labels)
    for sample, outputs in answers:
        require_numbers(outputs)
        read = postprocessor.read(sample, outputs)
        if isinstance(read, Rejected):
            found = f"postprocess: {read.detail}"
            raise _refusal(at, found, "outputs that can be read as it says", "Correct postprocess")
    spec = meaning.postprocess
    if spec.task == "detection":
        size = meaning.preprocess.size
        _check_boxes(at, spec, size, [raw_boxes(spec, outputs, size) for _, outputs in answers])
    if spec.task == "classification":
        name = spec.output or next(iter(answers[0][1]))
        found_scores = [np.asarray(outputs[name], np.float64) for _, outputs in answers]
        shape, classes = found_scores[0].shape, found_scores[0].size
        if sum(size > 1 for size in shape) > 1:
            found = f"postprocess: output {name} of one input has shape {shape}"
            fix = "Name the output with the scores, pool the map in the model, or set task: raw"
            raise _refusal(at, found, "one row of class scores", fix)
        if labels and len(labels) != classes:
            found = f"{len(labels)} labels for {classes} class scores"
            raise BundleError(labels_at, found, "one label a score", "Correct the labels and build it again.")
        _check_kind(at, spec.scores, [one.ravel() for one in found_scores])


def require_numbers(outputs: OneOutput) -> None:
    """Refuse outputs of text, which can be neither compared nor published.

    Raises:
        BundleError: there are such.
    """
    odd = [name for name, array in outputs.items() if np.asarray(array).dtype.kind not in "biuf"]
    if odd:
        fix = "Export the model without it; names of classes belong into labels."
        raise BundleError("model", f"output {', '.join(odd)} holds text, not numbers", "numbers", fix)


def _check_boxes(at: Path, spec: DetectionSpec, size: tuple[int, int], found: Sequence[Boxes]) -> None:
    """Scores are probabilities, and boxes lie on the picture, where any are found."""
    scores = np.concatenate([one.scores for one in found])
    odd = scores[(scores > 1 + _ROUNDING) | ((scores < -_ROUNDING) & (scores != _PADDING))]
    if odd.size:
        seen = f"postprocess: scores of boxes from {scores.min():.3g} to {scores.max():.3g}"
        fix = (
            "Check packing (end2end where rows end in score and class), has_objectness, and activation (sigmoid where "
            "the model gives logits)"
        )
        raise _refusal(at, seen, "scores from 0 to 1", fix)
    corners = np.concatenate([one.corners[one.scores >= spec.score_threshold] for one in found])
    if len(corners) == 0:
        return
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    is_outside = ((centre < 0) | (centre > np.array(size))).any(axis=1)
    extent = f"{corners.min():.4g} to {corners.max():.4g} pixels"
    span = f"boxes from {extent} of a picture of {size[0]} x {size[1]}"
    if is_outside.mean() > _OUTSIDE:
        seen = f"postprocess: {is_outside.sum()} of {len(corners)} boxes lie outside ({span})"
        fix = "Check is_normalised, box_format and packing"
        raise _refusal(at, seen, "boxes on the picture", fix)
    if not spec.is_normalised and min(size) > 8 * _SMALL and np.abs(corners).max() <= _SMALL:
        seen = f"postprocess: all {len(corners)} boxes lie in one corner ({span})"
        raise _refusal(at, seen, "boxes in pixels", "Set is_normalised: true")


def _check_kind(at: Path, kind: str, scores: Sequence[NDArray[np.float64]]) -> None:
    least, most = min(s.min() for s in scores), max(s.max() for s in scores)
    are_shares = least >= -_ROUNDING and most <= 1 + _ROUNDING
    if kind == "probabilities" and not are_shares:
        found = f"postprocess: scores from {least:.3g} to {most:.3g}"
        other = "logits" if scores[0].size > 1 else "sigmoid_logits"
        fix = f"Set scores: {other}" + (_SEVERAL if other == "logits" else "")
        raise _refusal(at, found, "probabilities, 0 to 1", fix)
    if kind == "logits" and scores[0].size == 1:
        found = "postprocess: scores: logits with one score, whose softmax is always 1"
        fix = f"Set scores: {'probabilities' if are_shares else 'sigmoid_logits'}"
        raise _refusal(at, found, "two scores or more", fix)
    if kind == "sigmoid_logits" and are_shares and sum(s.size for s in scores) >= _LEAST_TO_TELL:
        found = f"postprocess: scores from {least:.3g} to {most:.3g} for every golden input"
        raise _refusal(at, found, "logits; these are probabilities already", "Set scores: probabilities")
    if kind == "logits" and are_shares and all(abs(s.sum() - 1) <= _ROUNDING for s in scores):
        found = "postprocess: scores between 0 and 1 that add up to 1 for every golden input"
        raise _refusal(at, found, "logits", "Set scores: probabilities")


def _refusal(at: Path, found: str, expected: str, fix: str) -> BundleError:
    return BundleError(at, found, expected, f"{fix} and build it again.")
