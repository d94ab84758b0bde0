"""Answers are compared by the outputs that are read, and by no others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edge_runtime.bundles.compare import choose_comparison, read_outputs
from edge_runtime.inference.specs import ClassificationSpec, DetectionSpec, PictureSpec, RawSpec
from tests.support.bundle_builds import PREPROCESS

NAMES = ["a", "b", "c", "d"]


@dataclass
class Meaning:
    postprocess: Any
    preprocess: PictureSpec = PREPROCESS


def boxes(**names: Any) -> DetectionSpec:
    return DetectionSpec(box_format="xyxy", is_normalised=True, **names)


MEANINGS = {
    "the only scores": (ClassificationSpec(scores="logits"), ["a"]),
    "named scores": (ClassificationSpec(scores="logits", output="c"), ["c"]),
    "scores that are not there": (ClassificationSpec(scores="logits", output="x"), NAMES),
    "packed boxes": (boxes(boxes="b", packing="rows"), ["b"]),
    "columns": (boxes(boxes="d", packing="columns"), ["d"]),
    "boxes and scores": (boxes(boxes="b", scores="c"), ["b", "c"]),
    "with classes": (boxes(boxes="b", scores="c", classes="a"), ["b", "c", "a"]),
    "with a count": (boxes(boxes="b", scores="c", classes="a", count="d"), ["b", "c", "a", "d"]),
    "boxes that are not there": (boxes(boxes="x", packing="rows"), NAMES),
    "raw": (RawSpec(), NAMES),
    "some raw ones": (RawSpec(outputs=("b", "d")), ["b", "d"]),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_only_outputs_that_are_read_count(name: str) -> None:
    meaning, expected = MEANINGS[name]
    assert read_outputs(meaning, NAMES) == expected
    answer = {key: np.random.default_rng(i).normal(0, 1, 8) for i, key in enumerate(NAMES)}
    compare = choose_comparison("outputs", Meaning(meaning), [answer])
    for key in NAMES:
        other = {**answer, key: answer[key] + 1}
        assert (compare(other, answer) > 0.1) == (key in expected), key


def test_a_missing_output_is_no_answer() -> None:
    answer = {"a": np.arange(4.0), "b": np.arange(4.0)}
    compare = choose_comparison("outputs", Meaning(ClassificationSpec(scores="logits")), [answer])
    assert compare({"a": answer["a"]}, answer) == np.inf
