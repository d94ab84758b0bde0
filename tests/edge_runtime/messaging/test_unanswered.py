"""Changes that a kill cut short: whom the next start answers, with what, and what the log of commands says."""

import json
import time
from dataclasses import replace
from functools import partial

import pytest

from edge_runtime.messaging.commands.command_log import CommandLog, read_log
from edge_runtime.messaging.commands.listener import CommandListener
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy
from edge_runtime.messaging.commands.unanswered import Unanswered, UnansweredRequest
from edge_runtime.messaging.mqtt.message import Message
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.system import redaction
from edge_runtime.system.supervised_thread import Crashes
from tests.support.used_transactions import UsedInMemory
from tests.support.waiting import until

TOPICS = Topics("edge", "d")
NOW_WALL_S = 1_795_448_459.0
REQUEST = UnansweredRequest(
    "rollback", {"model": "parts"}, "anna", "one", ("key", "one"), "2026-11-23T15:40:59.000Z", None, b"\xff\0"
)


class Box:
    """What is left in a state directory from one start to the next."""

    def __init__(self, folder):
        self.folder = folder
        self.files = folder / "commands.begun"
        self.start()

    def start(self, *, is_reached=True):
        """Gives who was answered, and how; nobody where the broker is not reached."""
        self.log, self.used = CommandLog(self.folder / "commands.log"), UsedInMemory()
        self.unanswered, told = Unanswered(self.files), []
        self.unanswered.settle(
            lambda: read_log(self.folder / "commands.log").entries, self.used, self.log.note, NOW_WALL_S + 60
        )

        def hand_over(request, answer):
            if is_reached:
                told.append((request, json.loads(answer)))
            return is_reached

        self.unanswered.hand_over(hand_over)
        self.unanswered.hand_over(hand_over)
        return told

    def outcomes(self):
        return [entry["outcome"] for entry in read_log(self.folder / "commands.log").entries]


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


def test_one_that_was_answered_is_over(box):
    box.unanswered.end(box.unanswered.begin(REQUEST))
    assert box.start() == []
    assert box.outcomes() == []


def test_one_that_was_cut_short_is_answered_and_logged_once(box):
    box.unanswered.begin(REQUEST)
    ((request, answer),) = box.start()
    assert request == REQUEST
    assert (answer["status"], answer["transaction"]) == ("error", "one")
    assert json.loads(box.used.answers["key", "one"]) == answer, "a repetition gets the same"
    assert len(box.outcomes()) == 1
    assert box.start() == []
    assert len(box.outcomes()) == 1


@pytest.mark.parametrize("character", ["a", '"', "\x01"])
def test_one_that_is_as_long_as_can_be_is_answered_and_logged(box, character):
    text = character * (2**16 - 1)
    box.unanswered.begin(
        replace(REQUEST, response_topic=text, correlation=text.encode(), arguments={"text": text})
    )
    assert len(box.start()) == len(box.outcomes()) == 1


def test_the_log_tells_what_became_of_one_that_was_done_and_not_answered(box):
    box.unanswered.begin(REQUEST)
    box.log.note(REQUEST.make_entry(NOW_WALL_S + 1, "ok"))
    ((_, answer),) = box.start()
    assert answer["error"].endswith("says: ok")
    assert box.outcomes() == ["ok"]


@pytest.mark.parametrize(
    ("transaction", "noted_at_s"), [("one", -10), (None, -10), (None, 1)], ids=["earlier", "no name", "later"]
)
def test_a_line_of_another_command_is_not_about_it(box, transaction, noted_at_s):
    request = replace(REQUEST, transaction=transaction, used_as=transaction)
    box.log.note(request.make_entry(NOW_WALL_S + noted_at_s, "ok"))
    box.unanswered.begin(request)
    ((_, answer),) = box.start()
    assert "ok" not in answer["error"].split()
    assert len(box.outcomes()) == 2


@pytest.mark.parametrize("transaction", ["one", None])
def test_a_start_that_does_not_reach_the_broker_leaves_the_answer_to_the_next(box, transaction):
    box.unanswered.begin(replace(REQUEST, transaction=transaction, used_as=transaction))
    assert [box.start(is_reached=False) for _ in range(2)] == [[], []]
    box.unanswered.end(box.unanswered.begin(replace(REQUEST, transaction="two", used_as="two")))
    ((request, answer),) = box.start()
    assert (request.transaction, answer["status"]) == (transaction, "error")
    assert transaction is None or json.loads(box.used.answers[transaction]) == answer
    assert len(box.outcomes()) == 1
    assert box.start() == []


def test_several_are_answered_in_the_order_in_which_they_were_begun(box):
    for number in range(12):
        box.unanswered.begin(replace(REQUEST, transaction=number, used_as=number))
    assert [request.transaction for request, _ in box.start()] == list(range(12))


