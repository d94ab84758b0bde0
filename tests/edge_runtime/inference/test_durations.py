"""Histograms of answered frames: where values fall, that sums never fall, and how many series there may be."""

import pytest

from edge_runtime.datatypes import Generation, Timings
from edge_runtime.inference.durations import BOUNDS_S, MOST_KEPT, FrameDurations

BASE = Generation("parts/1")


def timings(total: float = 0.0, *, decode: float = 0.0, prepare: float = 0.0, infer: float = 0.0) -> Timings:
    return Timings(decode, prepare, 0.0, infer, total)


@pytest.mark.parametrize(
    ("total_ms", "bucket"),
    [(0.0, 0), (0.5, 0), (0.51, 1), (10_000.0, len(BOUNDS_S) - 1), (1e6, len(BOUNDS_S))],
)
def test_a_bound_belongs_to_its_bucket(total_ms: float, bucket: int) -> None:
    durations = FrameDurations()
    durations.add(BASE, "active", timings(total_ms))
    total = durations.read()[BASE, "active"].total
    assert [index for index, count in enumerate(total.counts) if count] == [bucket]
    assert total.sum_s == total_ms / 1000


def test_a_duration_below_nothing_does_not_lower_the_sum() -> None:
    durations = FrameDurations()
    for total_ms in (3.0, -5.0):
        durations.add(BASE, "active", timings(total_ms))
    assert durations.read()[BASE, "active"].total.sum_s == 0.003


def test_decoding_is_a_part_of_preparing() -> None:
    durations = FrameDurations()
    durations.add(BASE, "candidate", timings(decode=2.0, prepare=1.0, infer=8.0))
    took = durations.read()[BASE, "candidate"]
    assert (took.prepare.sum_s, took.infer.sum_s, sum(took.queue.counts)) == (0.003, 0.008, 1)


def test_the_generations_that_answered_last_are_kept() -> None:
    durations = FrameDurations()
    durations.add(BASE, "active", timings())
    for number in range(MOST_KEPT):
        durations.add(Generation("parts/1", f"p{number}"), "active", timings())
        durations.add(BASE, "active", timings())
    kept = durations.read()
    assert len(kept) == MOST_KEPT
    assert (Generation("parts/1", "p0"), "active") not in kept
    assert sum(kept[BASE, "active"].total.counts) == MOST_KEPT + 1
