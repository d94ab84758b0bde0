"""Commands that are answered later: several at a time, each once, with progress, and an end with the daemon."""

import json
import threading
from concurrent.futures import Future
from functools import partial

import pytest

from edge_runtime.errors import CommandError
from edge_runtime.messaging.commands import under_way
from edge_runtime.messaging.commands.callers import Callers
from edge_runtime.messaging.commands.later import Later
from edge_runtime.messaging.commands.listener import CommandListener
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy
from edge_runtime.messaging.commands.under_way import MOST, UnderWay, wait_for
from edge_runtime.messaging.commands.used_file import UsedFile
from edge_runtime.messaging.mqtt.message import Message
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.system.supervised_thread import Crashes
from tests.support.progress import Heard
from tests.support.waiting import WAIT_S, until

TOPICS = Topics("edge", "d")


class Broker:
    """Notes what is published; one that is away takes nothing."""

    def __init__(self):
        self.sent, self.is_away = [], False

    def subscribe(self, _, handler):
        self.deliver = handler

    def find_room(self, *_):
        return None

    def publish(self, topic, payload, *, correlation, is_light, **_):
        if not self.is_away:
            self.sent.append((topic, json.loads(payload), correlation, is_light))
        return not self.is_away

    def answers(self):
        return [payload for topic, payload, _, _ in tuple(self.sent) if not topic.endswith("/progress")]


class Bench:
    """A listener whose ``set-config`` waits until it may go on, and what it has done."""

    def __init__(self, folder):
        self.folder, self.broker, self.crashes = folder, Broker(), Crashes()
        self.go_on, self.done, self.notes = threading.Event(), [], []
        self.ends_with, self.in_turn, self.current = None, None, None
        self.under_way = UnderWay(self.crashes)
        self.listener = self.listen(self.broker)

    def listen(self, broker, prefix="edge"):
        handlers = {
            "set-config": lambda request: Later(partial(self.work, request), self.in_turn),
            "restart": lambda _: Later(lambda _: {"restarting": True}),
            "get-config": lambda _: {"text": "x"},
        }
        used = UsedFile(self.folder / "commands.used")
        policy = CommandPolicy(True, Callers(unsigned=3))
        return CommandListener(
            broker,
            partial(CommandHandler, handlers, policy, used, self.notes.append),
            Topics(prefix, "d"),
            self.crashes,
            ("caller",),
            under_way=self.under_way,
            find_commands=lambda: self.current,
        )

    def work(self, request, progress):
        self.done.append(request.arguments.transaction)
        progress.report({"phase": "opening"})
        progress.report({"phase": "never sent"})
        while not self.go_on.wait(0.01):
            if progress.is_ending:
                raise CommandError("ended early")
        if self.ends_with is not None:
            raise self.ends_with
        return {"by": request.arguments.transaction}

    def ask(self, transaction, verb="set-config", **options):
        own = {"set": {"a": 1}} if verb == "set-config" else {}
        payload = json.dumps({"transaction": transaction, **own}).encode()
        self.broker.deliver(Message(TOPICS.request(verb), payload, **options))

    def answer_to(self, transaction, count=1):
        def find():
            return [one for one in self.broker.answers() if one["transaction"] == transaction]

        assert until(lambda: len(find()) >= count)
        return find()[-1]

    def close(self):
        self.go_on.set()
        self.listener.stop()
        self.under_way.stop()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_other_commands_are_answered_while_one_is_under_way(bench):
    bench.ask("long")
    assert until(lambda: bench.done)
    bench.ask("quick", "get-config")
    assert bench.answer_to("quick")["status"] == "ok"
    assert bench.broker.answers()[0]["transaction"] == "quick"
    assert bench.listener.counts["under_way"] == 1
    assert bench.notes == []
    bench.go_on.set()
    assert bench.answer_to("long") == {"status": "ok", "data": {"by": "long"}, "transaction": "long"}
    assert [(note.transaction, note.outcome) for note in bench.notes] == [("long", "ok")]
    assert until(lambda: bench.listener.counts["under_way"] == 0)
    assert bench.listener.counts["executed"] == 2


def test_progress_goes_below_the_topic_of_the_answer_at_most_once_a_second(bench):
    bench.ask("a", response_topic="caller/mine", correlation=b"c1")
    bench.go_on.set()
    bench.answer_to("a")
    progress = {"status": "progress", "data": {"phase": "opening"}, "transaction": "a"}
    assert bench.broker.sent == [
        ("caller/mine/progress", progress, b"c1", True),
        ("caller/mine", bench.answer_to("a"), b"c1", False),
    ]


def test_a_repetition_is_told_that_it_is_under_way_and_then_gets_the_answer(bench):
    bench.ask("a")
    bench.ask("a")
    assert "is under way" in bench.answer_to("a")["error"]
    bench.go_on.set()
    first = bench.answer_to("a", 2)
    bench.ask("a")
    assert bench.answer_to("a", 3) == first
    assert first["status"] == "ok"
    assert bench.done == ["a"]


