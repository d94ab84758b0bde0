"""A bundle whose outputs are right but would be read wrongly is refused before it runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.bundles.answer_check import check_answers
from edge_runtime.bundles.self_test import golden_sample
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.errors import BundleError
from edge_runtime.inference.specs import DetectionSpec
from tests.support.bundle_builds import build, edit, failure, replace_file
from tests.support.bundle_models import small_model


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    count = iter(range(1, 100))
    root = tmp_path_factory.mktemp("bundles")
    return lambda: build(root, small_model(), version=next(count))


def set_postprocess(path: Path, **values: Any) -> None:
    edit(path, lambda data: data["postprocess"].update(values))


@pytest.mark.parametrize("count", [1, 4, 6])
def test_labels_of_another_length_are_refused(built: Callable[[], Path], count: int) -> None:
    path = built()
    replace_file(path, "labels.txt", "\n".join("abcdef"[:count]).encode())
    words = failure(path)
    assert "labels.txt" in words
    assert str(count) in words


def test_an_output_the_model_does_not_have_is_named(built: Callable[[], Path]) -> None:
    path = built()
    set_postprocess(path, output="scores")
    words = failure(path)
    assert "logits" in words
    assert "postprocess" in words


def test_logits_declared_as_probabilities_are_refused(built: Callable[[], Path]) -> None:
    path = built()
    set_postprocess(path, scores="probabilities")
    assert "scores: logits" in failure(path)


def test_probabilities_declared_as_logits_are_refused(built: Callable[[], Path]) -> None:
    bundle = load_bundle(built())
    with pytest.raises(BundleError, match="scores: probabilities"):
        check_answers(bundle, [answer(bundle, 0.6, 0.1, 0.1, 0.1, 0.1), answer(bundle, 0.96, *[0.01] * 4)])
    # One picture alone may happen to look like that.
    check_answers(bundle, [answer(bundle, 0.6, 0.1, 0.1, 0.1, 0.1), answer(bundle, 2.0, 1.0, 0.0, 0.0, -1.0)])


def answer(bundle: Bundle, *scores: float) -> Any:
    sample = golden_sample(bundle, bundle.manifest.golden[0], bundle.manifest.preprocess)
    return sample, {"logits": np.array(scores, np.float32)}


def of_kind(bundle: Bundle, kind: str) -> Bundle:
    spec = bundle.manifest.postprocess.model_copy(update={"scores": kind})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"postprocess": spec}), labels=())


@pytest.mark.parametrize(("score", "advice"), [(-3.2, "sigmoid_logits"), (0.7, "probabilities")])
def test_a_softmax_over_one_score_is_refused_with_what_fits(
    built: Callable[[], Path], score: float, advice: str
) -> None:
    bundle = of_kind(load_bundle(built()), "logits")
    with pytest.raises(BundleError, match=f"scores: {advice}"):
        check_answers(bundle, [answer(bundle, score), answer(bundle, 0.2)])


def test_one_logit_and_several_labels_are_read_by_a_sigmoid(built: Callable[[], Path]) -> None:
    bundle = of_kind(load_bundle(built()), "sigmoid_logits")
    check_answers(bundle, [answer(bundle, -3.2), answer(bundle, 0.7)])
    check_answers(bundle, [answer(bundle, 0.2, 0.4), answer(bundle, 0.1, 0.6)])
    with pytest.raises(BundleError, match="probabilities"):
        check_answers(bundle, [answer(bundle, *[0.2] * 10), answer(bundle, *[0.9] * 10)])


def test_a_map_is_not_a_row_of_class_scores(built: Callable[[], Path]) -> None:
    bundle = of_kind(load_bundle(built()), "logits")
    sample, _ = answer(bundle, 1.0)
    check_answers(bundle, [(sample, {"logits": np.arange(5.0).reshape(5, 1, 1)})])
    with pytest.raises(BundleError, match=r"logits.*\(5, 8, 8\)"):
        check_answers(bundle, [(sample, {"logits": np.zeros((5, 8, 8))})])


def test_text_is_no_answer(built: Callable[[], Path]) -> None:
    bundle = load_bundle(built())
    sample, outputs = answer(bundle, 1.0, 2, 3, 4, 5)
    with pytest.raises(BundleError, match="name"):
        check_answers(bundle, [(sample, {**outputs, "name": np.array(["cat"], object)})])


def detector(bundle: Bundle, **values: Any) -> Bundle:
    spec = DetectionSpec.model_validate({
        "packing": "rows", "boxes": "out", "box_format": "xyxy", "is_normalised": False, **values,
    })  # fmt: skip
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"postprocess": spec}), labels=())


GOOD = [[2.0, 3, 20, 30, 0.9], [1, 1, 9, 9, 0.7], [0, 0, 0, 0, 0.0], [0, 0, 0, 0, -1]]


@pytest.mark.parametrize(
    ("rows", "values", "words"),
    [
        (
            [[2.0, 3, 20, 30, 91.8]],
            {},
            "91.8.*packing",
        ),
        ([[2.0, 3, 20, 30, -4.2]], {}, "activation"),
        (GOOD, {"is_normalised": True}, "2 of 2.*32 x 32.*is_normalised"),
        ([[0.1, 0.2, 0.9, 0.8, 0.9]], {}, "is_normalised: true"),
    ],
)
def test_scores_and_boxes_that_can_only_be_misread_are_refused(
    built: Callable[[], Path], rows: Any, values: dict[str, Any], words: str
) -> None:
    bundle = load_bundle(built())
    sample, _ = answer(bundle, 1.0)
    check_answers(detector(bundle), [(sample, {"out": np.array(GOOD)})])
    with pytest.raises(BundleError, match=words):
        check_answers(detector(bundle, **values), [(sample, {"out": np.array(rows)})])
