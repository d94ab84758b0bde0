"""Durations for people."""

import pytest

from edge_runtime.system.milliseconds import format_ms


@pytest.mark.parametrize(
    ("value_ms", "expected"),
    [
        (0.0, "0.0"),
        (0.0131, "0.013"),
        (0.0496, "0.050"),
        (0.42, "0.42"),
        (0.999, "1.0"),
        (4.04, "4.0"),
        (1234.56, "1234.6"),
    ],
)
def test_a_short_time_keeps_two_digits_and_a_longer_one_a_decimal(value_ms: float, expected: str) -> None:
    assert format_ms(value_ms) == expected
