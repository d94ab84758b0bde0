"""What has the shape of a table of boxes, or of class scores, and is none; and tables of boxes of many kinds."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.outputs.activations import sigmoid, softmax
from calibration.outputs.detection_layout import DetectionLayout
from calibration.outputs.read import ClassScores, NoAnswers, UnknownAnswers, layout_of, read_answers

Array = NDArray[np.float64]
N = 12
RNG = np.random.default_rng(5)


def smooth(*shape: int, sigma: float = 2.0) -> Array:
    """Noise blurred over the last two axes, 0..1."""
    flat = RNG.normal(0, 1, shape).reshape(-1, *shape[-2:])
    blurred = np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in flat]).reshape(shape)
    return np.asarray((blurred - blurred.min()) / (blurred.max() - blurred.min()))


def blobs(height: int, width: int) -> Array:
    """(N,H,W) one round object a frame, anywhere, also at the upper edge; nothing elsewhere."""
    y, x = np.mgrid[:height, :width]
    middle = RNG.uniform(0, 1, (N, 2, 1, 1)) * np.array([height, width]).reshape(1, 2, 1, 1)
    return np.asarray(np.exp(-((y - middle[:, 0]) ** 2 + (x - middle[:, 1]) ** 2) / 2 / (height / 6) ** 2))


def ramp(height: int, width: int) -> Array:
    """(N,H,W) a depth that grows downwards."""
    return np.linspace(0.02, 1, height)[:, None] * RNG.uniform(0.7, 1, (N, 1, width))


NO_ANSWERS: dict[str, Callable[[], Array]] = {
    "wide mask": lambda: (blobs(48, 64) > 0.5)[:, None],
    "high mask": lambda: (blobs(64, 48) > 0.5)[:, None],
    "mask without its axis": lambda: blobs(48, 64) > 0.5,
    "soft mask": lambda: sigmoid(20 * blobs(48, 64) - 10),
    "empty mask": lambda: np.zeros((N, 1, 40, 60)),
    "full mask": lambda: np.ones((N, 40, 60)),
    "anomaly map": lambda: smooth(N, 1, 32, 56),
    "anomaly map without its axis": lambda: smooth(N, 32, 56),
    "fine anomaly map": lambda: smooth(N, 56, 32, sigma=1.0),
    "depth": lambda: ramp(40, 64),
    "upright depth": lambda: ramp(64, 40),
    "disparity in pixels": lambda: ramp(40, 64) * 80,
    "heat maps of key points": lambda: np.stack([blobs(24, 32) for _ in range(17)], axis=1),
    "flat heat maps": lambda: np.stack([blobs(24, 32) for _ in range(17)], axis=1).reshape(N, 17, -1),
    "flat sigmoid heat maps": lambda: sigmoid(
        9 * np.stack([blobs(24, 32) for _ in range(17)], axis=1).reshape(N, 17, -1) - 4
    ),
    "key points": lambda: RNG.uniform(0, 1, (N, 17, 3)),
    "many key points": lambda: RNG.uniform(0, 1, (N, 98, 2)),
    "segmentation": lambda: softmax(RNG.normal(0, 4, (N, 24, 32, 6))).transpose(0, 3, 1, 2),
    "flat segmentation": lambda: softmax(RNG.normal(0, 4, (N, 768, 6))).transpose(0, 2, 1),
    "segmentation by sigmoid": lambda: sigmoid(12 * smooth(N, 8, 24, 32) - 6),
    "flat segmentation by sigmoid": lambda: sigmoid(12 * smooth(N, 8, 24, 32) - 6).reshape(N, 8, -1),
    "segmentation into numbers": lambda: np.floor(6 * smooth(N, 24, 32)),
    "noise": lambda: RNG.uniform(0, 1, (N, 10, 300)),
    "sequence": lambda: softmax(RNG.normal(0, 3, (N, 40, 90))),
    "sequence by sigmoid": lambda: sigmoid(RNG.normal(-1, 1, (N, 40, 90))),
    "tokens": lambda: RNG.normal(0, 1, (N, 197, 96)),
    "tokens behind a ReLU": lambda: np.minimum(np.maximum(RNG.normal(0, 0.4, (N, 197, 96)), 0), 1),
    "tokens behind a sigmoid": lambda: sigmoid(RNG.normal(0, 0.5, (N, 197, 96))),
    "embedding of length 1": lambda: (v := RNG.normal(0, 1, (N, 64))) / np.linalg.norm(v, axis=1)[:, None],
    "embedding behind a ReLU": lambda: np.maximum(RNG.normal(0, 2, (N, 64)), 0),
    "embedding as a map": lambda: np.maximum(RNG.normal(0, 2, (N, 64, 1, 1)), 0),
    "offsets to anchors": lambda: RNG.normal(0, 0.1, (N, 20, 400)).clip(0, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_neither_boxes_nor_class_scores_is_not_judged(name: str) -> None:
    with pytest.raises(UnknownAnswers):
        layout_of({"output": NO_ANSWERS[name]().astype(np.float32)})


def head(
    size: float, strides: tuple[float, ...], classes: int, rate: float = 0.05, only: int = 0
) -> tuple[Array, Array]:
    """Boxes (N,A,4), centre and size, on grids with such strides, and scores (N,A,C) of which few are high."""
    grids = [np.stack(np.meshgrid(*[np.arange(s / 2, size, s)] * 2), -1).reshape(-1, 2) for s in strides]
    centres, steps = (
        np.concatenate(grids),
        np.concatenate([np.full(len(g), s) for g, s in zip(grids, strides, strict=True)]),
    )
    a = len(centres)
    moved = centres + RNG.normal(0, 0.4, (N, a, 2)) * steps[:, None]
    half = steps[:, None] * RNG.uniform(0.3, 1.25, (N, a, 2))
    low, high = (np.clip(edge, -0.02 * size, 1.02 * size) for edge in (moved - half, moved + half))
    boxes = np.concatenate([(low + high) / 2, high - low], axis=2)
    scores = np.where(RNG.uniform(0, 1, (N, a, 1)) < rate, RNG.uniform(0.3, 0.95, (N, a, 1)), 0.001)
    if only:
        scores[:, only:] = 0.001
    found = np.full((N, a, classes), 0.0005)
    np.put_along_axis(found, RNG.integers(0, classes, (N, a, 1)), scores, axis=2)
    return boxes, found


def columns(*args: float, scale: float = 1, **more: float) -> Array:
    boxes, scores = head(*args, **more)  # type: ignore[arg-type]
    return np.concatenate([boxes * scale, scores], axis=2).transpose(0, 2, 1)


def rows(*args: float) -> Array:
    boxes, scores = head(*args)  # type: ignore[arg-type]
    best = scores.max(axis=2, keepdims=True)
    return np.concatenate([boxes, best, 0.97 * scores / best], axis=2)


DENSE: dict[str, tuple[Callable[[], Array], str]] = {
    "one scale, one class": (lambda: columns(64, (8,), 1), "columns"),
    "three scales": (lambda: columns(320, (8, 16, 32), 80), "columns"),
    "shares of the picture": (lambda: columns(320, (16, 32), 3, scale=1 / 320), "columns"),
    "seldom something": (lambda: columns(160, (8, 16), 5, rate=0.004), "columns"),
    "a crowd": (lambda: columns(160, (16, 32), 5, rate=0.5), "columns"),
    "objects in one corner": (lambda: columns(160, (8, 16), 5, rate=0.2, only=60), "columns"),
    "two by two": (lambda: columns(64, (32, 16), 2, rate=0.2), "columns"),
    "objectness": (lambda: rows(320, (8, 16, 32), 20), "rows"),
    "objectness, one class": (lambda: rows(64, (8,), 1), "rows"),
    "few cells": (lambda: columns(96, (16,), 2, rate=0.2), "columns"),
}  # fmt: skip


@pytest.mark.parametrize("name", DENSE)
def test_boxes_before_suppression_are_known_by_their_values(name: str) -> None:
    make, packing = DENSE[name]
    layout = layout_of({"output": make().astype(np.float32)})
    assert isinstance(layout, DetectionLayout)
    assert (layout.packing, layout.box_format) == (packing, "cxcywh")


@pytest.mark.parametrize("where", range(3))
def test_values_that_are_not_finite_are_named_before_anything_else(where: int) -> None:
    outputs: list[Array] = [RNG.normal(0, 1, (N, 5)), columns(64, (8,), 1), blobs(24, 32)]
    outputs[where][3] = np.nan
    with pytest.raises(UnknownAnswers, match="finite"):
        layout_of({"output": outputs[where].astype(np.float32)})


def test_outputs_published_as_they_are_are_never_read() -> None:
    for outputs in (RNG.normal(0, 1, (N, 5)), columns(64, (8,), 1)):
        with pytest.raises(UnknownAnswers, match="as they are"):
            read_answers({"output": outputs}, NoAnswers.RAW)


@pytest.mark.parametrize("labels", [1, 2, 7])
def test_independent_labels_get_a_sigmoid_each(labels: int) -> None:
    logits = RNG.normal(0, 3, (N, labels)).astype(np.float32)
    found = read_answers({"output": logits}, ClassScores.INDEPENDENT)
    np.testing.assert_allclose(np.asarray(found), 1 / (1 + np.exp(-logits.astype(np.float64))))
