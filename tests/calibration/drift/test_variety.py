"""How many contents the answers show, and how far the alarm level rises while they are few."""

import numpy as np
import pytest

from calibration.drift.variety import MOST, Variety, bins_of, count_contents
from calibration.stats.moments import FrameMoments
from calibration.stats.output_features import class_features, detection_features


def answers(classes: list[int]) -> FrameMoments:
    means, ones = zip(*[class_features(index, 0.9) for index in classes], strict=True)
    return FrameMoments(np.stack(means), np.stack(ones))


def bins(classes: list[int]) -> np.ndarray:
    return bins_of(answers(classes).mean)


def variety(classes: list[int], size: int = 48) -> Variety:
    return Variety.of(answers(classes), float(len(classes)), size, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("classes", "expected"),
    [([3] * 8, 1.0), ([3, 5] * 8, 2.0), (list(range(16)), 16.0), ([1, 1, 1, 2], 16 / 10)],
)
def test_contents_are_the_inverse_of_simpsons_index(classes, expected):
    assert count_contents(bins(classes)) == pytest.approx(expected)


def test_the_order_and_the_names_of_the_classes_do_not_matter():
    some = [0, 0, 1, 2, 2, 2, 7]
    renamed = [index + 4 for index in reversed(some)]
    assert count_contents(bins(renamed)) == pytest.approx(count_contents(bins(some)))


def test_answers_without_a_class_have_no_contents():
    detector = np.stack([detection_features([0.9, 0.7])[0]] * 4)
    assert count_contents(bins_of(detector)) == 0.0
    healthy = FrameMoments(detector, np.ones_like(detector))
    found = Variety.of(healthy, 4.0, 48, np.random.default_rng(0))
    assert found.alarm_level(list(bins_of(detector))) == 1.0
    assert found.alarm_level(list(bins([1, 1]))) == 1.0


def test_answers_as_varied_as_usual_leave_the_level_alone():
    healthy = list(range(10)) * 12
    found = variety(healthy)
    assert 5.0 < found.usual < 10.0
    rng = np.random.default_rng(1)
    levels = [found.alarm_level(list(bins(rng.choice(healthy, 48).tolist()))) for _ in range(200)]
    assert np.mean(np.array(levels) == 1.0) > 0.8
    assert max(levels) < 1.7


def test_the_level_rises_as_contents_get_fewer_but_not_for_ever():
    found = variety(list(range(16)) * 8)
    levels = [found.alarm_level(list(bins(list(range(few)) * 12))) for few in (16, 8, 4, 2, 1)]
    assert levels[0] == 1.0
    assert levels == sorted(levels)
    assert levels[1] == pytest.approx((found.usual / 8) ** 2)
    assert levels[-1] == MOST


def test_no_answers_and_unknown_ones_leave_the_level_alone():
    assert variety(list(range(16)) * 8).alarm_level([]) == 1.0


def test_a_site_that_showed_one_product_after_the_other_is_used_to_few():
    mixed = list(range(8)) * 16
    in_turn = sorted(mixed)
    rng = np.random.default_rng(0)
    found = Variety.of(answers(in_turn), len(in_turn) / 16, 16, rng)
    assert found.usual < 0.6 * variety(mixed, 16).usual
