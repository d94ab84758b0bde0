"""A flood of bad pictures is counted, not published."""

import pytest

from edge_runtime.messaging.rejections import RejectionQuota


def test_a_folder_of_bad_pictures_is_named_completely():
    quota = RejectionQuota()
    assert [quota.take("belt", "x", 0.0) for _ in range(1000)] == [0] * 1000


def test_what_is_beyond_it_is_counted_and_said_with_the_next():
    quota = RejectionQuota(rate_per_s=2.0, burst=3)
    assert [quota.take("belt", "x", 0.0) for _ in range(5)] == [0, 0, 0, None, None]
    assert quota.take("belt", "x", 0.25) is None
    assert quota.take("belt", "x", 0.6) == 3
    assert quota.take("belt", "x", 1.2) == 0


def test_a_day_of_garbage_stays_within_the_rate():
    quota = RejectionQuota(rate_per_s=10.0, burst=1000)
    said = [quota.take("belt", "x", number / 100) for number in range(100_000)]  # 1000 s at 100/s
    published = [number for number in said if number is not None]
    assert len(published) <= 1000 + 10 * 1000
    assert len(published) + sum(published) >= len(said) - 20


def test_one_stream_does_not_use_up_the_allowance_of_another():
    quota = RejectionQuota(burst=1)
    assert (quota.take("a", "x", 0.0), quota.take("a", "x", 0.0), quota.take("b", "x", 0.0)) == (0, None, 0)


@pytest.mark.parametrize("flood", [1, 2, 3, 4, 10, 1000, 9000])
@pytest.mark.parametrize("streams", ["a", "ab"])
def test_the_last_of_a_flood_is_published_with_the_number_of_the_others(flood, streams):
    quota = RejectionQuota(rate_per_s=10.0, burst=2)
    said = []
    for number in range(flood):
        for stream in streams:
            unsaid = quota.take(stream, (stream, number), 0.0)
            said += [] if unsaid is None else [((stream, number), unsaid)]
    assert quota.take_last(0.05) == []
    said += quota.take_last(0.1)
    for stream in streams:
        own = [(number, unsaid) for (name, number), unsaid in said if name == stream]
        assert own[-1] == (flood - 1, max(0, flood - 3))
        assert sum(1 + unsaid for _, unsaid in own) == flood
    assert quota.take_last(1000.0) == quota.take_last(1001.0, is_end=True) == []


def test_at_the_end_it_is_published_at_once():
    quota = RejectionQuota(burst=1)
    for number in range(5):
        quota.take("belt", number, 0.0)
    assert quota.take_last(0.0) == []
    assert quota.take_last(0.0, is_end=True) == [(4, 3)]
    assert quota.take("belt", 5, 10.0) == 0
