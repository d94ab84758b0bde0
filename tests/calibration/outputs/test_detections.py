import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.outputs.detection_layout import DetectionLayout, read
from calibration.outputs.detections import (
    Boxes,
    Detections,
    collect,
    join,
    overlaps,
    score_ramp,
    shared_objects,
    weight,
)


def frame(*found: tuple[float, float, float, float, float], label: int = 1):
    rows = np.asarray(found, np.float32).reshape(-1, 5)
    return Boxes(rows[:, :4], rows[:, 4], np.full(len(rows), label, np.int32))


ONE = collect([frame((0, 0, 10, 10, 0.9), (20, 20, 30, 40, 0.8)), frame()])


def test_equal_detections_share_all_their_objects() -> None:
    np.testing.assert_allclose(shared_objects(ONE, ONE), ONE.objects())
    np.testing.assert_allclose(ONE.objects(), [2, 0])


def test_a_missing_a_shifted_and_a_false_detection_cost() -> None:
    other = collect([frame((0, 0, 10, 10, 0.9), (50, 50, 60, 60, 0.9)), frame((0, 0, 5, 5, 0.9))])
    np.testing.assert_allclose(shared_objects(other, ONE), [1, 0])
    np.testing.assert_allclose(other.objects(), [2, 1])


def test_borderline_scores_count_in_part() -> None:
    np.testing.assert_allclose(weight(np.array([0.2, 0.5, 0.8])), [0, 0.5, 1])


def test_another_class_is_another_object() -> None:
    other = collect([frame((0, 0, 10, 10, 0.9), label=2), frame()])
    assert shared_objects(other, ONE)[0] == 0


def test_an_object_is_counted_once_however_many_boxes_it_got() -> None:
    double = collect([frame((0, 0, 10, 10, 0.9), (0, 0, 10, 10.5, 0.9)), frame()])
    assert shared_objects(double, ONE)[0] == pytest.approx(1)


@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.integers(0, 8))
def test_agreement_is_symmetric_bounded_and_blind_to_order(seed: int, k: int, m: int) -> None:
    rng = np.random.default_rng(seed)

    def some(count: int):
        corner = rng.uniform(0, 1, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(0.1, 0.5, (count, 2))], axis=1)
        return Boxes(boxes, rng.uniform(0, 1, count), np.zeros(count, np.int32))

    a, b = some(k), some(m)
    turned = a.only(slice(None, None, -1))
    one, other = collect([a]), collect([b])
    shared = shared_objects(one, other)[0]
    assert shared == pytest.approx(shared_objects(other, one)[0])
    assert shared == pytest.approx(shared_objects(collect([turned]), other)[0])
    assert 0 <= shared <= min(one.objects()[0], other.objects()[0]) + 1e-9


def test_overlaps_are_those_of_the_definition() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [4, 4, 4, 4]], np.float32)
    found = overlaps(boxes, boxes)
    np.testing.assert_allclose(np.diag(found), [1, 1, 1, 0])
    assert found[0, 1] == pytest.approx(1 / 7)
    assert found[0, 2] == 0


def test_frames_of_several_parts_follow_each_other() -> None:
    both = join([ONE, collect([frame((0, 0, 1, 1, 0.5))])])
    assert len(both) == 3
    np.testing.assert_allclose(shared_objects(both[np.array([0, 1])], ONE), ONE.objects())


def test_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError):
        shared_objects(ONE, ONE[np.array([0])])
    with pytest.raises(ValueError):
        Detections(np.zeros((2, 3, 4), np.float32), np.zeros((2, 2), np.float32), np.zeros((2, 2), np.int32))


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.1, 0.25, 0.3, 0.5, 0.6, 0.8, 0.9, 0.99, 1.0])
def test_a_detection_counts_half_at_the_threshold_of_its_manifest(threshold: float) -> None:
    low, high = score_ramp(threshold)
    assert 0 <= low < high <= 1
    at, zero, one = weight(np.array([threshold, 0.0, 1.0]), threshold)
    assert zero == 0
    assert one == 1
    if 0.02 <= threshold <= 0.98:
        assert at == pytest.approx(0.5)
    if threshold == 0.5:
        assert (low, high) == (0.25, 0.75)


@pytest.mark.parametrize(("threshold", "objects"), [(0.02, 2.0), (0.15, 2.0), (0.5, 0.0), (0.8, 0.0)])
def test_what_is_published_is_what_is_counted(threshold: float, objects: float) -> None:
    layout = DetectionLayout("end2end", "out", score_threshold=threshold)
    boxes = np.array([[[0, 0, 5, 5, 0.24, 0], [9, 9, 12, 12, 0.23, 1], [1, 1, 2, 2, 0.001, 0]]])
    found = read(layout, {"out": boxes})
    assert found.objects()[0] == pytest.approx(objects)
    assert shared_objects(found, found)[0] == pytest.approx(objects)
    assert join([found, found[np.array([0])]]).score_threshold == threshold
