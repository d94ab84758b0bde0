"""commands: the rules, in the order of the module's text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import CommandError, StateError
from edge_runtime.messaging.commands.answers import OFF
from edge_runtime.messaging.commands.callers import Callers
from edge_runtime.messaging.commands.protocol import SHARED_S, CommandHandler, CommandPolicy
from edge_runtime.messaging.commands.request_text import MAX_REQUEST_BYTES, read_transaction
from tests.support.used_transactions import UsedInMemory

NOW_WALL_S = 1_795_448_459.0  # 2026-11-23T15:40:59Z


class Device:
    """Notes the commands it obeyed."""

    def __init__(self) -> None:
        self.done = []

    def status(self, request):
        self.done.append(request.arguments)
        return {"n": len(self.done)}

    def rollback(self, request):
        self.done.append(request.arguments)
        raise CommandError("there is no previous generation")

    def expire(self, request):
        self.done.append(request.arguments)
        return {"expired": request.arguments.name}

    def snapshot(self, request):
        if request.arguments.camera == "off":
            raise CommandError("not open")
        self.done.append(request.arguments)
        return {"jpeg": "abcd"}

    def broken(self, request):
        self.done.append(request.arguments)
        raise ZeroDivisionError


def make(used=None, **policy):
    device = Device()
    handlers = {
        "status": device.status, "baselines": device.status, "rollback": device.rollback,
        "expire": device.expire, "remove": device.expire, "commission": device.broken,
        "snapshot": device.snapshot,
    }  # fmt: skip
    policy = CommandPolicy(**{"is_enabled": True, "callers": Callers(device="belt-3"), **policy})
    return device, CommandHandler(handlers, policy, used or UsedInMemory())


def ask(handler, verb="status", payload=b"{}", *, is_retained=False, now_s=0.0, now_wall_s=NOW_WALL_S):
    if isinstance(payload, dict):
        payload = json.dumps(payload).encode()
    answer = handler.answer(verb, payload, is_retained=is_retained, now_s=now_s, now_wall_s=now_wall_s)
    return None if answer is None else json.loads(answer.payload)


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
    handler = CommandHandler({"status": device.status}, CommandPolicy(), UsedInMemory())
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


def test_a_repeated_change_gets_the_same_answer_and_acts_once():
    device, handler = make()
    first, second = (ask(handler, "expire", {"transaction": "t"}, now_s=now_s) for now_s in (0.0, 1e9))
    assert first == second == {"status": "ok", "data": {"expired": None}, "transaction": "t"}
    assert (len(device.done), handler.counts["repeated"]) == (1, 1)


def test_a_repeated_change_whose_answer_is_lost_is_refused_in_words():
    device, handler = make()
    ask(handler, "expire", {"transaction": "t"})
    handler._used.answers.clear()
    answer = ask(handler, "expire", {"transaction": "t"})
    assert (answer["status"], answer["transaction"], len(device.done)) == ("error", "t", 1)
    assert "another transaction" in answer["error"]


def test_a_copy_of_a_request_gets_no_second_picture_and_none_is_kept():
    device, handler = make()
    asked = {"transaction": "t1", "camera": "belt"}
    first, again = (ask(handler, "snapshot", asked) for _ in range(2))
    assert first["data"] == {"jpeg": "abcd"}
    assert (again["status"], again["transaction"]) == ("error", "t1")
    assert len(device.done) == 1
    refused, repeated = (ask(handler, "snapshot", {"transaction": "t2", "camera": "off"}) for _ in range(2))
    assert refused == repeated, "what is no picture is kept"


def test_a_change_that_cannot_be_noted_is_not_made():
    device, handler = make(UsedInMemory(StateError("cannot note it: the disk is full")))
    answer = ask(handler, "expire", {"transaction": "t"})
    assert (answer["status"], device.done) == ("error", [])
    assert "nothing was done, because cannot note it: the disk is full" in answer["error"]
    assert ask(handler, "expire")["status"] == "ok"
    assert handler.counts["unmarked"] == 1


def test_a_read_is_carried_out_again_and_needs_no_note():
    device, handler = make(UsedInMemory(StateError("the disk is full")))
    answers = [ask(handler, payload={"transaction": "t"})["data"]["n"] for _ in range(2)]
    assert (answers, len(device.done)) == ([1, 2], 2)


@pytest.mark.parametrize(
    ("verb", "payload", "is_obeyed"),
    [
        ("expire", {"device": "belt-3"}, True),
        ("status", {"device": "belt-3"}, True),
        ("expire", {"device": "belt-4"}, False),
        ("expire", {"device": "BELT-3"}, False),
        ("expire", {"device": ""}, False),
        ("status", {"device": "belt-4", "transaction": 1}, False),
    ],
)
def test_a_request_that_names_another_device_is_refused(verb, payload, is_obeyed):
    device, handler = make()
    assert ask(handler, verb, payload)["status"] == ("ok" if is_obeyed else "error")
    assert len(device.done) == is_obeyed


@pytest.mark.parametrize(
    "payload",
    [
        b'{"name":"a","name":"a"}', b'{"name":"a","name":"b"}', b'{"transaction":1,"transaction":2}',
        b'{"model":null,"model":"m"}', b'{"a":{"b":1,"b":2}}', b'{"device":"x","device":"belt-3"}',
        b'{"expires_at":"9999-01-01T00:00:00Z","expires_at":"2000-01-01T00:00:00Z"}',
        b'{"na\\u006de":"a","name":"b"}', b'{"":1,"":2}', b'[{"a":1,"a":2}]',
    ],
)  # fmt: skip
def test_a_key_that_comes_twice_is_refused(payload):
    device, handler = make()
    assert ask(handler, "expire", payload)["status"] == "error"
    assert device.done == []


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


@pytest.mark.parametrize("other", [{"name": "x"}, {"model": "m"}, {"expires_at": "9999-01-01T00:00:00Z"}])
def test_a_transaction_cannot_be_used_for_another_request(other):
    device, handler = make()
    ask(handler, "expire", {"transaction": "t"})
    for verb in ("expire", "rollback"):
        assert (
            ask(handler, verb, {"transaction": "t", **(other if verb == "expire" else {})})["status"]
            == "error"
        )
    assert len(device.done) == 1


def test_a_number_and_a_text_are_two_transactions():
    device, handler = make()
    assert ask(handler, "expire", {"transaction": 1})["transaction"] == 1
    assert ask(handler, "expire", {"transaction": "1"})["transaction"] == "1"
    assert len(device.done) == 2


def test_valid_changes_are_limited_in_rate_and_recover():
    _device, handler = make(rate_per_s=1.0, burst=2)
    statuses = [ask(handler, "expire", now_s=0.0)["status"] for _ in range(3)]
    assert statuses == ["ok", "ok", "error"]
    assert ask(handler, "expire", now_s=1.0)["status"] == "ok"


FLOODS = [
    ("status", {}),
    ("baselines", {}),
    ("rollback", {}),
    ("expire", {}),
    ("reboot", {}),
    ("status", {"x": 1}),
]


@pytest.mark.parametrize(("verb", "payload"), FLOODS)
def test_a_flood_of_one_verb_keeps_no_other_verb_from_being_obeyed(verb, payload):
    _device, handler = make()
    for number in range(1000):
        ask(handler, verb, {"transaction": number, **payload}, now_s=number / 1000)
    for other in {"status", "baselines", "expire", "remove"} - {verb}:
        asked = (
            {"transaction": "mine", "name": "a"} if other == "remove" else {"transaction": f"{other} mine"}
        )
        assert ask(handler, other, asked, now_s=1.0)["status"] == "ok"


@pytest.mark.parametrize("rate_per_s", [10, 100, 1000])
def test_a_flood_of_one_read_keeps_nobody_from_its_answer(rate_per_s):
    device, handler = make()
    answers = [
        ask(handler, payload={"transaction": number}, now_s=number / rate_per_s)
        for number in range(3 * rate_per_s)
    ]
    assert [answer["transaction"] for answer in answers] == list(range(3 * rate_per_s))
    assert {answer["status"] for answer in answers} == {"ok"}
    assert len(device.done) <= 20 + 3 * 5
    assert handler.counts["shared"] + handler.counts["executed"] == 3 * rate_per_s


def test_a_shared_answer_is_that_of_an_equal_and_recent_read():
    _device, handler = make(rate_per_s=0.1, burst=1)
    assert ask(handler, "baselines", {"model": "a"}, now_s=0.0)["data"] == {"n": 1}
    assert ask(handler, "baselines", {"model": "a"}, now_s=SHARED_S)["data"] == {"n": 1}
    assert ask(handler, "baselines", {"model": "b"}, now_s=SHARED_S)["status"] == "error"
    ask(handler, "baselines", {"model": "a"}, now_s=SHARED_S + 0.1)
    assert (handler.counts["shared"], handler.counts["refused"]) == (1, 2)


def test_shared_answers_are_limited_too():
    _device, handler = make(burst=1, shared_per_s=10.0)
    answers = [ask(handler, now_s=0.0) for _ in range(100)]
    assert sum(answer is not None for answer in answers) == 11
    assert handler.counts["unanswered"] == 89


def test_a_flood_of_garbage_does_not_keep_a_good_command_from_being_served():
    _device, handler = make()
    answers = [ask(handler, payload=b"garbage", now_s=0.0) for _ in range(1000)]
    assert sum(answer is not None for answer in answers) == 20
    assert handler.counts["unanswered"] == 980
    assert ask(handler)["status"] == "ok"


def test_a_clock_that_jumps_back_takes_no_tokens():
    _device, handler = make(rate_per_s=1.0, burst=1)
    assert ask(handler, "expire", now_s=100.0)["status"] == "ok"
    assert ask(handler, "expire", now_s=50.0)["status"] == "error"
    assert ask(handler, "expire", now_s=51.0)["status"] == "ok"


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
            Callers().read(name, payload, NOW_WALL_S)
        except CommandError:
            read_transaction(payload)
