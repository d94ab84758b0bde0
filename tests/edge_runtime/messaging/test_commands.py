"""commands: the rules, in the order of the module's text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import CommandError
from edge_runtime.messaging.commands.protocol import (
    MAX_REQUEST_BYTES,
    OFF,
    CommandHandler,
    CommandPolicy,
    decode,
    read_transaction,
)

NOW_WALL_S = 1_795_448_459.0  # 2026-11-23T15:40:59Z


class Device:
    """Notes the commands it obeyed."""

    def __init__(self) -> None:
        self.done = []

    def status(self, arguments):
        self.done.append(arguments)
        return {"n": len(self.done)}

    def rollback(self, arguments):
        self.done.append(arguments)
        raise CommandError("there is no previous generation")

    def broken(self, arguments):
        self.done.append(arguments)
        raise ZeroDivisionError


def make(**policy):
    device = Device()
    handlers = {"status": device.status, "rollback": device.rollback, "commission": device.broken}
    return device, CommandHandler(handlers, CommandPolicy(**{"is_enabled": True, **policy}))


def ask(handler, verb="status", payload=b"{}", *, is_retained=False, now_s=0.0, now_wall_s=NOW_WALL_S):
    if isinstance(payload, dict):
        payload = json.dumps(payload).encode()
    answer = handler.answer(verb, payload, is_retained=is_retained, now_s=now_s, now_wall_s=now_wall_s)
    return None if answer is None else json.loads(answer)


def test_a_good_command_is_obeyed_and_answered_with_its_transaction():
    _device, handler = make()
    assert ask(handler, payload={"transaction": "t1"}) == {
        "status": "ok",
        "data": {"n": 1},
        "transaction": "t1",
    }
    assert handler.counts["executed"] == 1


def test_an_empty_payload_is_a_command_without_arguments():
    assert ask(make()[1], payload=b"") == {"status": "ok", "data": {"n": 1}, "transaction": None}


def test_retained_commands_are_ignored_and_counted():
    device, handler = make()
    assert ask(handler, is_retained=True) is None
    assert (device.done, handler.counts["retained"]) == ([], 1)


def test_commands_are_off_unless_turned_on():
    device = Device()
    handler = CommandHandler({"status": device.status}, CommandPolicy())
    assert ask(handler, payload={"transaction": 7}) == {"status": "error", "error": OFF, "transaction": 7}
    assert device.done == []


@pytest.mark.parametrize(
    ("verb", "payload", "says"),
    [
        ("reboot", b"{}", "unknown verb 'reboot'; known are status, recalibrate, rollback, commission"),
        ("status", b"{", "not JSON"),
        ("status", b"[]", "expected an object"),
        ("status", b"null", "expected an object"),
        ("status", b'{"a":1}', "status: a: no argument of this verb"),
        (
            "status",
            b'{"transaction":[]}',
            "transaction: Input should be a valid string; transaction: Input should",
        ),
        ("status", b'{"transaction": ""}', "transaction"),
        ("status", b'{"transaction": true}', "transaction"),
        ("status", b'{"expires_at": "2026-11-23T15:40:58Z"}', "expired at 2026-11-23"),
        ("status", b'{"expires_at": "2026-11-23T15:40:58"}', "timezone"),
        ("status", b'{"expires_at": "tomorrow"}', "expires_at"),
        ("commission", b'{"frames": 2}', "frames: Input should be greater than or equal to 8"),
        ("commission", b'{"frames": "16"}', "frames"),
        ("recalibrate", b'{"model": ""}', "model"),
        ("status", b'{"a":' * 17 + b"1" + b"}" * 17, "no argument of this verb"),
        ("status", b'{"a":' * 300 + b"1" + b"}" * 300, "nested too deep"),
        ("status", b"[" * 60_000, "not JSON"),
        ("status", b'{"a":"' + b"x" * MAX_REQUEST_BYTES + b'"}', "at most 65536"),
        ("status", b'\xff{"a"', "not JSON"),
    ],
)
def test_bad_requests_are_refused_with_what_was_expected(verb, payload, says):
    device, handler = make()
    answer = ask(handler, verb, payload)
    assert answer["status"] == "error"
    assert says in answer["error"]
    assert (device.done, handler.counts["refused"]) == ([], 1)


def test_a_bad_request_is_answered_with_its_own_transaction():
    assert ask(make()[1], "reboot", {"transaction": "t9"})["transaction"] == "t9"


def test_not_yet_expired_is_obeyed():
    assert ask(make()[1], payload=b'{"expires_at": "2026-11-23T16:41:00+01:00"}')["status"] == "ok"


def test_a_repeated_transaction_gets_the_same_answer_and_acts_once():
    device, handler = make()
    first, second = (ask(handler, payload={"transaction": "t"}, now_s=now_s) for now_s in (0.0, 599.0))
    assert first == second
    assert (len(device.done), handler.counts["repeated"]) == (1, 1)


def test_a_refusal_by_the_device_is_remembered_too():
    device, handler = make()
    first, second = (ask(handler, "rollback", {"transaction": "t"}) for _ in range(2))
    assert (
        first == second == {"status": "error", "error": "there is no previous generation", "transaction": "t"}
    )
    assert (len(device.done), handler.counts["failed"]) == (1, 1)


def test_a_handler_that_breaks_is_not_run_again_by_a_repetition():
    device, handler = make()
    with pytest.raises(ZeroDivisionError):
        ask(handler, "commission", {"transaction": "t"})
    assert "failed unexpectedly" in ask(handler, "commission", {"transaction": "t"})["error"]
    assert len(device.done) == 1


def test_a_transaction_cannot_be_used_for_another_request():
    device, handler = make()
    ask(handler, payload={"transaction": "t"})
    assert ask(handler, "rollback", {"transaction": "t"})["status"] == "error"
    assert len(device.done) == 1


def test_after_the_window_a_transaction_is_new():
    device, handler = make(window_s=10.0)
    for now_s in (0.0, 10.1):
        ask(handler, payload={"transaction": "t"}, now_s=now_s)
    assert len(device.done) == 2


def test_memory_of_transactions_is_bounded():
    device, handler = make(max_remembered=3, burst=100)
    for n in range(10):
        ask(handler, payload={"transaction": n})
    ask(handler, payload={"transaction": 9})
    ask(handler, payload={"transaction": 0})
    assert len(device.done) == 11


def test_valid_commands_are_limited_in_rate_and_recover():
    _device, handler = make(rate_per_s=1.0, burst=2)
    statuses = [ask(handler, now_s=0.0)["status"] for _ in range(3)]
    assert statuses == ["ok", "ok", "error"]
    assert ask(handler, now_s=1.0)["status"] == "ok"


def test_a_flood_of_garbage_does_not_keep_a_good_command_from_being_served():
    _device, handler = make()
    answers = [ask(handler, payload=b"garbage", now_s=0.0) for _ in range(1000)]
    assert sum(answer is not None for answer in answers) == 20
    assert handler.counts["unanswered"] == 980
    assert ask(handler)["status"] == "ok"


def test_a_clock_that_jumps_back_takes_no_tokens():
    _device, handler = make(rate_per_s=1.0, burst=1)
    assert ask(handler, now_s=100.0)["status"] == "ok"
    assert ask(handler, now_s=50.0)["status"] == "error"
    assert ask(handler, now_s=51.0)["status"] == "ok"


def test_a_verb_this_device_does_not_offer_is_said_so():
    assert "recalibrate" in ask(make()[1], "recalibrate")["error"]


json_value = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


members = st.dictionaries(st.sampled_from(["transaction", "expires_at", "model"]), json_value)


@given(st.text(), st.binary() | members.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_command_or_a_command_error(verb, payload):
    for name in (verb, "recalibrate"):
        try:
            decode(name, payload, NOW_WALL_S)
        except CommandError:
            read_transaction(payload)
