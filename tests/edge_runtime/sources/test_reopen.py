import random

from edge_runtime.sources.reopen import Backoff, StallTimeout


def test_delays_double_up_to_the_limit():
    backoff = Backoff(random.Random(0), first_s=1, limit_s=30, jitter=0)
    assert [backoff.next_delay_s() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_reset_starts_from_the_first_delay():
    backoff = Backoff(random.Random(0), jitter=0)
    for _ in range(4):
        backoff.next_delay_s()
    backoff.reset()
    assert backoff.next_delay_s() == 1


def test_jitter_spreads_delays_and_never_exceeds_the_limit():
    delays = []
    for seed in range(200):
        backoff = Backoff(random.Random(seed))
        delays.append([backoff.next_delay_s() for _ in range(8)])
    first = [d[0] for d in delays]
    assert min(first) >= 0.8
    assert max(first) <= 1.2
    assert max(first) - min(first) > 0.3
    assert max(max(d) for d in delays) <= 30


def test_each_phase_has_its_own_timeout():
    timeout = StallTimeout()
    timeout.expect_life(100, within_s=20)
    assert timeout.excess_silence_s(119.9) is None
    assert timeout.excess_silence_s(120) == 20
    timeout.expect_life(111, within_s=5)
    assert timeout.excess_silence_s(115.9) is None
    assert timeout.excess_silence_s(116.5) == 5.5


def test_a_sign_of_life_extends_and_an_old_one_does_not_shorten():
    timeout = StallTimeout()
    timeout.expect_life(100, within_s=5)
    timeout.note_life(103)
    timeout.note_life(50)
    assert timeout.deadline_s() == 108
