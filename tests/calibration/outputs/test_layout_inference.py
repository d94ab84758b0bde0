import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.outputs.activations import softmax
from calibration.outputs.detection_layout import DetectionLayout, NotDetections, read
from calibration.outputs.detections import Detections, shared_objects
from calibration.outputs.layout_inference import recognise
from calibration.outputs.read import ClassScores, UnknownAnswers, layout_of, read_answers

N, K, C = 3, 12, 5
RNG = np.random.default_rng(0)
CORNER = RNG.uniform(0, 0.5, (N, K, 2))
CORNERS = np.concatenate([CORNER, CORNER + RNG.uniform(0.05, 0.4, (N, K, 2))], axis=2)
CENTRES = np.concatenate(
    [(CORNERS[..., :2] + CORNERS[..., 2:]) / 2, CORNERS[..., 2:] - CORNERS[..., :2]], axis=2
)
SCORES = np.sort(RNG.uniform(0.02, 0.98, (N, K)), axis=1)[:, ::-1]
CLASSES = RNG.integers(0, C, (N, K)).astype(np.float64)


def spread(scores: NDArray[np.float64], columns: int) -> NDArray[np.float64]:
    """(N,A,C) with each box's score at its class."""
    out = np.zeros((*scores.shape, columns))
    np.put_along_axis(out, CLASSES.astype(int)[..., None], scores[..., None], axis=2)
    return out


def softmaxed() -> NDArray[np.float64]:
    """(N,A,1+C) that sums to 1, background first; most boxes are background."""
    scores = np.concatenate([np.zeros((N, K, 1)), spread(SCORES * 0.6, C)], axis=2)
    scores[..., 0] = 1 - scores.sum(axis=2)
    return scores


ROWS = np.concatenate([CENTRES * 640, np.sqrt(SCORES)[..., None], spread(np.sqrt(SCORES), C)], axis=2)
EXAMPLES = {
    "tensorflow": (
        {
            "detection_boxes": CORNERS,
            "detection_scores": SCORES,
            "detection_classes": CLASSES,
            "num_detections": np.full(N, float(K)),
        },
        DetectionLayout(
            "separate", "detection_boxes", "detection_scores", "detection_classes", "num_detections"
        ),
    ),
    "nameless": ({"a": CLASSES, "b": CORNERS, "c": SCORES}, DetectionLayout("separate", "b", "c", "a")),
    "ssd": (
        {"loc_boxes": CORNERS, "confidences": softmaxed()},
        DetectionLayout("separate", "loc_boxes", "confidences", background_class=0, nms_iou=0.5),
    ),
    "sigmoid": (
        {"boxes": CENTRES, "scores": spread(SCORES, C)},
        DetectionLayout("separate", "boxes", "scores", box_format="cxcywh", nms_iou=0.5),
    ),
    "openvino": (
        {
            "out": np.concatenate(
                [np.zeros((N, K, 1)), CLASSES[..., None], SCORES[..., None], CORNERS], axis=2
            )[:, None]
        },
        DetectionLayout("detection_output", "out"),
    ),
    "end to end": (
        {"out": np.concatenate([CORNERS * 640, SCORES[..., None], CLASSES[..., None]], axis=2)},
        DetectionLayout("end2end", "out"),
    ),
    "yolo v5": (
        {"out": ROWS},
        DetectionLayout("rows", "out", has_objectness=True, box_format="cxcywh", nms_iou=0.5),
    ),
    "yolo v8": (
        {"out": np.concatenate([CENTRES * 640, spread(SCORES, C)], axis=2).transpose(0, 2, 1)},
        DetectionLayout("columns", "out", box_format="cxcywh", nms_iou=0.5),
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_form_is_recognised_and_read_alike(name: str) -> None:
    outputs, expected = EXAMPLES[name]
    outputs = {key: array.astype(np.float32) for key, array in outputs.items()}
    layout = layout_of(outputs)
    assert layout == expected
    found = read_answers(outputs, layout)
    assert isinstance(found, Detections)
    scale = 0.6 if name == "ssd" else 1.0  # its scores share 1 with the background
    np.testing.assert_allclose(found.scores[:, 0], SCORES[:, 0] * scale, atol=1e-5)
    size = 640 if found.boxes.max() > 2 else 1
    np.testing.assert_allclose(found.boxes[:, 0] / size, CORNERS[:, 0], atol=1e-5)


def test_a_layout_survives_its_file() -> None:
    for _, layout in EXAMPLES.values():
        assert DetectionLayout.from_json(layout.to_json()) == layout
    with pytest.raises(ValueError):
        DetectionLayout.from_json({"packing": "heat map", "boxes": "b", "box_format": "xyxy"})


OLD_FORMS = {
    "tensorflow": ("separate", "corners"),
    "ssd": ("per class", "corners"),
    "sigmoid": ("per class", "centre and size"),
    "openvino": ("rows of 7", "corners"),
    "end to end": ("rows of 6", "corners"),
    "yolo v5": ("rows", "centre and size"),
    "yolo v8": ("columns", "centre and size"),
}


@pytest.mark.parametrize("name", OLD_FORMS)
def test_the_layouts_of_the_version_before_are_read(name: str) -> None:
    layout, (form, box_kind) = EXAMPLES[name][1], OLD_FORMS[name]
    names = {part: getattr(layout, part) or "" for part in ("boxes", "scores", "classes", "count")}
    old = {"form": form, **names, "box_kind": box_kind, "background": layout.background_class}
    assert DetectionLayout.from_json(old) == layout


def test_rows_beyond_the_count_and_behind_the_end_are_nothing() -> None:
    outputs, layout = EXAMPLES["tensorflow"]
    some = read(layout, {**outputs, "num_detections": np.array([2.0, 0.0, 1.0])})
    assert (some.scores > 0).sum(axis=1).tolist() == [2, 0, 1]
    outputs, layout = EXAMPLES["openvino"]
    table = outputs["out"].copy()
    table[:, :, 3:, 0] = -1
    assert (read(layout, {"out": table}).scores > 0).sum(axis=1).max() <= 3


def test_boxes_on_a_heap_are_one_object_where_the_model_does_not_suppress() -> None:
    outputs, layout = EXAMPLES["yolo v5"]
    heaped = np.repeat(outputs["out"][:, :1], K, axis=1)
    assert (read(layout, {"out": heaped}).scores > 0).sum(axis=1).tolist() == [1] * N


def test_frames_that_are_not_finite_are_marked() -> None:
    outputs, layout = EXAMPLES["tensorflow"]
    scores = SCORES.copy()
    scores[1, 3] = np.nan
    found = read(layout, {**outputs, "detection_scores": scores})
    assert not found.is_finite
    assert np.isfinite(found.scores[[0, 2]]).all()


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({"map": np.full((N, 2, 8, 8), 0.5)}, "map"),
        ({"boxes": CORNERS, "logits": spread(SCORES * 9, C)}, "softmax"),
        ({"boxes": np.random.default_rng(1).normal(0, 1, (N, K, 4)), "scores": SCORES}, "decoded"),
        ({"boxes": CORNERS, "more_boxes": CORNERS, "scores": SCORES}, "boxes"),
        ({"boxes": CORNERS, "scores": SCORES, "confidences": SCORES[:, ::-1]}, "scores"),
        ({"boxes": CORNERS, "scores": SCORES * 0}, "boxes"),
        ({"sequence": np.full((N, 40, 90), 1 / 90)}, "classes"),
        ({"boxes": CORNERS * np.nan, "scores": SCORES}, "finite"),
    ],
)
def test_what_is_not_clearly_detections_is_refused_with_its_reason(
    outputs: dict[str, NDArray[np.float64]], reason: str
) -> None:
    with pytest.raises(NotDetections, match=reason):
        recognise(outputs)
    with pytest.raises(UnknownAnswers, match=reason):
        layout_of(outputs)


