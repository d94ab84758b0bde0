"""A token bucket never gives more than its burst and its rate, whatever the clock does."""

import random

import pytest

from edge_runtime.messaging.token_bucket import TokenBucket


@pytest.mark.parametrize("seed", range(10))
def test_it_gives_at_most_the_burst_and_the_rate_and_no_less(seed):
    random_ = random.Random(seed)
    rate_per_s, burst = random_.uniform(0.5, 50.0), random_.randint(1, 30)
    bucket, now_s, given = TokenBucket(rate_per_s, burst), 0.0, 0
    for _ in range(3000):
        now_s += random_.uniform(0.0, 0.5 / rate_per_s)
        given += bucket.take(now_s)
    assert burst + rate_per_s * now_s - 2.0 <= given <= burst + rate_per_s * now_s


def test_a_time_in_the_past_adds_nothing():
    bucket = TokenBucket(1.0, 1)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)
    assert not bucket.take(50.5)
    assert bucket.take(51.0)
