"""The geometry of the charts."""

import pytest

from calibration.report.charts import HISTOGRAM_HEIGHT, TOP, histograms


def test_two_histograms_share_an_axis_of_shares():
    chart = histograms([5, 15, 0], [40, 0, 0])
    assert chart is not None
    first, second, third = chart.columns
    assert first.inner_top == TOP  # all of them
    assert first.top is not None
    assert second.top is not None
    assert TOP < second.top < first.top < HISTOGRAM_HEIGHT
    assert (second.inner_top, third.top, third.inner_top) == (None, None, None)
    assert chart.ticks[-1] == (TOP, "100%")


def test_an_empty_one_is_left_out():
    assert histograms([0, 0], [0, 0]) is None
    chart = histograms([0, 0], [1, 1])
    assert chart is not None
    assert [column.top for column in chart.columns] == [None, None]


@pytest.mark.parametrize(("counts", "top"), [([1] * 10, "10%"), ([3, 7], "80%"), ([1, 1], "60%")])
def test_the_axis_ends_at_a_round_share_above_the_highest(counts, top):
    chart = histograms(counts, counts)
    assert chart is not None
    assert chart.ticks[-1][1] == top
