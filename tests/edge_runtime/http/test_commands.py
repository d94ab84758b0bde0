"""Commands over HTTP: who may, how answers travel, and that each is one that the document has."""

import json
import threading
from types import SimpleNamespace

import httpx
import pytest

from edge_runtime.http import commands
from edge_runtime.messaging.commands.answers import Answer, Kind, encode_data, encode_error, encode_progress
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.access import Access
from edge_runtime.serving.token_holder import TokenHolder, hash_token
from tests.support.http_bench import DOCUMENT, Bench
from tests.support.http_contract import Contract
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

NAMES = {"vera": Role.VIEWER, "otto": Role.OPERATOR, "olga": Role.OWNER}
HOLDERS = tuple(TokenHolder(name, role, hash_token(f"token-of-{name}")) for name, role in NAMES.items())


class Port:
    """Answers as the test says: at once, or never by itself."""

    def __init__(self):
        self.forget()

    def forget(self):
        self.got, self.callers, self.answers = [], [], {}

    def put(self, verb, payload, known, caller):
        self.got.append((verb, payload, known.noted_as))
        self.callers.append(caller)
        if verb in self.answers:
            answer = self.answers[verb]
            threading.Thread(target=caller.drop if answer is None else lambda: caller.answer(answer)).start()


@pytest.fixture(scope="module")
def served():
    return Port()


@pytest.fixture(scope="module")
def bench(tmp_path_factory, served):
    bench = Bench(
        tmp_path_factory.mktemp("http"), access=Access(lambda: HOLDERS, needs_token=True), port=served
    )
    yield bench
    bench.close()


@pytest.fixture
def port(served):
    served.forget()
    return served


@pytest.fixture
def ask(bench):
    contract = Contract(DOCUMENT)
    with httpx.Client(
        base_url=bench.url, trust_env=False, timeout=WAIT_S, event_hooks={"response": [contract.check]}
    ) as client:

        def send(method, path, name="otto", wait=None, **more):
            headers = {} if name is None else {"Authorization": f"Bearer token-of-{name}"}
            headers |= {} if wait is None else {"Prefer": f"respond-async, wait={wait}"}
            return client.request(method, path, headers=headers, **more)

        yield send


DONE = Answer(encode_data(b'{"n":1}', "t"), Kind.DONE)


def test_a_command_is_handed_on_with_the_name_of_its_caller_and_answered(ask, port):
    port.answers["rollback"] = DONE
    answer = ask("POST", "/commands/rollback", content=b'{"transaction": "t"}')
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ok", "data": {"n": 1}, "transaction": "t"},
    )
    assert port.got == [("rollback", b'{"transaction": "t"}', "http:otto")]
    assert ask("POST", "/commands/rollback").status_code == 200
    assert port.got[1][1] == b""


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_of_answer_has_its_status(ask, port, kind):
    port.answers["rollback"] = DONE if kind is Kind.DONE else Answer(encode_error("no", 7), kind)
    answer = ask("POST", "/commands/rollback", json={})
    codes = {
        Kind.DONE: 200, Kind.BAD: 400, Kind.FORBIDDEN: 403, Kind.UNKNOWN_VERB: 404, Kind.TOO_MANY: 429,
        Kind.BROKEN: 500,
    }  # fmt: skip
    assert answer.status_code == codes.get(kind, 409)
    assert ("Retry-After" in answer.headers) is (kind is Kind.TOO_MANY)


def test_a_flood_is_told_to_come_later(ask, port):
    port.answers["rollback"] = None
    answer = ask("POST", "/commands/rollback", json={})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")


@pytest.mark.parametrize(("name", "code"), [(None, 401), ("nobody", 401)])
def test_without_a_right_token_nothing_is_handed_on(ask, port, name, code):
    for method, path in (("GET", "/commands"), ("POST", "/commands/status"), ("GET", "/commands/status/1")):
        assert ask(method, path, name).status_code == code
    assert port.got == []