def test_after_a_kill_half_way_a_repetition_is_refused_and_not_obeyed(bench):
    bench.ask("a")
    assert until(lambda: bench.done)
    restarted = Bench(bench.folder)
    restarted.ask("a")
    assert "not known any more" in restarted.answer_to("a")["error"]
    assert restarted.done == []
    restarted.close()


@pytest.mark.parametrize("error", [CommandError("no"), ZeroDivisionError()])
def test_work_that_fails_is_answered_noted_and_counted_once(bench, error):
    bench.ends_with = error
    bench.go_on.set()
    bench.ask("a")
    answer = bench.answer_to("a")
    assert answer["status"] == "error"
    assert [note.outcome for note in bench.notes] == [answer["error"]]
    assert until(lambda: bench.listener.counts["failed"] == 1)
    assert bench.crashes.total == isinstance(error, ZeroDivisionError)
    bench.ask("a")
    assert bench.answer_to("a", 2) == answer


def test_data_that_is_no_json_is_answered_too(bench):
    bench.work = lambda request, progress: {"x": 2**70}
    bench.ask("a")
    assert bench.answer_to("a")["status"] == "error"
    assert bench.crashes.total == 1


def test_one_whose_answer_cannot_be_kept_takes_no_room_for_ever(bench, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    bench.go_on.set()
    with monkeypatch.context() as broken:
        broken.setattr(UsedFile, "finish", fail)
        for number in range(MOST):
            bench.ask(number)
        assert until(lambda: len(bench.done) == MOST and bench.listener.counts["under_way"] == 0)
    assert bench.crashes.total == 2 * MOST
    bench.ask("next")
    assert bench.answer_to("next")["status"] == "ok"


def test_too_many_of_one_verb_are_refused_as_busy_and_keep_no_other_verb_out(bench):
    for number in range(MOST + 1):
        bench.ask(number)
    assert bench.answer_to(MOST)["status"] == "error"
    bench.ask("other", "restart")
    assert bench.answer_to("other")["status"] == "ok"
    bench.go_on.set()
    assert {bench.answer_to(number)["status"] for number in range(MOST)} == {"ok"}
    assert sorted(bench.done) == list(range(MOST))


def test_those_of_one_turn_are_carried_out_in_their_order_and_tell_that_they_wait(bench):
    def waiting():
        told = [payload for _, payload, _, _ in tuple(bench.broker.sent) if payload["status"] == "progress"]
        return {one["transaction"] for one in told if one["data"] == {"phase": "waiting"}}

    bench.in_turn = "configuration"
    for number in range(MOST):
        bench.ask(number)
    assert until(lambda: waiting() == set(range(1, MOST)))
    assert bench.done == [0]
    bench.go_on.set()
    bench.answer_to(MOST - 1)
    assert bench.done == list(range(MOST))
    bench.ask("next")
    assert bench.answer_to("next")["status"] == "ok"


def test_at_the_end_of_the_daemon_every_command_is_answered_once(bench):
    bench.in_turn = "configuration"
    bench.ask("runs")
    bench.ask("waits")
    assert until(lambda: bench.done and bench.listener.counts["under_way"] == 2)
    bench.under_way.stop()
    bench.ask("late")
    ends = {one: bench.answer_to(one)["error"] for one in ("runs", "waits", "late")}
    assert ends["runs"] == "ended early"
    assert ends["waits"] == ends["late"]
    assert (bench.done, len(bench.broker.answers())) == (["runs"], 3)


def test_work_that_hears_nothing_is_answered_for_at_the_end_and_its_own_end_is_not(bench):
    go_on, threads = threading.Event(), []

    def work(request, progress):
        threads.append(threading.current_thread())
        return {"late": go_on.wait(WAIT_S)}

    bench.work = work
    bench.ask("deaf")
    assert until(lambda: threads)
    bench.under_way.stop(0.0)
    assert bench.answer_to("deaf")["status"] == "error"
    go_on.set()
    threads[0].join(WAIT_S)
    assert len(bench.broker.answers()) == len(bench.notes) == 1


def test_an_answer_that_comes_when_its_connection_is_gone_goes_over_the_next(bench):
    bench.ask("a", response_topic="edge/d/response/mine", correlation=b"c")
    assert until(lambda: bench.done)
    other = Broker()
    bench.current = bench.listen(other, "plant")
    bench.listener.stop(0.0)
    bench.go_on.set()
    assert until(lambda: other.sent)
    # The old topic is not below the device's own any more.
    assert [(topic, correlation) for topic, _, correlation, _ in other.sent] == [
        ("plant/d/response/set-config", b"c")
    ]
    bench.current.stop()


def test_a_future_is_waited_for_with_reports_until_it_is_late_or_the_daemon_ends(monkeypatch):
    monkeypatch.setattr(under_way, "PROGRESS_EVERY_S", 0.0)
    done, heard = Future(), Heard()
    done.set_result(7)
    assert wait_for(done, 1.0, heard, dict) == 7
    with pytest.raises(TimeoutError):
        wait_for(Future(), 1.0, heard, lambda: {"phase": "x"})
    assert heard.reports[0] == {"phase": "x"}
    heard.is_ending = True
    with pytest.raises(CommandError):
        wait_for(Future(), WAIT_S, heard, dict)