def test_a_classifier_is_known_by_its_scores() -> None:
    outputs = {"logits": RNG.normal(0, 1, (N, 7)).astype(np.float32)}
    assert layout_of(outputs) is ClassScores.LOGITS
    found = np.asarray(read_answers(outputs, ClassScores.LOGITS))
    np.testing.assert_allclose(found, softmax(outputs["logits"].astype(np.float64)))
    with pytest.raises(UnknownAnswers):
        read_answers({"map": np.zeros((N, 1, 4, 4), np.float32)}, ClassScores.LOGITS)


def test_a_layout_that_no_longer_fits_is_an_error() -> None:
    outputs, layout = EXAMPLES["tensorflow"]
    with pytest.raises(NotDetections, match="'detection_scores'"):
        read(layout, {"detection_boxes": outputs["detection_boxes"]})
    with pytest.raises(UnknownAnswers):
        read_answers({**outputs, "detection_scores": SCORES[:, :3]}, layout)


def test_what_is_read_twice_agrees_fully() -> None:
    outputs, layout = EXAMPLES["yolo v8"]
    found = read(layout, outputs)
    np.testing.assert_allclose(shared_objects(found, found), found.objects(), rtol=1e-6)


def test_logits_that_happen_to_look_like_probabilities_are_read_as_the_logits_they_are() -> None:
    among_others = {"logits": np.asarray([[0.4, 0.7], [3.0, -2.0]], np.float32)}
    layout = layout_of(among_others)
    alone = read_answers({"logits": among_others["logits"][:1]}, layout)
    np.testing.assert_array_equal(alone, np.asarray(read_answers(among_others, layout))[:1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_give_no_probabilities(bad: float) -> None:
    outputs = {"logits": np.asarray([[bad, 0.2], [0.5, 0.5]], np.float32)}
    for layout in ClassScores:
        assert np.isnan(np.asarray(read_answers(outputs, layout))).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"score_threshold": float("nan")},
        {"score_threshold": float("inf")},
        {"score_threshold": -0.1},
        {"score_threshold": 10**400},
        {"nms_iou": float("nan")},
        {"nms_iou": float("-inf")},
        {"nms_iou": 2},
        {"max_detections": float("inf")},
        {"max_detections": -5},
        {"background_class": float("nan")},
        {"background_class": -1},
        {"max_detections": {}},
    ],
    ids=str,
)
def test_numbers_that_cannot_be_make_no_layout(wrong: dict[str, object]) -> None:
    plain = EXAMPLES["ssd"][1].to_json()
    with pytest.raises((KeyError, TypeError, ValueError, OverflowError)):
        DetectionLayout.from_json({**plain, **wrong})
