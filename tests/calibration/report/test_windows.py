"""Signals in the report: charts instead of pictures."""

import re

import numpy as np
import pytest

import calibration as c
from calibration.report.data import Material, gather
from calibration.report.page import Setting, page
from calibration.report.states import State
from calibration.report.template import without_pictures
from calibration.report.windows import HEIGHT, MOST_CHANNELS, MOST_POINTS, SHOWN, WIDTH, chart_rows
from tests.support.machine_signals import CHANNELS, louder, signal_net, signals

pytestmark = pytest.mark.integration

MOST_BYTES = 200_000


def rows_of(*parts: np.ndarray):
    return chart_rows([State(f"state {i}", "", part.astype(np.float32)) for i, part in enumerate(parts)])


def points(line: str) -> np.ndarray:
    return np.array([[float(v) for v in point.split(",")] for point in line.split()])


def test_a_state_is_a_row_and_a_channel_a_chart_with_one_axis_for_all_rows():
    rows = rows_of(signals(5), louder(signals(5)))
    assert [len(row.charts) for row in rows] == [CHANNELS, CHANNELS]
    assert [chart.title for chart in rows[0].charts] == [f"channel {i}" for i in range(CHANNELS)]
    assert [(a.low, a.high) for a in rows[0].charts] == [(b.low, b.high) for b in rows[1].charts]
    assert all(len(chart.lines) == SHOWN for row in rows for chart in row.charts)


def test_lines_stay_in_their_chart_and_go_up_with_the_values():
    ramp = np.tile(np.linspace(-3, 8, 40), (2, 1, 1))
    wild = ramp.copy()
    wild[0, 0, 20] = 1e6
    [row] = rows_of(wild)
    for line in row.charts[0].lines:
        xy = points(line)
        assert (xy[0, 0], xy[-1, 0]) == (0, WIDTH)
        assert xy[:, 1].min() >= 0
        assert xy[:, 1].max() <= HEIGHT
    assert (np.diff(points(row.charts[0].lines[1])[:, 1]) <= 0).all()


@pytest.mark.parametrize(("shape", "charts"), [((20, 1000), MOST_CHANNELS), ((1, 8), 1), ((9,), 1)])
def test_many_channels_and_values_stay_small(shape, charts):
    [row] = rows_of(np.random.default_rng(0).normal(size=(4, *shape)))
    assert len(row.charts) == charts
    assert max(len(points(line)) for line in row.charts[0].lines) <= MOST_POINTS


def test_a_constant_channel_is_a_line_in_the_middle():
    [row] = rows_of(np.full((2, 1, 10), 7.0))
    assert points(row.charts[0].lines[0])[:, 1] == pytest.approx(np.full(10, HEIGHT / 2))


@pytest.fixture(scope="module")
def text() -> str:
    model = signal_net()
    baseline = c.profile(model, signals(96, seed=1), created_wall_s=0.0)
    live = louder(signals(48, seed=2))
    verdict = c.recalibrate(model, baseline, live)
    material = gather(model, baseline, live, verdict, with_pictures=True)
    assert [len(row.charts) for row in material.windows] == [CHANNELS] * 4
    assert gather(model, baseline, live, verdict, with_pictures=False).windows == ()
    assert Material().windows == ()
    return page(verdict, baseline, material, Setting())


def test_the_page_has_a_chart_a_channel_and_state_and_stays_small(text: str) -> None:
    assert len(re.findall("<polyline", text)) == 4 * CHANNELS * SHOWN
    assert "<img" not in text
    assert len(text) < MOST_BYTES


def test_the_windows_can_be_taken_out_as_pictures_can(text: str) -> None:
    assert "<polyline" not in without_pictures(text)
