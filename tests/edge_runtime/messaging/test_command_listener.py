"""command listener: every request is answered in turn, also when a handler breaks."""

import json
import threading
from types import SimpleNamespace

import pytest
import structlog

from edge_runtime.messaging.commands.listener import MAX_QUEUED, CommandListener
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy
from edge_runtime.messaging.mqtt.session import Message
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.system.supervised_thread import Crashes
from tests.support.waiting import WAIT_S, until

TOPICS = Topics("edge", "d")


class Broker:
    """Notes what is published; ``deliver`` is set by the subscriber."""

    def __init__(self):
        self.answers = []

    def subscribe(self, topic_filter, handler):
        assert topic_filter == TOPICS.requests
        self.deliver = handler

    def publish(self, topic, payload, **_properties):
        self.answers.append((topic, json.loads(payload)))
        return True


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def crashes():
    return Crashes()


@pytest.fixture
def listener(broker, crashes):
    handlers = {"status": lambda _: {"n": 1}, "rollback": lambda _: {"n": 1 // 0}}
    handler = CommandHandler(handlers, CommandPolicy(is_enabled=True))
    listener = CommandListener(broker, handler, TOPICS, crashes)
    yield listener
    listener.stop()


def ask(broker, verb, transaction, **options):
    payload = json.dumps({"transaction": transaction}).encode()
    broker.deliver(Message(TOPICS.request(verb), payload, **options))


def test_a_handler_that_breaks_is_answered_and_counted_and_the_next_command_is_served(
    broker, crashes, listener
):
    ask(broker, "rollback", "a")
    ask(broker, "status", "b")
    assert until(lambda: len(broker.answers) == 2)
    assert [(topic, answer["status"], answer["transaction"]) for topic, answer in broker.answers] == [
        (TOPICS.response("rollback"), "error", "a"),
        (TOPICS.response("status"), "ok", "b"),
    ]
    assert crashes.by_thread() == {"commands": 1}
    listener.stop()
    ask(broker, "status", "c")
    assert len(broker.answers) == 2


def test_an_answer_goes_where_the_caller_wants_it_when_that_is_harmless(broker, listener):
    ask(broker, "status", "a", response_topic="caller/answers")
    ask(broker, "status", "b", response_topic=TOPICS.event)
    assert until(lambda: len(broker.answers) == 2)
    assert [topic for topic, _ in broker.answers] == ["caller/answers", TOPICS.response("status")]


@pytest.fixture
def busy(broker, crashes):
    """A listener whose first command waits until ``release`` is set, and what it has done."""
    release, done = threading.Event(), []

    def wait(arguments):
        done.append(arguments.transaction)
        assert release.wait(WAIT_S)
        return {}

    handler = CommandHandler({"status": wait}, CommandPolicy(is_enabled=True))
    listener = CommandListener(broker, handler, TOPICS, crashes)
    ask(broker, "status", "first")
    assert until(lambda: done)
    yield SimpleNamespace(listener=listener, release=release, done=done)
    release.set()
    listener.stop()


def test_requests_that_wait_when_it_stops_are_not_executed(broker, busy):
    ask(broker, "status", "second")
    busy.listener.stop(0.0)
    busy.release.set()
    busy.listener.stop(WAIT_S)
    assert busy.done == ["first"]
    assert [answer["transaction"] for _, answer in broker.answers] == ["first"]


def test_requests_beyond_the_queue_are_counted_and_logged(broker, busy):
    with structlog.testing.capture_logs() as logged:
        for number in range(MAX_QUEUED + 2):
            ask(broker, "status", number)
    assert [(line["event"], line["topic"]) for line in logged] == 2 * [
        ("command dropped: too many wait", TOPICS.request("status"))
    ]
    assert busy.listener.counts["dropped"] == 2
    assert busy.listener.counts["executed"] == 0
