"""A time as text, whatever the clock says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.system.rfc3339 import format_rfc3339


@pytest.mark.parametrize(
    ("wall_s", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (-5.0, "1970-01-01T00:00:00.000Z"),
        (math.nan, "1970-01-01T00:00:00.000Z"),
        (math.inf, "9999-12-31T23:59:59.000Z"),
        (1.0005, "1970-01-01T00:00:01.000Z"),
    ],
)
def test_a_strange_clock_still_gives_a_time(wall_s, text):
    assert format_rfc3339(wall_s) == text


@given(st.floats())
def test_any_clock_value_gives_a_time_of_24_characters(wall_s):
    assert len(format_rfc3339(wall_s)) == 24
