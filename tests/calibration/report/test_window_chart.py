"""A window as a chart: every peak is in it, gaps are gaps, and names are no markup."""

import base64
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.report.window_chart import LEFT, MOST_COLUMNS, RIGHT, STRIP, WindowAxes, draw_window

SVG = "{http://www.w3.org/2000/svg}"


def axes(count: int, name: str = "a", unit: str = "g") -> WindowAxes:
    return WindowAxes(tuple(f"{name}{i}" for i in range(count)), (unit,) * count, 100.0)


def paths(values: NDArray[np.floating], **more: str) -> list[str]:
    svg = ET.fromstring(draw_window(values, axes(len(values), **more)).svg)
    return [one.attrib["d"] for one in svg.iter(f"{SVG}path")]


def points(path: str) -> NDArray[np.float64]:
    found = re.findall(r"[ML](-?[0-9.]+) (-?[0-9.]+)", path)
    return np.array(found, np.float64)


def texts(values: NDArray[np.floating], the_axes: WindowAxes) -> list[str]:
    svg = ET.fromstring(draw_window(values, the_axes).svg)
    return [one.text or "" for one in svg.iter(f"{SVG}text")]


def test_each_channel_has_a_strip_with_its_own_scale():
    small, large = paths(np.array([[0, 1, 2], [1000, 3000, 2000]], np.float32))
    assert np.ptp(points(small)[:, 1]) == np.ptp(points(large)[:, 1]) == STRIP
    assert points(small)[:, 0].tolist() == [LEFT, (LEFT + 480 - RIGHT) / 2, 480 - RIGHT]


@pytest.mark.parametrize("at", [0, 1234, 9999])
def test_one_peak_among_ten_thousand_samples_is_drawn(at: int):
    values = np.zeros((1, 10_000), np.float32)
    values[0, at] = 1.0
    [path] = paths(values)
    assert len(points(path)) == 2 * MOST_COLUMNS
    assert np.ptp(points(path)[:, 1]) == STRIP


def test_a_gap_is_not_bridged_and_a_dead_channel_is_a_line():
    gap, dead, absent = paths(np.array([[1, np.nan, 2, 3], [7, 7, 7, 7], [np.nan] * 4], np.float32))
    assert gap.count("M") == 2
    assert len(points(gap)) == 3
    assert np.ptp(points(dead)[:, 1]) == 0
    assert absent == ""


def test_names_and_units_are_text():
    found = texts(np.zeros((1, 4), np.float32), WindowAxes(("<script>&",), ("m/s²",), 2.0))
    assert found[0] == "<script>&, m/s²"
    assert found[-2:] == ["0 s", "2 s"]


def test_channels_beyond_the_eighth_are_counted():
    values = np.zeros((11, 4), np.float32)
    assert len(paths(values)) == 8
    assert any("3 channels more" in text for text in texts(values, axes(11)))


def test_the_largest_chart_stays_small():
    noise = np.random.default_rng(0).normal(size=(8, 5000)).astype(np.float32)
    chart = draw_window(noise, axes(8))
    assert len(chart.uri) < 48 * 1024
    assert base64.b64decode(chart.uri.partition(",")[2]).decode() == chart.svg
