"""What int8 costs: the figures see what a consumer of the answers would see, whatever kind of scores they are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.candidates import ModelCandidate, choose_candidate
from edge_runtime.bundles.build.measure import compare_engines
from edge_runtime.bundles.build.recipe_file import QuantizationLimits
from edge_runtime.bundles.manifest import Measured
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.base import TensorSpec
from edge_runtime.inference.specs import ClassificationSpec, PictureSpec, PostprocessSpec

PREPROCESS = PictureSpec(
    colour="rgb", width=4, height=4, geometry="stretch", filter="area", mean=(0, 0, 0), std=(1, 1, 1)
)


class Says:
    """An engine that gives a fixed table of scores, a row a picture; the picture's first value is its number."""

    def __init__(self, table: Any) -> None:
        self.table = np.asarray(table, np.float32)
        self.input = TensorSpec("image", "float", (None, 3, 4, 4))
        self.outputs = (TensorSpec("y", "float", (None, self.table.shape[1])),)
        self.runs_on = "a table"

    def infer(self, batch: Any) -> dict[str, Any]:
        return {"y": self.table[batch[:, 0, 0, 0].astype(int)]}

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


def measured(kind: str, one: Any, other: Any, y: Any = None) -> Measured:
    x = np.zeros((len(one), 3, 4, 4), np.float32)
    x[:, 0, 0, 0] = np.arange(len(one))
    meaning = ClassificationSpec.model_validate({"scores": kind})
    return compare_engines(PREPROCESS, meaning, (Says(one), Says(other)), "test", x, y)


def candidate(found: Measured) -> ModelCandidate:
    return ModelCandidate("onnx", ModelFiles(b""), Says([[0.0]]), (found,))


RUINED: Mapping[str, tuple[Any, Any]] = {
    "one score": ([[0.839]] * 8, [[0.396]] * 8),
    "several labels": ([[0.839, 0.01, 0.02, 0.01]] * 8, [[0.396, 0.01, 0.02, 0.01]] * 8),
    "one score that stays above a half": ([[0.97]] * 8, [[0.6]] * 8),
}


@pytest.mark.parametrize("case", RUINED)
def test_scores_that_say_yes_or_no_by_themselves_are_not_compared_by_the_first_class(case: str) -> None:
    found = measured("probabilities", *RUINED[case])
    assert found.score_change is not None
    assert found.score_change > 0.3
    with pytest.raises(BundleError, match=r"int8.*0\.\d+"):
        choose_candidate([candidate(found)], QuantizationLimits(), 24)


def test_a_decision_that_turns_costs_what_the_float_model_believed_in_it() -> None:
    found = measured("probabilities", [[0.8, 0.1], [0.8, 0.1]], [[0.4, 0.1], [0.8, 0.1]])
    assert found.agreement == 0.5, "of two pictures one has all of its decisions"
    assert found.estimated_loss == pytest.approx((0.8 - 0.2) / 2, abs=1e-4)
    assert found.score_change == pytest.approx(0.4 / 2, abs=1e-4)


@pytest.mark.parametrize("kind", ["probabilities", "sigmoid_logits"])
def test_small_changes_of_independent_scores_pass(kind: str) -> None:
    rng = np.random.default_rng(0)
    one = rng.uniform(0.05, 0.95, (30, 3))
    other = np.clip(one + rng.normal(0, 0.004, one.shape), 0, 1)
    tables = (one, other) if kind == "probabilities" else (np.log(t / (1 - t)) for t in (one, other))
    taken = candidate(measured(kind, *tables))
    assert choose_candidate([taken], QuantizationLimits(), 24) is taken


def test_exclusive_classes_are_measured_as_before() -> None:
    one, other = [[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]], [[0.6, 0.3, 0.1], [0.3, 0.4, 0.3]]
    found = measured("probabilities", one, other)
    assert (found.agreement, found.estimated_loss, found.score_change) == (0.5, pytest.approx(0.025), None)


def test_the_labels_of_a_model_with_one_score_do_not_hide_what_it_lost() -> None:
    found = measured("probabilities", *RUINED["one score"], np.zeros(8, np.int64))
    assert found.accuracy == 0
    assert found.float_accuracy == 1
    with pytest.raises(BundleError, match="int8"):
        choose_candidate([candidate(found)], QuantizationLimits(), 24)


def agreement_of(meaning: dict[str, Any], one: Any, other: Any) -> float | None:
    x = np.zeros((len(one), 3, 4, 4), np.float32)
    x[:, 0, 0, 0] = np.arange(len(one))
    spec: PostprocessSpec = TypeAdapter(PostprocessSpec).validate_python(meaning)
    return compare_engines(PREPROCESS, spec, (Says(one), Says(other)), "test", x).agreement


def test_each_value_of_a_regression_is_compared_by_its_own_spread() -> None:
    meaning = {"task": "regression", "values": [{"name": "heat", "scale": 1000.0}, {"name": "wear"}]}
    one = np.array([[0, 0], [1, 0.1], [2, 0.2], [3, 0.3]])
    assert agreement_of(meaning, one, one) == 1.0
    lost = agreement_of(meaning, one, one * [1, 0])  # small next to the other one, and yet all of this value
    assert lost == 0.0


def test_scores_of_anomalies_are_compared_as_scores() -> None:
    meaning = {"task": "anomaly", "score": "output"}
    one = np.array([[0.0], [1.0], [2.0]])
    assert agreement_of(meaning, one, one + 1) == 0.0
    assert agreement_of(meaning, one, one + 0.1) == pytest.approx(1 - 0.01 / (2 / 3), abs=1e-3)


def test_numbers_that_do_not_fit_the_postprocessing_are_refused() -> None:
    with pytest.raises(BundleError):
        agreement_of({"task": "anomaly", "score": "reconstruction"}, np.zeros((2, 2)), np.zeros((2, 2)))
