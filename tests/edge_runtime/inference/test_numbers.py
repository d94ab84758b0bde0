"""Values in their units and scores of anomalies, read from a model's outputs as the bundle says."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from calibration.outputs.values import Values
from edge_runtime.bundles.build.recipe_file import RecipeFile
from edge_runtime.datatypes import Anomaly, Rejected, RejectReason, Sample, Value
from edge_runtime.inference.answers import ANOMALOUS, INSIDE, NORMAL, confidence_of, is_finite, label_of
from edge_runtime.inference.postprocess.detections import answer_layout
from edge_runtime.inference.postprocess.numbers import count_strays, draw_threshold
from edge_runtime.inference.postprocess.postprocessor import Answer, Postprocessor
from edge_runtime.inference.specs import (
    AnomalySpec,
    PostprocessSpec,
    PreprocessSpec,
    find_contradiction,
    read_preprocess,
)

SPECS: TypeAdapter[PostprocessSpec] = TypeAdapter(PostprocessSpec)
WINDOWS = read_preprocess({"kind": "signal", "channels": [{"name": "a"}, {"name": "b"}], "length": 3})
HEAT = {"name": "heat", "unit": "degC", "scale": 10.0, "offset": 60.0, "low": 20, "high": 80}


class Meaning:
    preprocess: PreprocessSpec = WINDOWS

    def __init__(self, spec: dict[str, Any]) -> None:
        self.postprocess: PostprocessSpec = SPECS.validate_python(spec)


def read(spec: dict[str, Any], outputs: dict[str, Any], threshold: float | None = None) -> Answer | Rejected:
    tensor = np.array([[0, 1, 2], [3, 4, 5]], np.float32)
    sample = Sample("s", 7, tensor, tensor, None, 0.0, 0.0, 0.0, 0.0, 0.0, filled=0.0)
    arrays = {name: np.asarray(value, np.float32) for name, value in outputs.items()}
    return Postprocessor(Meaning(spec), (), lambda: threshold).read(sample, arrays)


def answer(spec: dict[str, Any], outputs: dict[str, Any], threshold: float | None = None) -> Answer:
    found = read(spec, outputs, threshold)
    assert isinstance(found, Answer), found
    return found


def test_numbers_become_values_in_their_unit_with_their_place_in_the_limits():
    spec = {
        "task": "regression",
        "values": [HEAT, {"name": "days", "high": 5}, {"name": "load", "spread": 0.5}],
    }
    assert answer(spec, {"y": [[2.5, 3.0, 0.25]]}).values == (
        Value("heat", 85.0, "degC", "above", 10.0, 2.5),
        Value("days", 3.0, "", "inside", 1.0, 3.0),
        Value("load", 0.25, "", None, 0.5, 0.25),
    )


@pytest.mark.parametrize(
    ("number", "limits"), [(-4.5, "below"), (-4.0, "inside"), (2.0, "inside"), (2.5, "above")]
)
def test_a_limit_itself_is_inside(number: float, limits: str):
    [value] = answer({"task": "regression", "values": [HEAT]}, {"y": [number]}).values or ()
    assert value.limits == limits


def test_the_label_of_values_says_which_is_where():
    spec = {"task": "regression", "values": [HEAT, {"name": "days", "low": 5}]}
    assert label_of(answer(spec, {"y": [0, 6]})) == INSIDE
    assert label_of(answer(spec, {"y": [9, 4]})) == "heat above, days below"
    without = answer({"task": "regression", "values": [{"name": "load"}]}, {"y": [1]})
    assert (label_of(without), confidence_of(without)) == (None, None)


def test_an_output_of_one_number_is_a_score():
    spec = {"task": "anomaly", "score": "output", "output": "s", "threshold": 0.5}
    assert answer(spec, {"s": [[0.75]], "other": [1, 2]}).anomaly == Anomaly(0.75, 0.5)


def test_a_reconstruction_scores_by_the_rms_of_its_difference():
    near = np.array([[0, 1, 2], [3, 4, 8]])
    found = answer({"task": "anomaly", "score": "reconstruction"}, {"y": near}).anomaly
    assert found is not None
    assert found.score == pytest.approx(np.sqrt(9 / 6))


def test_without_a_threshold_nothing_is_anomalous_nor_normal():
    spec = {"task": "anomaly", "score": "output"}
    found = answer(spec, {"s": [3.0]})
    assert found.anomaly == Anomaly(3.0, None)
    assert (found.anomaly.is_anomalous, label_of(found)) == (None, None)
    assert label_of(answer(spec, {"s": [3.0]}, 2.0)) == ANOMALOUS
    assert label_of(answer(spec, {"s": [2.0]}, 2.0)) == NORMAL


@pytest.mark.parametrize(
    ("spec", "outputs"),
    [
        ({"task": "regression", "values": [HEAT]}, {"y": [1, 2]}),
        ({"task": "regression", "values": [HEAT]}, {"y": [np.nan]}),
        ({"task": "regression", "values": [{"name": "heat", "scale": 1e308}]}, {"y": [1e30]}),
        ({"task": "regression", "values": [HEAT]}, {"y": [1], "z": [1]}),
        ({"task": "regression", "values": [HEAT], "output": "z"}, {"y": [1]}),
        ({"task": "anomaly", "score": "output"}, {"y": [1, 2]}),
        ({"task": "anomaly", "score": "output"}, {"y": [np.inf]}),
        ({"task": "anomaly", "score": "reconstruction"}, {"y": np.zeros((3, 2))}),
    ],
)
def test_outputs_that_do_not_fit_are_rejected(spec: dict[str, Any], outputs: dict[str, Any]):
    found = read(spec, outputs)
    assert isinstance(found, Rejected)
    assert found.reason is RejectReason.BAD_OUTPUT


@pytest.mark.parametrize(
    "spec",
    [
        {"task": "regression", "values": []},
        {"task": "regression", "values": [HEAT, HEAT]},
        {"task": "regression", "values": [{**HEAT, "scale": 0}]},
        {"task": "regression", "values": [{**HEAT, "low": 80}]},
        {"task": "regression", "values": [{**HEAT, "spread": 0}]},
        {"task": "anomaly"},
        {"task": "anomaly", "score": "output", "quantile": 0.5},
        {"task": "anomaly", "score": "output", "factor": 0.9},
    ],
)
def test_a_specification_that_says_nothing_usable_is_refused(spec: dict[str, Any]):
    with pytest.raises(ValidationError):
        SPECS.validate_python(spec)


def test_the_threshold_lies_as_far_above_the_median_whatever_the_origin_of_the_scores():
    spec = AnomalySpec(task="anomaly", score="output", quantile=0.9, factor=2.0)
    healthy = np.linspace(0, 1, 101)
    assert draw_threshold(spec, healthy) == pytest.approx(0.5 + 2 * 0.4)
    assert draw_threshold(spec, healthy - 100) == pytest.approx(0.5 + 2 * 0.4 - 100)
    assert draw_threshold(spec, ()) is None
    assert draw_threshold(spec.model_copy(update={"threshold": 3.0}), healthy) == 3.0


def test_answers_that_are_not_finite_are_known():
    assert is_finite(Answer(values=(Value("a", 1.0),), anomaly=Anomaly(1.0, None)))
    assert not is_finite(Answer(values=(Value("a", np.nan),)))
    assert not is_finite(Answer(anomaly=Anomaly(np.inf, None)))


@pytest.mark.parametrize(
    ("spec", "layout"),
    [
        ({"task": "regression", "values": [HEAT]}, Values.PLAIN),
        ({"task": "anomaly", "score": "output"}, Values.PLAIN),
        ({"task": "anomaly", "score": "reconstruction"}, Values.RECONSTRUCTION),
    ],
)
def test_the_calibration_reads_the_same_numbers(spec: dict[str, Any], layout: Values):
    assert answer_layout(SPECS.validate_python(spec)) is layout


def test_windows_have_no_boxes():
    boxes = SPECS.validate_python(
        {"task": "detection", "boxes": "b", "scores": "s", "box_format": "xyxy", "is_normalised": True}
    )
    assert find_contradiction(WINDOWS, boxes) is not None
    assert find_contradiction(WINDOWS, SPECS.validate_python({"task": "raw"})) is None


def test_a_recipe_with_windows_and_boxes_is_refused():
    boxes = {"task": "detection", "boxes": "b", "scores": "s", "box_format": "xyxy", "is_normalised": True}
    recipe = {"name": "m", "model": "m.onnx", "golden": "g", "preprocess": WINDOWS.model_dump()}
    RecipeFile.model_validate({**recipe, "postprocess": {"task": "raw"}})
    with pytest.raises(ValidationError):
        RecipeFile.model_validate({**recipe, "postprocess": boxes})


ANOMALY = AnomalySpec(task="anomaly", score="output")


def healthy_scores(count: int, seed: int = 0) -> list[float]:
    return [*np.random.default_rng(seed).gamma(9, 0.05, count)]


@pytest.mark.parametrize(("count", "strays"), [(16, 1), (64, 1), (128, 2), (1000, 20)])
def test_a_few_windows_that_were_not_healthy_do_not_lift_the_threshold(count: int, strays: int):
    scores = healthy_scores(count)
    spoilt = [*scores, *[40.0] * strays][strays:]
    assert draw_threshold(ANOMALY, spoilt) == pytest.approx(draw_threshold(ANOMALY, scores), rel=0.3)
    assert count_strays(spoilt) == strays
    assert draw_threshold(ANOMALY, [one - 100 for one in spoilt]) < -90


def test_a_rare_state_of_the_machine_keeps_its_place_in_the_threshold():
    scores = [*healthy_scores(124), 40.0, 41.0, 42.0, 43.0]
    assert count_strays(scores) == 0
    threshold = draw_threshold(ANOMALY, scores)
    assert threshold is not None
    assert threshold > 43


@pytest.mark.parametrize("scores", [[1.0], [1.0, 50.0], [1.0] * 64, [0.0] * 127 + [0.1]])
def test_few_or_equal_scores_have_a_threshold(scores: list[float]):
    assert draw_threshold(ANOMALY, scores) is not None
    assert count_strays(scores) == 0


def test_healthy_scores_have_hardly_ever_a_stray():
    rng = np.random.default_rng(1)
    sets = [rng.standard_normal(128) ** 2 for _ in range(300)]
    assert sum(count_strays(one.tolist()) > 0 for one in sets) <= 3