def test_a_caller_hears_what_may_be_commanded(ask):
    found = {name: ask("GET", "/commands", name).json() for name in NAMES}
    assert {name: one["role"] for name, one in found.items()} == {
        "vera": "viewer", "otto": "operator", "olga": "owner",
    }  # fmt: skip
    verbs = {name: one["verbs"].keys() for name, one in found.items()}
    assert "status" in verbs["vera"]
    assert {"recalibrate", "snapshot"} <= verbs["otto"] - verbs["vera"]
    assert {"set-config", "install"} <= verbs["olga"] - verbs["otto"]
    assert "dry_run" in found["otto"]["verbs"]["recalibrate"]["arguments"]["properties"]


def test_what_takes_long_has_an_address_with_its_progress_and_then_its_answer(ask, port):
    accepted = ask("POST", "/commands/recalibrate", wait=0, json={"transaction": "t"})
    assert (accepted.status_code, accepted.json()["status"]) == (202, "progress")
    address = accepted.headers["Location"]
    port.callers[0].report(encode_progress({"phase": "collecting"}, "t"))
    assert until(lambda: ask("GET", address).json()["data"] == {"phase": "collecting"})
    port.callers[0].answer(DONE)
    assert ask("GET", address, wait=60).json() == {"status": "ok", "data": {"n": 1}, "transaction": "t"}
    assert ask("GET", address).status_code == 200
    assert ask("GET", address, "olga").status_code == 404
    assert ask("GET", address.replace("recalibrate", "rollback")).status_code == 404
    assert ask("GET", "/commands/recalibrate/elsewhere").status_code == 404


def test_a_repetition_of_what_is_under_way_leads_to_its_address(ask, port):
    first = ask("POST", "/commands/recalibrate", wait=0, json={"transaction": "again"})
    port.answers["recalibrate"] = Answer(encode_error("under way", "again"), Kind.UNDER_WAY)
    again = ask("POST", "/commands/recalibrate", json={"transaction": "again"})
    assert (again.status_code, again.headers["Location"]) == (202, first.headers["Location"])
    assert ask("POST", "/commands/recalibrate", "olga", json={"transaction": "again"}).status_code == 409


def test_a_picture_is_given_once_and_answers_take_bounded_room(ask, port, monkeypatch):
    monkeypatch.setattr(commands, "MOST_KEPT_BYTES", 1000)
    port.callers.clear()
    shot = ask("POST", "/commands/snapshot", wait=0, json={"camera": "belt"}).headers["Location"]
    port.callers[0].answer(DONE)
    assert [ask("GET", shot, wait=60).status_code, ask("GET", shot).status_code] == [200, 404]
    addresses = [ask("POST", "/commands/restart", "olga", wait=0).headers["Location"] for _ in range(4)]
    for caller in port.callers[1:]:
        caller.answer(Answer(encode_data(b'{"x": "%s"}' % (b"x" * 400), None), Kind.DONE))
    assert ask("GET", addresses[-1], "olga", wait=60).status_code == 200
    assert [ask("GET", address, "olga").status_code for address in addresses] == [404, 404, 200, 200]


@pytest.mark.parametrize("last", [DONE, None])
def test_answers_that_nobody_asks_for_are_forgotten_also_where_there_was_none(ask, port, monkeypatch, last):
    monkeypatch.setattr(commands, "MOST_KEPT", 4)
    addresses = [ask("POST", "/commands/rollback", wait=0).headers["Location"] for _ in range(9)]
    for caller in port.callers:
        caller.drop() if last is None else caller.answer(last)
    assert until(lambda: [ask("GET", one).status_code for one in addresses].count(404) >= 5)
    assert ask("GET", addresses[-1]).status_code != 404


def test_a_caller_who_asks_much_takes_no_answer_from_another_one(ask, port, monkeypatch):
    monkeypatch.setattr(commands, "MOST_KEPT", 4)
    wanted = ask("POST", "/commands/recalibrate", wait=0).headers["Location"]
    port.callers[0].answer(DONE)
    for _ in range(9):
        ask("POST", "/commands/get-config", "vera", wait=0)
        port.callers[-1].answer(DONE)
    assert ask("GET", wanted, wait=60).status_code == 200


