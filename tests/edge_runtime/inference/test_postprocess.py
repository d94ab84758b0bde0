from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from calibration.outputs.detection_layout import DetectionLayout
from calibration.outputs.read import ClassScores, NoAnswers
from edge_runtime.bundles.manifest import Manifest
from edge_runtime.datatypes import Geometry, Rejected, RejectReason, Sample
from edge_runtime.inference.postprocess.detections import answer_layout
from edge_runtime.inference.postprocess.postprocessor import Answer, Postprocessor
from edge_runtime.inference.specs import ClassificationSpec, PostprocessSpec, RawSpec

SCALE = Geometry(frame_width=200, frame_height=100, scale_x=0.5, scale_y=0.5, offset_x=0.0, offset_y=25.0)
"""A 200x100 frame letterboxed into 100x100."""


def postprocessor(spec: dict[str, Any], labels: tuple[str, ...] = ("a", "b", "c")) -> Postprocessor:
    preprocess = {
        "colour": "rgb", "width": 100, "height": 100, "geometry": "letterbox", "filter": "area",
        "mean": (0, 0, 0), "std": (1, 1, 1),
    }  # fmt: skip
    manifest = Manifest.model_validate({
        "schema_version": 1, "name": "m", "version": 1, "format": "onnx", "model": "m.onnx",
        "preprocess": preprocess, "postprocess": spec, "golden": [{"picture": "g.png", "expected": "g.st"}],
        "files": dict.fromkeys(("m.onnx", "g.png", "g.st"), "0" * 64),
    })  # fmt: skip
    return Postprocessor(manifest, labels)


def sample(geometry: Geometry | None = SCALE) -> Sample:
    return Sample("s", 7, np.zeros((3, 100, 100), np.float32), None, geometry, 0.0, 0.0, 0.0, 0.0, 0.0)


def read(spec: dict[str, Any], outputs: dict[str, Any], geometry: Geometry | None = SCALE) -> Answer:
    arrays = {name: np.asarray(value, np.float32) for name, value in outputs.items()}
    answer = postprocessor(spec).read(sample(geometry), arrays)
    assert isinstance(answer, Answer), answer
    return answer


def detection(**changes: Any) -> dict[str, Any]:
    return {
        "task": "detection", "boxes": "boxes", "scores": "scores", "box_format": "xyxy", "is_normalised": False,
        **changes,
    }  # fmt: skip


def test_logits_become_probabilities_best_first() -> None:
    top = read({"task": "classification", "scores": "logits", "top_k": 2}, {"x": [1.0, 3.0, 2.0]}).top
    assert top is not None
    assert [label.label for label in top] == ["b", "c"]
    assert top[0].score == pytest.approx(np.exp(3) / np.exp([1, 2, 3]).sum())


def test_huge_logits_are_safe() -> None:
    top = read({"task": "classification", "scores": "logits"}, {"x": [1e30, -1e30, 0.0]}).top
    assert top is not None
    assert top[0].score == 1.0


def test_probabilities_stay_and_unknown_labels_are_numbers() -> None:
    top = read(
        {"task": "classification", "scores": "probabilities", "output": "p"}, {"p": [0, 0, 0, 0.9], "q": [1]}
    ).top
    assert top is not None
    assert (top[0].label, top[0].index) == ("3", 3)
    assert top[0].score == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("spec", "outputs", "words"),
    [
        ({"task": "classification", "scores": "logits"}, {"x": [1, np.nan]}, "not finite"),
        ({"task": "classification", "scores": "logits"}, {"x": []}, "not finite"),
        ({"task": "classification", "scores": "logits"}, {"x": [1], "y": [2]}, "must name"),
        ({"task": "classification", "scores": "logits", "output": "z"}, {"x": [1]}, "no output z"),
        ({"task": "raw"}, {"x": [np.inf]}, "not finite"),
        ({"task": "raw", "outputs": ["y"]}, {"x": [1]}, "no output y"),
        (detection(), {"boxes": [[0, 0, 1, np.nan]], "scores": [1]}, "not finite"),
        (detection(), {"boxes": [[0, 0, 1, 1]], "scores": [np.inf]}, "not finite"),
        (detection(), {"boxes": [[0, 0, 1]], "scores": [1]}, "four values"),
        (detection(), {"boxes": [[0, 0, 1, 1], [0, 0, 1, 1]], "scores": [1, 1, 1]}, "2 boxes but scores"),
        (detection(packing="rows", scores=None), {"boxes": [[0, 0, 1, 1]]}, "expected more than 4"),
        (detection(packing="rows", scores=None), {"boxes": [1.0, 2.0]}, "two axes"),
    ],
)
def test_outputs_that_cannot_be_read_are_rejected(
    spec: dict[str, Any], outputs: dict[str, Any], words: str
) -> None:
    arrays = {name: np.asarray(value, np.float32) for name, value in outputs.items()}
    answer = postprocessor(spec).read(sample(), arrays)
    assert isinstance(answer, Rejected)
    assert answer.reason is RejectReason.BAD_OUTPUT
    assert words in answer.detail
    assert (answer.stream, answer.seq) == ("s", 7)