def test_an_acknowledgement_that_comes_meanwhile_has_each_handed_over_once(tmp_path):
    """The network thread then hands over what is left, and the thread that connected finds no more."""
    left, told = Unanswered(tmp_path), []
    for number in range(3):
        left.begin(replace(REQUEST, transaction=number, used_as=number))
    left.settle(lambda: (), UsedInMemory(), lambda _: None, NOW_WALL_S)

    def hand_over(request, _answer):
        told.append(request.transaction)
        left.hand_over(hand_over)
        return True

    left.hand_over(hand_over)
    assert told == [0, 1, 2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"verb": 1}', b"\xff" * 300_000])
def test_a_damaged_file_costs_no_start_and_no_other(box, content):
    box.unanswered.begin(REQUEST)
    (box.files / "0.json").write_bytes(content)
    assert [request for request, _ in box.start()] == [REQUEST]
    assert list(box.files.iterdir()) == []


def test_a_disk_that_refuses_stops_no_command(box):
    (box.folder / "file").write_bytes(b"")
    refusing = Unanswered(box.folder / "file" / "below")
    assert refusing.begin(REQUEST) is None
    refusing.end(None)


def test_no_secret_is_on_the_disk(box, monkeypatch):
    monkeypatch.setattr(
        "edge_runtime.messaging.commands.unanswered.PROCESS", redaction.Redactor(["s3cret-text"])
    )
    box.unanswered.begin(replace(REQUEST, arguments={"set": {"a": "s3cret-text"}}))
    (file,) = box.files.iterdir()
    assert b"s3cret" not in file.read_bytes()


class Broker:
    """A client whose broker comes when told so."""

    def __init__(self):
        self.sent, self.listeners, self.session = [], [], None

    def subscribe(self, _, handler):
        self.deliver = handler

    def listen(self, listener):
        self.listeners.append(listener)

    def find_room(self, *_):
        return None

    def publish(self, topic, payload, *, correlation, **_):
        self.sent.append((topic, json.loads(payload), correlation))
        return True

    def come(self):
        self.session = object()
        for listener in self.listeners:
            listener()


class SlowDisk(UsedInMemory):
    """Takes its time to note a transaction."""

    def begin(self, *args, **more):
        time.sleep(0.01)
        super().begin(*args, **more)


def listen(broker, unanswered, handlers, note=lambda _: None):
    make = partial(CommandHandler, handlers, CommandPolicy(is_enabled=True), SlowDisk(), note)
    return CommandListener(broker, make, TOPICS, Crashes(), unanswered=unanswered)


def test_callers_are_answered_when_the_broker_is_there_where_they_wanted_it(box):
    mine = "edge/d/response/mine"
    for topic in (None, mine, "edge/other/request/rollback"):
        box.unanswered.begin(replace(REQUEST, response_topic=topic))
    box.unanswered = Unanswered(box.files)
    box.unanswered.settle(list, box.used, box.log.note, NOW_WALL_S)
    broker = Broker()
    listener = listen(broker, box.unanswered, {})
    broker.listeners[0]()
    assert broker.sent == [], "it is not there yet"
    broker.come()
    broker.come()
    own = TOPICS.response("rollback")
    assert [(topic, correlation) for topic, _, correlation in broker.sent] == [
        (own, b"\xff\0"),
        (mine, b"\xff\0"),
        (own, b"\xff\0"),
    ]
    listener.stop()


def test_a_change_is_on_the_disk_from_before_it_acts_until_it_is_answered(box):
    seen = []

    def roll_back(_):
        seen.append([json.loads(file.read_bytes())["transaction"] for file in box.files.iterdir()])
        return {}

    broker = Broker()
    listener = listen(broker, box.unanswered, {"rollback": roll_back, "status": lambda _: {}})
    for verb, transaction in (("status", "a"), ("rollback", "b"), ("rollback", "b")):
        broker.deliver(Message(TOPICS.request(verb), json.dumps({"transaction": transaction}).encode()))
    assert until(lambda: len(broker.sent) == 3)
    assert seen == [["b"]], "neither what changes nothing nor a repetition"
    assert until(lambda: not any(box.files.iterdir()))
    listener.stop()


def test_the_log_is_believed_about_one_that_was_killed_between_its_line_and_its_answer(box):
    broker, answers = Broker(), []
    broker.publish = lambda *_, **__: answers.extend(box.start()) or True
    listener = listen(broker, box.unanswered, {"rollback": lambda _: {}}, box.log.note)
    broker.deliver(Message(TOPICS.request("rollback"), b'{"transaction": "b"}'))
    assert until(lambda: answers)
    assert answers[0][1]["error"].endswith("says: ok")
    assert box.outcomes() == ["ok"]
    listener.stop()