def test_the_answer_of_a_long_command_is_kept_from_its_end_on(ask, port, monkeypatch):
    monkeypatch.setattr(commands, "MOST_KEPT", 4)
    long = ask("POST", "/commands/recalibrate", wait=0).headers["Location"]
    for _ in range(9):
        ask("POST", "/commands/rollback", wait=0)
        port.callers[-1].answer(DONE)
    port.callers[0].answer(DONE)
    assert ask("GET", long, wait=60).status_code == 200


def test_callers_that_wait_keep_no_quick_command_from_its_answer(ask, port):
    address = ask("POST", "/commands/recalibrate", wait=0).headers["Location"]
    slow = [("GET", address)] * 20 + [("POST", "/commands/recalibrate")] * 20
    codes = []
    waiting = [
        threading.Thread(target=lambda one=one: codes.append(ask(*one, wait=60).status_code)) for one in slow
    ]
    for thread in waiting:
        thread.start()
    assert until(lambda: len(codes) == len(slow) - commands.MOST_REQUESTS)
    port.answers["status"] = DONE
    assert ask("POST", "/commands/status").status_code == 200
    assert until(lambda: len(port.got) == 22)
    for caller in port.callers:
        caller.answer(DONE)
    for thread in waiting:
        thread.join(WAIT_S)
    assert set(codes) == {200, 202}


def test_a_repetition_leads_to_the_one_that_acts_whatever_else_its_caller_sent(ask, port):
    same = {"transaction": "repeated"}
    path = "/commands/recalibrate"
    refused = ask("POST", path, wait=0, json=same).headers["Location"]
    port.callers[0].answer(Answer(encode_error("too many", "repeated"), Kind.TOO_MANY))
    assert until(lambda: ask("GET", refused).status_code == 429)
    waiting = threading.Thread(target=ask, args=("POST", path), kwargs={"wait": 60, "json": same})
    waiting.start()  # its caller loses the connection, and does not know an address
    assert until(lambda: len(port.got) == 2)
    port.answers["recalibrate"] = Answer(encode_error("under way", "repeated"), Kind.UNDER_WAY)
    again = ask("POST", path, json=same)
    assert again.status_code == 202
    impatient = ask("POST", path, wait=0, json=same).headers["Location"]
    assert until(lambda: ask("GET", impatient).headers.get("Location") == again.headers["Location"])
    port.callers[1].answer(DONE)
    waiting.join(WAIT_S)
    assert [ask("GET", one).status_code for one in (again.headers["Location"], impatient)] == [200, 200]


def test_a_body_that_is_too_long_is_not_handed_on(ask, port):
    assert ask("POST", "/commands/set-config", "olga", content=b" " * 70_000).status_code == 413
    assert port.got == []


def test_without_tokens_and_where_it_is_turned_off_the_answer_says_what_to_do(tmp_path, port):
    for name, more, key in (
        ("open", {"port": port}, "http.tokens"),
        ("off", {"access": Access(lambda: HOLDERS, needs_token=True)}, "http.commands: true"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        bench = Bench(folder, **more)
        try:
            headers = {"Authorization": "Bearer token-of-olga"}
            answer = httpx.post(
                f"{bench.url}/commands/status", headers=headers, trust_env=False, timeout=WAIT_S
            )
        finally:
            bench.close()
        assert answer.status_code == 403
        assert key in answer.json()["error"]
    assert port.got == []


@pytest.mark.parametrize(
    ("given", "wait_s"),
    [
        ("", 5),
        ("wait=2", 2),
        ("respond-async, wait=7", 7),
        ("wait=999", 60),
        ("wait=-1", 5),
        ("waiting=3", 5),
    ],
)
def test_how_long_a_caller_prefers_to_wait(given, wait_s):
    assert commands._read_wait(SimpleNamespace(headers={"prefer": given}), 5.0) == wait_s


def test_the_device_that_stops_takes_no_command(ask, bench, port):
    bench.is_stopping = True
    try:
        assert ask("POST", "/commands/rollback").status_code == 503
    finally:
        bench.is_stopping = False
    assert port.got == []


def test_the_schema_of_the_configuration_is_served(ask):
    schema = ask("GET", "/config-schema.json", "vera").json()
    assert "commands" in schema["$defs"]["HttpConfig"]["properties"]
    assert json.dumps(schema).count("$ref") > 10