def test_raw_outputs_are_passed_on() -> None:
    outputs = read({"task": "raw", "outputs": ["y"]}, {"x": [1.0], "y": [2.0, 3.0]}).outputs
    assert outputs is not None
    assert list(outputs) == ["y"]


def boxes_of(
    spec: dict[str, Any], outputs: dict[str, Any], geometry: Geometry | None = SCALE
) -> list[tuple[Any, ...]]:
    found = read(spec, outputs, geometry).detections
    assert found is not None
    return [(d.label, round(d.score, 3), tuple(round(v, 3) for v in d.box)) for d in found]


def test_boxes_are_scaled_back_to_the_frame_and_clipped() -> None:
    outputs = {"boxes": [[10, 35, 50, 65], [-20, 0, 120, 100]], "scores": [[0.1, 0.9], [0.8, 0.2]]}
    assert boxes_of(detection(), outputs) == [
        ("b", 0.9, (20.0, 20.0, 100.0, 80.0)),
        ("a", 0.8, (0.0, 0.0, 200.0, 100.0)),
    ]
    assert boxes_of(detection(), outputs, None)[0] == ("b", 0.9, (10.0, 35.0, 50.0, 65.0))


@pytest.mark.parametrize(
    ("box_format", "box"),
    [
        ("xyxy", [10, 30, 50, 70]),
        ("yxyx", [30, 10, 70, 50]),
        ("xywh", [10, 30, 40, 40]),
        ("cxcywh", [30, 50, 40, 40]),
    ],
)
@pytest.mark.parametrize("is_normalised", [False, True])
def test_every_box_format_means_the_same(box_format: str, box: list[float], is_normalised: bool) -> None:
    values = np.array([box]) / (100 if is_normalised else 1)
    spec = detection(box_format=box_format, is_normalised=is_normalised)
    assert boxes_of(spec, {"boxes": values, "scores": [0.9]}) == [("a", 0.9, (20.0, 10.0, 100.0, 90.0))]


def test_the_weaker_of_two_overlapping_boxes_goes_but_only_within_a_class() -> None:
    boxes = [[10, 30, 50, 70], [12, 30, 52, 70], [10, 30, 50, 70], [60, 40, 90, 60]]
    scores = [[0.9, 0], [0.8, 0], [0, 0.7], [0.6, 0]]
    assert [(label, score) for label, score, _ in boxes_of(detection(), {"boxes": boxes, "scores": scores})] == [
        ("a", 0.9), ("b", 0.7), ("a", 0.6),
    ]  # fmt: skip
    assert len(boxes_of(detection(nms_iou=None), {"boxes": boxes, "scores": scores})) == 4
    assert len(boxes_of(detection(max_detections=1), {"boxes": boxes, "scores": scores})) == 1
    assert len(boxes_of(detection(score_threshold=0.85), {"boxes": boxes, "scores": scores})) == 1


def test_classes_count_and_offset_are_read_from_their_outputs() -> None:
    spec = detection(classes="classes", count="count", class_offset=-1, is_normalised=True, box_format="yxyx")
    outputs = {
        "boxes": [[0.3, 0.1, 0.7, 0.5], [0.3, 0.6, 0.7, 0.9], [0, 0, 1, 1]], "scores": [0.9, 0.8, 0.99],
        "classes": [2, 1, 3], "count": [2],
    }  # fmt: skip
    assert [label for label, _, _ in boxes_of(spec, outputs)] == ["b", "a"]


