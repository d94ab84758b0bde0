"""Cookies of browsers: bounded, known by hash alone."""

from itertools import count

from edge_runtime.http.sessions import LASTS_S, MOST_OF_ONE, Sessions
from tests.support.http_tokens import HOLDERS

WALL, SCANNER, _ = HOLDERS


def make_sessions() -> Sessions:
    numbers = count()
    return Sessions(lambda: f"cookie-{next(numbers)}")


def test_of_one_caller_the_oldest_makes_room_and_those_of_others_stay() -> None:
    sessions = make_sessions()
    other = sessions.open(SCANNER, 0.0)
    cookies = [sessions.open(WALL, 1.0) for _ in range(MOST_OF_ONE + 2)]
    found = [sessions.find(cookie, HOLDERS, 2.0) for cookie in cookies]
    assert found == [None, None] + [WALL] * MOST_OF_ONE
    assert sessions.find(other, HOLDERS, 2.0) == SCANNER


def test_what_is_over_is_forgotten() -> None:
    sessions = make_sessions()
    old = sessions.open(WALL, 0.0)
    new = sessions.open(WALL, LASTS_S)
    assert sessions.find(old, HOLDERS, 0.0) is None
    assert sessions.find(new, HOLDERS, LASTS_S) == WALL


def test_no_cookie_is_kept() -> None:
    sessions = make_sessions()
    cookie = sessions.open(WALL, 0.0)
    assert cookie not in repr(vars(sessions))
