"""A flood of bad pictures is counted, not published."""

from edge_runtime.messaging.rejections import RejectionQuota


def test_a_folder_of_bad_pictures_is_named_completely():
    quota = RejectionQuota()
    assert [quota.take("belt", 0.0) for _ in range(1000)] == [0] * 1000


def test_what_is_beyond_it_is_counted_and_told_with_the_next():
    quota = RejectionQuota(rate_per_s=2.0, burst=3)
    assert [quota.take("belt", 0.0) for _ in range(5)] == [0, 0, 0, None, None]
    assert quota.take("belt", 0.25) is None
    assert quota.take("belt", 0.6) == 3
    assert quota.take("belt", 1.2) == 0


def test_a_day_of_garbage_stays_within_the_rate():
    quota = RejectionQuota(rate_per_s=10.0, burst=1000)
    said = [quota.take("belt", number / 100) for number in range(100_000)]  # 1000 s at 100/s
    published = [number for number in said if number is not None]
    assert len(published) <= 1000 + 10 * 1000
    assert len(published) + sum(published) >= len(said) - 20


def test_one_stream_does_not_use_up_the_allowance_of_another():
    quota = RejectionQuota(burst=1)
    assert (quota.take("a", 0.0), quota.take("a", 0.0), quota.take("b", 0.0)) == (0, None, 0)
