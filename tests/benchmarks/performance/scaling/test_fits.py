"""Straight lines through few points."""

import pytest

from benchmarks.performance.scaling.fits import fit_line
from benchmarks.performance.scaling.points import line_of, points_of


def test_points_on_a_line_have_no_distance_from_it() -> None:
    line = fit_line([1, 2, 4, 8], [3.0, 5.0, 9.0, 17.0])
    assert (line.start, line.slope) == (pytest.approx(1.0), pytest.approx(2.0))
    assert line.deviation == pytest.approx(0.0, abs=1e-9)
    assert line.at(16) == pytest.approx(33.0)


def test_few_cameras_count_as_much_as_many() -> None:
    above, far = fit_line([1, 2, 4, 8], [3.3, 5.0, 9.0, 17.0]), fit_line([1, 2, 4, 8], [3.0, 5.0, 9.0, 18.7])
    assert above.deviation > 0.02
    assert far.deviation > 0.02


def test_the_line_goes_through_the_medians_of_the_rounds() -> None:
    rounds = [{"1": {"cores": c}, "2": {"cores": 2.0}, "4": {"cores": 4.0}} for c in (1.0, 9.0, 1.0)]
    assert points_of(rounds, "cores") == {1: [1.0, 9.0, 1.0], 2: [2.0] * 3, 4: [4.0] * 3}
    assert line_of(rounds, "cores").slope == pytest.approx(1.0)