@pytest.mark.parametrize("packing", ["rows", "columns"])
def test_packed_outputs_with_objectness_and_sigmoid(packing: str) -> None:
    rows = np.array([[30, 50, 40, 40, 9.0, -9.0, 2.0], [70, 50, 10, 10, -9.0, 9.0, 9.0]])
    spec = detection(
        packing=packing, scores=None, box_format="cxcywh", activation="sigmoid", has_objectness=True
    )
    found = boxes_of(spec, {"boxes": rows if packing == "rows" else rows.T})
    assert [(label, box) for label, _, box in found] == [("b", (20.0, 10.0, 100.0, 90.0))]
    assert found[0][1] == pytest.approx(1 / (1 + np.exp(-9)) / (1 + np.exp(-2)), abs=1e-3)


def test_the_background_class_never_wins() -> None:
    spec = detection(background_class=0, activation="softmax", class_offset=-1, score_threshold=0.2)
    found = boxes_of(spec, {"boxes": [[10, 30, 50, 70]], "scores": [[2.0, 0.0, 1.0]]})
    assert found[0][:2] == ("b", round(float(np.exp(1) / np.exp([2, 0, 1]).sum()), 3))


def test_nothing_found_is_an_empty_answer() -> None:
    assert boxes_of(detection(), {"boxes": np.zeros((0, 4)), "scores": np.zeros((0, 2))}) == []
    assert boxes_of(detection(), {"boxes": [[5, 30, 5, 60]], "scores": [0.9]}) == []


def test_a_flood_of_boxes_is_bounded() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 100, (30_000, 2))
    boxes = np.hstack([corners, corners + 20])
    found = boxes_of(
        detection(score_threshold=0.0), {"boxes": boxes, "scores": rng.uniform(0, 1, len(boxes))}
    )
    assert len(found) <= 100


def test_a_sigmoid_of_each_score_where_several_labels_may_be_right() -> None:
    top = read({"task": "classification", "scores": "sigmoid_logits"}, {"x": [0.0, 3.0, -1e30]}).top
    assert top is not None
    assert [label.label for label in top] == ["b", "a", "c"]
    assert [label.score for label in top] == pytest.approx([1 / (1 + np.exp(-3)), 0.5, 0.0])


def test_rows_that_name_their_class() -> None:
    box = [10.0, 25, 60, 75]
    spec = detection(packing="end2end", scores=None, boxes="out", nms_iou=None)
    [found] = read(spec, {"out": [[*box, 0.9, 2], [*box, 0.1, 1]]}).detections or ()
    assert (found.label, found.score, found.box) == ("c", pytest.approx(0.9), (20.0, 0.0, 120.0, 100.0))
    spec = detection(packing="detection_output", scores=None, boxes="out", is_normalised=True, nms_iou=None)
    ended = [[0, 1, 0.8, 0.1, 0.25, 0.6, 0.75], [-1, 0, 0, 0, 0, 0, 0], [0, 2, 0.9, 0, 0, 1, 1]]
    [found] = read(spec, {"out": [ended]}).detections or ()
    assert (found.label, found.box) == ("b", pytest.approx((20.0, 0.0, 120.0, 100.0), abs=1e-3))
    answer = postprocessor(spec).read(sample(), {"out": np.zeros((1, 3, 6))})
    assert isinstance(answer, Rejected)
    assert "6 values" in answer.detail


def test_a_frame_without_boxes_is_an_answer() -> None:
    assert boxes_of(detection(), {"boxes": np.zeros((0, 4)), "scores": np.zeros(0)}) == []


def test_recalibration_reads_classes_and_boxes_as_they_are_published() -> None:
    spec = detection(
        packing="columns",
        scores=None,
        box_format="yxyx",
        background_class=1,
        activation="softmax",
        nms_iou=0.3,
    )
    layout = answer_layout(TypeAdapter(PostprocessSpec).validate_python(spec))
    assert layout == DetectionLayout(
        "columns", "boxes", box_format="yxyx", activation="softmax", background_class=1, nms_iou=0.3
    )
    assert answer_layout(ClassificationSpec(scores="probabilities")) is ClassScores.PROBABILITIES
    assert answer_layout(ClassificationSpec(scores="sigmoid_logits")) is ClassScores.INDEPENDENT
    assert answer_layout(RawSpec()) is NoAnswers.RAW
