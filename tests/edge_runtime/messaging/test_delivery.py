"""Results and events on their way out: a real outbox and file, two destinations at a time."""

import itertools

import orjson
import pytest
import structlog

from edge_runtime.datatypes import Generation, Label, Rejected, RejectReason, Result, Timings
from edge_runtime.messaging import delivery as delivery_module
from edge_runtime.messaging.delivery import RECENT_RESULTS, Channel, Delivery
from edge_runtime.messaging.encoding import encode_result
from edge_runtime.messaging.events import ConfigApplied, ConfigRefused, Event, RolledBack, TaskFailed
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.messaging.outbox.outbox import Outbox
from edge_runtime.messaging.outbox.publisher import Publisher
from edge_runtime.messaging.sinks.file_sink import FileSink
from edge_runtime.system.supervised_thread import Crashes


def result(seq):
    top = (Label(1, "bolt", 0.9),)
    return Result("box", "belt", seq, 0.0, "parts", "parts/1", Timings(0, 0, 0, 0, 0), top)


class Place:
    """A destination: its outbox and the file it ends up in."""

    def __init__(self, folder, name):
        self.file = folder / f"{name}.jsonl"
        self.outbox = Outbox(folder / f"{name}.db", Crashes())
        self.channel = Channel(
            name,
            self.outbox,
            Publisher(self.outbox, FileSink(self.file, max_bytes=2**20, sync_every_s=0.0), Crashes()),
        )

    def end(self):
        self.channel.publisher.stop(5.0)
        self.outbox.close()

    def lines(self):
        return [orjson.loads(line) for line in self.file.read_bytes().splitlines()]


@pytest.fixture
def places(tmp_path):
    made = [Place(tmp_path, "one"), Place(tmp_path, "two")]
    for place in made:
        place.channel.publisher.start()
    yield made
    for place in made:
        place.end()


def test_everything_goes_to_every_destination_under_its_topic(places):
    seen = []
    delivery = Delivery("box", seen.append)
    delivery.use_channels(Topics("plant", "box"), [place.channel for place in places])
    delivery.add_result(result(0))
    delivery.add_event(Event(1.0, ConfigApplied((), ())))
    for place in places:
        place.end()
        assert [line["topic"] for line in place.lines()] == ["plant/box/result/belt", "plant/box/event"]
        status = place.channel.status()
        assert (status.enqueued, status.delivered, status.pending, status.dropped) == (2, 2, 0, 0)
    assert [one.seq for one in seen] == [0]


def test_after_a_change_of_broker_the_rest_goes_through_the_new_channels(places):
    delivery = Delivery("box", lambda one: None)
    for seq, place in enumerate(places):
        delivery.use_channels(Topics("edge", "box"), [place.channel])
        delivery.add_result(result(seq))
    for seq, place in enumerate(places):
        place.end()
        assert [line["payload"]["seq"] for line in place.lines()] == [seq]


def test_keeps_the_newest_in_memory_newest_first():
    delivery = Delivery("box", lambda one: None)
    for seq in range(RECENT_RESULTS + 10):
        delivery.add_result(result(seq))
    newest = [entry["seq"] for entry in delivery.recent_results(3)]
    assert newest == [RECENT_RESULTS + 9, RECENT_RESULTS + 8, RECENT_RESULTS + 7]
    assert len(delivery.recent_results(10_000)) == RECENT_RESULTS
    older, newer = Event(0.0, ConfigApplied((), ())), Event(1.0, ConfigRefused(("b",)))
    delivery.add_event(older)
    delivery.add_event(newer)
    assert [event["data"]["accepted"] for event in delivery.recent_events(5)] == [False, True]
    assert delivery.recent_events(1)[0]["text"][1:] == ["b"]
    assert delivery.events() == [older, newer]


def test_large_results_are_kept_in_memory_as_far_as_they_fit(monkeypatch):
    monkeypatch.setattr(delivery_module, "RECENT_BYTES", 1000)
    delivery = Delivery("box", lambda one: None)
    for seq in range(100):
        delivery.add_result(result(seq))
    kept = delivery.recent_results(1000)
    sizes = [len(encode_result(result(seq))) for seq in range(99, -1, -1)]
    fitting = sum(total <= 1000 for total in itertools.accumulate(sizes))
    assert [one["seq"] for one in kept] == list(range(99, 99 - fitting, -1))
    assert fitting > 1
    monkeypatch.setattr(delivery_module, "RECENT_BYTES", 1)
    delivery.add_result(result(100))
    assert [one["seq"] for one in delivery.recent_results(1000)] == [100]


def test_every_event_is_a_line_of_the_log_with_its_model():
    delivery = Delivery("box", lambda _: None)
    with structlog.testing.capture_logs() as logged:
        delivery.add_event(Event(0.0, RolledBack(Generation("a/1", "p1"), Generation("a/1"), "asked"), "m"))
        delivery.add_event(Event(1.0, TaskFailed("commission", "too dark", "command", False), "m"))
    assert logged == [
        {
            "event": "rollback",
            "log_level": "info",
            "model": "m",
            "what": "rolled back from a/1+p1 to a/1: asked",
        },
        {
            "event": "commissioned",
            "log_level": "warning",
            "model": "m",
            "what": "commissioning failed: too dark",
        },
    ]


def test_a_failed_task_is_published_under_its_old_name_too_but_is_one_event(places):
    delivery = Delivery("box", lambda _: None)
    delivery.use_channels(Topics("plant", "box"), [places[0].channel])
    delivery.add_event(Event(1.0, TaskFailed("recalibrate", "killed", "schedule", False), "m"))
    places[0].end()
    payloads = [line["payload"] for line in places[0].lines()]
    assert [(one["event"], one.get("deprecated")) for one in payloads] == [
        ("recalibration", None),
        ("recalibrate", True),
    ]
    assert [event["event"] for event in delivery.recent_events(5)] == ["recalibration"]


def test_of_a_flood_of_rejections_every_one_is_said_in_the_end(places):
    delivery = Delivery("box", lambda one: None)
    delivery.use_channels(Topics("edge", "box"), [places[0].channel])
    for seq in range(3000):
        delivery.add_rejection("parts", Rejected("belt", seq, RejectReason.TRUNCATED, "bad"))
    delivery.publish_last_rejections(0.0, is_end=True)
    delivery.publish_last_rejections(0.0, is_end=True)
    places[0].end()
    said = [line["payload"] for line in places[0].lines()]
    assert said[-1]["seq"] == 2999
    assert sum(1 + one.get("unsaid", 0) for one in said) == 3000
    assert len(said) < 3000
