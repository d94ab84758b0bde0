"""command port: callers who were recognised already are obeyed by the rules of all commands."""

import json
import threading
from functools import partial

import pytest

from edge_runtime.errors import CommandError
from edge_runtime.messaging.commands.answers import Kind
from edge_runtime.messaging.commands.callers import Callers, KnownCaller
from edge_runtime.messaging.commands.later import Later
from edge_runtime.messaging.commands.port import CommandPort
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.messaging.commands.unanswered import Unanswered
from edge_runtime.messaging.commands.under_way import UnderWay
from edge_runtime.system.supervised_thread import Crashes
from tests.support.used_transactions import UsedInMemory
from tests.support.waiting import WAIT_S, until

ANNA, OLGA = KnownCaller("anna", Role.OPERATOR), KnownCaller("olga", Role.OPERATOR)
NOW_WALL_S = 1_795_448_459.0


class Listener:
    """Notes what is heard of one request."""

    def __init__(self):
        self.answers, self.progress, self.dropped = [], [], 0

    def answer(self, answer):
        self.answers.append(answer)

    def report(self, payload):
        self.progress.append(json.loads(payload)["data"])

    def drop(self):
        self.dropped += 1

    def heard(self):
        """The kind of the answer and its content; kind None: it was dropped."""
        assert until(lambda: self.answers or self.dropped)
        if self.dropped:
            return None, {}
        (answer,) = self.answers
        return answer.kind, json.loads(answer.payload)


class Bench:
    """A port, what it has done and noted, and files of what was begun."""

    def __init__(self, folder, **policy):
        self.done, self.notes, self.go_on, self.crashes = [], [], threading.Event(), Crashes()
        self.folder, self.used = folder, UsedInMemory()
        self.unanswered, self.under_way = Unanswered(folder), UnderWay(self.crashes)
        handlers = {
            "status": lambda _: {"n": 1},
            "rollback": self.roll_back,
            "expire": lambda request: {"n": 1 // 0},
            "restart": lambda _: {"restarting": True},
            "recalibrate": lambda request: Later(partial(self.work, request)),
        }
        callers = Callers(device="belt-3", unsigned=None)
        self.policy = CommandPolicy(True, callers, **policy)
        make = partial(CommandHandler, handlers, self.policy, self.used, self.notes.append)
        self.port = CommandPort(make, self.under_way, self.crashes, self.unanswered)

    def roll_back(self, request):
        self.done.append((request.by, request.arguments.transaction))
        if request.arguments.model == "none":
            raise CommandError("no such model")
        return {"n": len(self.done)}

    def work(self, request, progress):
        self.done.append((request.by, request.arguments.transaction))
        progress.report({"phase": "collecting"})
        assert self.go_on.wait(WAIT_S)
        return {"outcome": "accepted"}

    def put(self, verb, values=None, known=ANNA):
        listener = Listener()
        payload = values if isinstance(values, bytes) else json.dumps(values or {}).encode()
        self.port.put(verb, payload, known, listener)
        return listener

    def close(self):
        self.go_on.set()
        self.port.stop()
        self.under_way.stop()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_a_command_acts_once_for_a_transaction_and_is_noted_with_the_name_of_the_token(bench):
    first = bench.put("rollback", {"transaction": "one"}).heard()
    assert first == (Kind.DONE, {"status": "ok", "data": {"n": 1}, "transaction": "one"})
    assert bench.put("rollback", {"transaction": "one"}).heard() == first
    assert bench.done == [("http:anna", "one")]
    assert [(note.by, note.verb, note.outcome) for note in bench.notes] == [("http:anna", "rollback", "ok")]
    kind, answer = bench.put("rollback", {"transaction": "one", "model": "parts"}).heard()
    assert (kind, answer["status"]) == (Kind.USED, "error")


def test_nobody_uses_up_the_transaction_of_another_caller(bench):
    for known in (ANNA, OLGA):
        assert bench.put("rollback", {"transaction": "one"}, known).heard()[0] is Kind.DONE
    assert [by for by, _ in bench.done] == ["http:anna", "http:olga"]
    assert bench.used.find("one") is None, "that of a caller over the broker"


@pytest.mark.parametrize(
    ("verb", "values", "role", "kind"),
    [
        ("rollback", {}, Role.VIEWER, Kind.FORBIDDEN),
        ("restart", {}, Role.OPERATOR, Kind.FORBIDDEN),
        ("status", {}, Role.VIEWER, Kind.DONE),
        ("restart", {}, Role.OWNER, Kind.DONE),
        ("reboot", {}, Role.OWNER, Kind.UNKNOWN_VERB),
        ("rollback", {"modell": "parts"}, Role.OWNER, Kind.BAD),
        ("rollback", {"device": "belt-4"}, Role.OWNER, Kind.BAD),
        ("rollback", {"expires_at": "2020-01-01T00:00:00Z"}, Role.OWNER, Kind.BAD),
        ("rollback", b"{", Role.OWNER, Kind.BAD),
        ("rollback", b"eyJhbGciOiJFZERTQSJ9.e30.eHh4", Role.OWNER, Kind.BAD),
        ("rollback", b" " * 70_000, Role.OWNER, Kind.BAD),
        ("rollback", {"model": "none"}, Role.OWNER, Kind.REFUSED),
        ("expire", {}, Role.OWNER, Kind.BROKEN),
        ("approve", {}, Role.OWNER, Kind.REFUSED),
    ],
)
def test_the_kind_of_each_answer(bench, verb, values, role, kind):
    found, answer = bench.put(verb, values, KnownCaller("anna", role)).heard()
    assert (found, answer["status"]) == (kind, "ok" if kind is Kind.DONE else "error")


def test_one_that_takes_long_tells_how_far_it_is_and_a_repetition_that_it_is_under_way(bench):
    listener = bench.put("recalibrate", {"transaction": "t"})
    assert until(lambda: listener.progress) == [{"phase": "collecting"}]
    assert len(list(bench.folder.iterdir())) == 1
    assert bench.put("recalibrate", {"transaction": "t"}).heard()[0] is Kind.UNDER_WAY
    bench.go_on.set()
    assert listener.heard() == (
        Kind.DONE, {"status": "ok", "data": {"outcome": "accepted"}, "transaction": "t"},
    )  # fmt: skip
    assert until(lambda: not list(bench.folder.iterdir()))


def test_a_flood_hears_that_it_is_one(tmp_path):
    bench = Bench(tmp_path, rate_per_s=0.001, burst=2)
    try:
        kinds = [bench.put("rollback", {"transaction": str(number)}).heard()[0] for number in range(6)]
    finally:
        bench.close()
    assert kinds == [Kind.DONE, Kind.DONE, Kind.TOO_MANY, Kind.TOO_MANY, None, None]


def test_after_a_kill_a_repetition_hears_what_is_known_and_nothing_is_published(bench):
    listener = bench.put("recalibrate", {"transaction": "t"})
    assert until(lambda: listener.progress)
    after = Unanswered(bench.folder)
    after.settle(tuple, bench.used, bench.notes.append, NOW_WALL_S)
    assert [note.by for note in bench.notes] == ["http:anna"]
    assert list(bench.folder.iterdir()) == []
    published = []
    after.hand_over(lambda *given: published.append(given) or True)
    assert published == []
    kind, answer = bench.put("recalibrate", {"transaction": "t"}).heard()
    assert (kind, answer["status"]) == (Kind.REFUSED, "error")
    assert len(bench.done) == 1
