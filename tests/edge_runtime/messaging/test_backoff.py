"""backoff: soon after a broker that was away, later and later against one that ends every session."""

import pytest

from edge_runtime.messaging.mqtt.backoff import LASTING_S, Backoff


def backoff():
    return Backoff(first_s=1.0, longest_away_s=3.0, longest_s=60.0)


def test_a_broker_that_is_away_is_tried_every_few_seconds_for_ever():
    one = backoff()
    assert [one.after_unreachable() for _ in range(100)] == [1.0, 2.0, *[3.0] * 98]


def test_a_refused_connection_is_tried_less_and_less():
    one = backoff()
    assert [one.after_refusal() for _ in range(7)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_young_sessions_that_the_broker_ends_are_followed_by_longer_and_longer_pauses():
    one = backoff()
    pauses = [one.after_session(1.0, is_ended_by_broker=True) for _ in range(9)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert one.is_ended_often


@pytest.mark.parametrize("lasted_s", [LASTING_S, 1e6])
def test_only_a_session_that_lasted_ends_the_row(lasted_s):
    one = backoff()
    for _ in range(9):
        one.after_session(1.0, is_ended_by_broker=True)
    assert one.after_session(lasted_s, is_ended_by_broker=True) == 1.0
    assert not one.is_ended_often


def test_a_restarted_broker_is_not_taken_for_one_that_ends_sessions():
    one, pauses = backoff(), []
    for _ in range(20):
        pauses.append(one.after_session(2.0, is_ended_by_broker=True))
        pauses.append(one.after_unreachable())
    assert max(pauses) <= 3.0


def test_a_network_that_fails_every_minute_is_not_punished():
    one = backoff()
    assert {one.after_session(60.0, is_ended_by_broker=False) for _ in range(50)} == {1.0}
    assert {one.after_session(60.0, is_ended_by_broker=True) for _ in range(50)} == {1.0}


def test_two_devices_with_one_client_id_end_up_far_apart():
    """Each session of one lasts until the other comes back; jitter is the worst case, none."""
    ones, now_s, takeovers = [backoff(), backoff()], 0.0, []
    since_s, turn, comes_back_s = 0.0, 0, [0.0, 0.5]
    while now_s < 3600:
        turn = 1 - turn
        now_s = max(now_s, comes_back_s[turn])
        loser = 1 - turn
        pause_s = ones[loser].after_session(now_s - since_s, is_ended_by_broker=True)
        since_s, comes_back_s[loser] = now_s, now_s + pause_s
        takeovers.append(now_s)
    assert len([at_s for at_s in takeovers if at_s > 600]) < 3000 / 20
