"""hot_swap: a few real swaps of a real model under load."""

import pytest

from benchmarks.performance.swaps.hot_swap import swapped

pytestmark = pytest.mark.integration


def test_counts_every_frame_and_every_generation() -> None:
    found = swapped(2, 0.0, 10.0)
    assert found["accepted"] == found["results"] + found["overloaded"]
    assert found["results"] > 0
    assert (
        found["dropped"] == found["overloaded_swapping"]
    )  # a busy box may be too slow even for ten frames a second
    assert found["rejected"] == found["engine_errors"] == 0
    assert found["generations"] in (2, 3)  # no frame may have come before the first swap
    assert [after for after, _ in found["pss_mib"]] == [0, 1]
    assert found["worst_over_p50"] >= 1
