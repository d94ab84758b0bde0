import math

import numpy as np
import pytest

from edge_runtime.datatypes import Anomaly, Detection, Label, Result, Timings, Value
from edge_runtime.deployment.rollout_policy.agreement import agreement
from edge_runtime.inference.postprocess.postprocessor import Answer


def classes(label: str, index: int = 0) -> Answer:
    return Answer(top=(Label(index, label, 0.9), Label(7, "other", 0.1)))


def boxes(*found: tuple[str, float, float]) -> Answer:
    """Boxes of 10 x 10 by label and place."""
    return Answer(detections=tuple(Detection(0, label, 0.9, (x, y, x + 10, y + 10)) for label, x, y in found))


def raw(**outputs: object) -> Answer:
    return Answer(outputs={name: np.asarray(value) for name, value in outputs.items()})


def test_classes_agree_by_the_text_of_the_best_label_not_by_its_number():
    assert agreement(classes("ok", 0), classes("ok", 3)) == 1.0
    assert agreement(classes("ok", 0), classes("bad", 0)) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (boxes(), boxes(), 1.0),
        (boxes(("a", 0, 0)), boxes(), 0.0),
        (boxes(), boxes(("a", 0, 0)), 0.0),
        (boxes(("a", 0, 0)), boxes(("a", 3, 0)), 1.0),  # overlap 7/13
        (boxes(("a", 0, 0)), boxes(("a", 4, 0)), 0.0),  # 6/14
        (boxes(("a", 0, 0)), boxes(("b", 0, 0)), 0.0),
        (boxes(("a", 0, 0), ("a", 50, 0)), boxes(("a", 0, 0)), 2 / 3),
        (boxes(("a", 0, 0)), boxes(("a", 0, 0), ("a", 1, 0)), 2 / 3),  # one object belongs to one pair
        (boxes(("a", 0, 0), ("a", 90, 0)), boxes(("a", 0, 0), ("a", 1, 0)), 1 / 2),
        (boxes(("a", 0, 0), ("b", 0, 0)), boxes(("b", 0, 0), ("a", 0, 0)), 1.0),
    ],
)
def test_boxes_agree_by_f1(one, other, expected):
    assert agreement(one, other) == pytest.approx(expected)
    assert agreement(other, one) == pytest.approx(expected)


@pytest.mark.parametrize("flaw", [math.nan, math.inf])
def test_a_box_that_is_not_finite_agrees_with_none(flaw):
    broken = Answer(detections=(Detection(0, "a", 0.9, (0.0, 0.0, flaw, 10.0)),))
    assert agreement(boxes(("a", 0, 0)), broken) == 0.0


def test_raw_outputs_agree_by_their_relative_difference():
    active = raw(x=[3.0, 4.0], y=[0.0])
    assert agreement(active, active) == 1.0
    assert agreement(active, raw(x=[3.0, 4.0], y=[1.0])) == pytest.approx(0.8)  # 1 of 5
    assert agreement(active, raw(x=[-30.0, 4.0], y=[0.0])) == 0.0
    assert agreement(active, raw(y=[0.0], x=[3.0, 4.0])) == 1.0


def test_raw_outputs_that_cannot_be_compared_have_no_agreement():
    active = raw(x=[1.0, 2.0])
    for other in (raw(x=[1.0]), raw(y=[1.0, 2.0]), raw(x=["a", "b"]), classes("ok"), boxes()):
        assert agreement(active, other) is None
    assert agreement(raw(x=np.zeros((0, 4))), raw(x=np.zeros((0, 4)))) is None


def test_raw_outputs_of_extremes():
    assert agreement(raw(x=[0.0, 0.0]), raw(x=[0.0, 0.0])) == 1.0
    assert agreement(raw(x=[0.0, 0.0]), raw(x=[0.0, 1e-9])) == 0.0
    assert agreement(raw(x=[1e300, 1e300]), raw(x=[1e300, 1e300])) == 1.0
    assert agreement(raw(x=[1e-300]), raw(x=[1e300])) == 0.0
    assert agreement(raw(x=[1.0]), raw(x=[math.nan])) == 0.0
    assert agreement(raw(x=np.array([5], np.uint8)), raw(x=np.array([5], np.int64))) == 1.0


def test_a_published_result_is_compared_as_it_is():
    result = Result("d", "s", 1, 0.0, "m", "m/1", Timings(0, 0, 0, 0, 0), top=classes("ok").top)
    assert agreement(result, classes("ok")) == 1.0


def values(*found: float, name: str = "heat") -> Answer:
    return Answer(values=tuple(Value(f"{name}{i}", one, spread=2.0) for i, one in enumerate(found)))


def test_values_agree_by_their_difference_in_healthy_spreads():
    assert agreement(values(80.0), values(80.0)) == 1.0
    assert agreement(values(80.0, 1.0), values(80.5, 1.0)) == pytest.approx(0.875)
    assert agreement(values(80.0), values(90.0)) == 0.0
    assert agreement(values(80.0), values(math.nan)) == 0.0
    assert agreement(values(80.0), values(80.0, name="load")) is None


def test_anomalies_agree_by_the_verdict_and_without_a_threshold_by_the_score():
    def score(one: float, threshold: float | None) -> Answer:
        return Answer(anomaly=Anomaly(one, threshold))

    assert agreement(score(1.0, 2.0), score(1.9, 2.0)) == 1.0
    assert agreement(score(1.0, 2.0), score(2.1, 2.0)) == 0.0
    assert agreement(score(1.0, 2.0), score(0.9, None)) == pytest.approx(0.9)
    assert agreement(score(0.0, None), score(0.0, None)) == 1.0
