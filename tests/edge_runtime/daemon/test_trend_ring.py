"""Figures over time: every level holds what its steps saw, within its memory."""

import numpy as np
import pytest

from edge_runtime.daemon.trend_ring import Figure, Level, TrendRing

RATE, WORST, LOST = Figure("rate", "mean", "m", "belt"), Figure("p99", "most", "m"), Figure("lost", "sum")
LEVELS = (Level(5.0, 4), Level(20.0, 3))
NOTHING = np.float32("nan")


def play(ring, values, begin=0.0, every=5.0):
    for number, value in enumerate(values):
        ring.add({} if value is None else {RATE: value, WORST: value, LOST: value}, begin + number * every)


def test_the_fine_level_has_each_value_and_a_gap_where_there_was_none():
    ring = TrendRing(LEVELS)
    play(ring, [1.0, None, 3.0])
    found = ring.read(20.0, 11.0)
    assert (found.first, found.step_s) == (0, 5.0)
    np.testing.assert_array_equal(found.values[RATE], [1, NOTHING, 3])
    assert found.values[RATE].dtype == np.float32


def test_the_coarse_level_merges_as_each_figure_says():
    ring = TrendRing(LEVELS)
    play(ring, [1.0, None, 3.0, 8.0, 5.0])
    found = ring.read(60.0, 21.0)
    assert found.step_s == 20.0
    np.testing.assert_array_equal(found.values[RATE], [4, 5])
    np.testing.assert_array_equal(found.values[WORST], [8, 5])
    np.testing.assert_array_equal(found.values[LOST], [12, 5])


def test_old_steps_make_room_and_a_figure_without_values_is_forgotten():
    ring = TrendRing(LEVELS)
    play(ring, range(10))
    np.testing.assert_array_equal(ring.read(20.0, 46.0).values[RATE], [6, 7, 8, 9])
    other = Figure("rate", "mean", "m", "yard")
    for number in range(10, 14):
        ring.add({other: 1.0}, 5.0 * number)
    assert list(ring.read(20.0, 66.0).values) == [other]
    assert RATE in ring.read(60.0, 66.0).values


@pytest.mark.parametrize("pause_s", [30.0, 1e6])
def test_a_pause_is_a_gap(pause_s):
    ring = TrendRing(LEVELS)
    play(ring, [1.0])
    ring.add({RATE: 2.0}, pause_s)
    found = ring.read(20.0, pause_s)
    assert found.values[RATE][-1] == 2
    assert np.isnan(found.values[RATE][:-1]).all()
    assert len(found.values[RATE]) <= 4


def test_only_steps_after_a_number_and_within_the_span_are_read():
    ring = TrendRing(LEVELS)
    play(ring, range(10))
    assert ring.read(20.0, 46.0, after=7).first == 8
    np.testing.assert_array_equal(ring.read(20.0, 46.0, after=7).values[RATE], [8, 9])
    np.testing.assert_array_equal(ring.read(6.0, 46.0).values[RATE], [9])
    assert all(len(one) == 0 for one in ring.read(20.0, 46.0, after=99).values.values())


def test_it_holds_no_more_figures_than_it_may():
    ring = TrendRing(LEVELS, most_figures=2)
    ring.add({Figure("rate", "mean", "m", str(number)): 1.0 for number in range(9)}, 0.0)
    assert [figure.part for figure in ring.read(20.0, 1.0).values] == ["0", "1"]


def test_before_the_first_value_there_is_nothing():
    assert TrendRing(LEVELS).read(20.0, 1.0).values == {}
