"""command listener: every request is answered in turn, also when a handler breaks."""

import json
import threading
from functools import partial
from types import SimpleNamespace

import pytest
import structlog

from edge_runtime.messaging.commands.lanes import MAX_QUEUED, MAX_QUEUED_BYTES
from edge_runtime.messaging.commands.listener import CommandListener
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy
from edge_runtime.messaging.commands.request_text import MAX_REQUEST_BYTES
from edge_runtime.messaging.mqtt.message import Message
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.system.supervised_thread import Crashes
from tests.support.used_transactions import UsedInMemory
from tests.support.waiting import WAIT_S, until

TOPICS = Topics("edge", "d")


class Broker:
    """Notes what is published; ``deliver`` is set by the subscriber."""

    def __init__(self):
        self.answers, self.lock, self.room = [], threading.Lock(), None

    def subscribe(self, topic_filter, handler):
        assert topic_filter == TOPICS.requests
        self.deliver = handler

    def find_room(self, _topic, _correlation):
        return self.room

    def publish(self, topic, payload, **_properties):
        with self.lock:
            self.answers.append((topic, json.loads(payload)))
        return True


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def crashes():
    return Crashes()


def make_handler(handlers):
    return partial(CommandHandler, handlers, CommandPolicy(is_enabled=True), UsedInMemory())


@pytest.fixture
def listener(broker, crashes):
    handlers = {"status": lambda _: {"n": 1}, "rollback": lambda _: {"n": 1 // 0}}
    listener = CommandListener(broker, make_handler(handlers), TOPICS, crashes, ("caller",))
    yield listener
    listener.stop()


def ask(broker, verb, transaction, **options):
    payload = json.dumps({"transaction": transaction}).encode()
    broker.deliver(Message(TOPICS.request(verb), payload, **options))


def test_a_handler_that_breaks_is_answered_and_counted_and_the_next_command_is_served(
    broker, crashes, listener
):
    ask(broker, "rollback", "a")
    ask(broker, "rollback", "b")
    ask(broker, "status", "c")
    assert until(lambda: len(broker.answers) == 3)
    assert sorted((answer["transaction"], topic, answer["status"]) for topic, answer in broker.answers) == [
        ("a", TOPICS.response("rollback"), "error"),
        ("b", TOPICS.response("rollback"), "error"),
        ("c", TOPICS.response("status"), "ok"),
    ]
    assert until(lambda: crashes.by_thread() == {"commands": 2})  # each after its answer
    listener.stop()
    ask(broker, "status", "d")
    assert len(broker.answers) == 3


def test_an_answer_goes_where_the_caller_wants_it_when_that_is_allowed(broker, listener):
    wanted = ("caller/answers", f"{TOPICS.root}/response/mine", TOPICS.event, "home/door/lock/set", "")
    for number, topic in enumerate(wanted):
        ask(broker, "status", number, response_topic=topic)
    assert until(lambda: len(broker.answers) == 5)
    assert [topic for topic, _ in broker.answers] == [*wanted[:2], *3 * [TOPICS.response("status")]]
    assert listener.counts["redirected"] == 3


@pytest.fixture
def busy(broker, crashes):
    """A listener whose first command waits until ``release`` is set, and what it has done."""
    release, done = threading.Event(), []

    def wait(request):
        done.append(request.arguments.transaction)
        assert release.wait(WAIT_S)
        return {}

    handlers = {"rollback": wait, "status": lambda _: {"n": 1}}
    listener = CommandListener(broker, make_handler(handlers), TOPICS, crashes)
    ask(broker, "rollback", "first")
    assert until(lambda: done)
    yield SimpleNamespace(listener=listener, release=release, done=done)
    release.set()
    listener.stop()


def test_requests_that_wait_when_it_stops_are_not_executed(broker, busy):
    ask(broker, "rollback", "second")
    busy.listener.stop(0.0)
    busy.release.set()
    busy.listener.stop(WAIT_S)
    assert busy.done == ["first"]
    assert [answer["transaction"] for _, answer in broker.answers] == ["first"]


def test_requests_beyond_the_queue_are_counted_and_logged(broker, busy):
    with structlog.testing.capture_logs() as logged:
        for number in range(MAX_QUEUED + 2):
            ask(broker, "rollback", number)
    assert [line["verb"] for line in logged] == 2 * ["rollback"]
    assert busy.listener.counts["dropped"] == 2
    assert busy.listener.counts["executed"] == 0


def test_a_status_is_answered_while_a_change_takes_its_time(broker, busy):
    ask(broker, "status", "mine")
    assert until(lambda: broker.answers)
    assert broker.answers[0][1]["transaction"] == "mine"


def test_waiting_requests_are_bounded_in_bytes(broker, busy):
    for _ in range(100):
        broker.deliver(Message(TOPICS.request("rollback"), b"x" * 10 * 2**20))
    lane = busy.listener._lanes._others
    assert MAX_QUEUED_BYTES <= lane._waiting_bytes <= MAX_QUEUED_BYTES + MAX_REQUEST_BYTES + 1
    assert busy.listener.counts["dropped"] == 100 - lane._queue.qsize()


def test_an_answer_that_the_broker_does_not_take_is_an_error_that_says_so(broker, listener):
    broker.room = 5
    ask(broker, "status", "a", correlation=b"c")
    assert until(lambda: broker.answers)
    ((_, answer),) = broker.answers
    assert (answer["status"], answer["transaction"]) == ("error", "a")
    assert "takes 5," in answer["error"]


def test_a_listener_that_replaces_another_goes_on_with_its_counts(broker, crashes, listener):
    ask(broker, "status", "a", response_topic="home/door/lock/set")
    assert until(lambda: broker.answers)
    listener.stop()
    broker.answers.clear()
    new = CommandListener(broker, make_handler({"status": lambda _: {"n": 2}}), TOPICS, crashes)
    new.continue_counts(listener)
    ask(broker, "status", "b")
    assert until(lambda: broker.answers)
    new.stop()
    counts = new.counts
    assert (counts["executed"], counts["redirected"], counts["under_way"]) == (2, 1, 0)
