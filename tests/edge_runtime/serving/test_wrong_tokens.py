"""Guesses are limited for each client, in bounded memory."""

import pytest

from edge_runtime.serving.wrong_tokens import BURST, EACH_S, MOST_CLIENTS, WrongTokens


def guess(wrong: WrongTokens, client: str, times: int = BURST) -> None:
    for _ in range(times):
        wrong.note(client, 5.0)


def test_a_client_waits_after_its_burst_until_it_may_once_more() -> None:
    wrong = WrongTokens()
    guess(wrong, "10.0.0.9", BURST - 1)
    assert wrong.wait_s("10.0.0.9", 5.0) == 0
    guess(wrong, "10.0.0.9", 1)
    assert wrong.wait_s("10.0.0.9", 5.0) == pytest.approx(EACH_S)
    assert wrong.wait_s("10.0.0.9", 5.0 + EACH_S) == 0


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ("2001:db8::ffff", True),
        ("2001:db8:0:1::1", False),
        ("::ffff:10.0.0.9", False),
        ("", False),
        ("fe80::1%eth0", False),
    ],
)
def test_an_ipv6_network_of_64_bits_is_one_client(other: str, is_same: bool) -> None:
    wrong = WrongTokens()
    guess(wrong, "2001:db8::1")
    assert (wrong.wait_s(other, 5.0) > 0) is is_same


def test_it_remembers_a_bounded_number_of_clients() -> None:
    wrong = WrongTokens()
    guess(wrong, "10.0.0.1")
    for number in range(MOST_CLIENTS):
        wrong.note(f"10.1.{number // 256}.{number % 256}", 5.0)
    assert wrong.wait_s("10.0.0.1", 5.0) == 0
    assert wrong.count == BURST + MOST_CLIENTS
