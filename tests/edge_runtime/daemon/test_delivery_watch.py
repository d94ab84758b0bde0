"""delivery_watch: what is reported when results are not delivered, once, and until it is over."""

from dataclasses import replace

import pytest

from edge_runtime.daemon.delivery_watch import RECENT_S, STALLED_S, DeliveryWatch
from edge_runtime.daemon.health import Weight
from edge_runtime.messaging.delivery import ChannelStatus
from edge_runtime.messaging.events import DeliveryRecovered, DeliveryTrouble

GOOD = ChannelStatus(10, 10, 0, 0, 0, 0, durable=True, problem=None)
DENIED = {"set_aside": {"edge/d/event": "not authorized"}, "pending": 1}
STALLED = {"stalled_s": STALLED_S + 1, "pending": 7}


class Watched:
    """One channel, looked at every second."""

    def __init__(self):
        self.watch, self.now_s, self.events = DeliveryWatch(), 0.0, []

    def see(self, seconds=1, **edits):
        for _ in range(int(seconds)):
            self.now_s += 1
            self.events += self.watch.observe({"mqtt": replace(GOOD, **edits)}, self.now_s)
        return self

    @property
    def weights(self):
        return [finding.weight for finding in self.watch.findings]


@pytest.mark.parametrize(
    ("edits", "weight"),
    [
        (DENIED, Weight.NOTE),
        (STALLED, Weight.UNREADY),
        ({"damage": "outbox.db was damaged"}, Weight.NOTE),
        ({"dropped_by": {"larger than the broker takes": 3}}, Weight.NOTE),
        ({"dropped_by": {"too old": 1}}, Weight.NOTE),
        ({"dropped_by": {"the outbox is full": 9}}, Weight.NOTE),
        ({"dropped_by": {"the outbox file was damaged": 300}}, Weight.NOTE),
    ],
)
def test_a_trouble_is_a_finding_and_one_event_and_then_it_is_over(edits, weight):
    watched = Watched().see().see(5, **edits)
    assert watched.weights == [weight]
    assert [type(event) for event in watched.events] == [DeliveryTrouble]
    watched.see(RECENT_S + 1, dropped_by=edits.get("dropped_by", {}))
    assert watched.weights == []
    assert [type(event) for event in watched.events] == [DeliveryTrouble, DeliveryRecovered]


def test_a_loss_before_the_first_look_is_said():
    watched = Watched().see(dropped_by={"too old": 300})
    assert [type(event) for event in watched.events] == [DeliveryTrouble]


def test_a_trouble_that_comes_and_goes_is_one_event():
    watched = Watched()
    for _ in range(20):
        watched.see(5, **DENIED).see(5)
    assert len(watched.events) == 1


def test_what_is_new_is_named_and_what_was_said_is_not_said_again():
    watched = Watched().see(3, **DENIED)
    both = {"set_aside": {**DENIED["set_aside"], "edge/d/result/a": "quota"}}
    watched.see(3, **both)
    assert [len(event.problems) for event in watched.events] == [1, 1]
    assert "edge/d/result/a" in watched.events[1].problems[0]


def test_when_everything_is_dropped_the_box_is_not_ready():
    watched = Watched().see()
    for count in range(1, int(STALLED_S) + 5):
        watched.see(dropped_by={"larger than the broker takes": count})
    assert watched.weights == [Weight.UNREADY]
    assert len(watched.events) == 1


def test_when_some_are_dropped_and_others_delivered_it_is_a_note():
    watched = Watched().see()
    for count in range(1, int(STALLED_S) + 5):
        watched.see(dropped_by={"larger than the broker takes": count}, delivered=10 + count)
    assert watched.weights == [Weight.NOTE]


def test_a_loss_a_long_time_after_the_last_delivery_is_a_note():
    watched = Watched().see(10 * STALLED_S)
    watched.see(5, dropped_by={"larger than the broker takes": 1})
    assert watched.weights == [Weight.NOTE]


def test_losses_that_are_rare_are_grave_when_nothing_is_delivered_between_them():
    watched = Watched().see()
    for count in range(1, 4):
        watched.see(1.5 * STALLED_S, dropped_by={"larger than the broker takes": count}).see(0)
    watched.see(dropped_by={"larger than the broker takes": 4})
    assert watched.weights == [Weight.UNREADY]


def test_a_broker_that_is_away_is_no_trouble_of_delivery():
    watched = Watched().see(3 * STALLED_S, pending=500, is_ready=False, problem="connection refused")
    assert (watched.events, watched.weights) == ([], [])


def test_a_channel_that_was_removed_leaves_nothing():
    watched = Watched().see(3, **STALLED)
    watched.watch.observe({}, 10.0)
    assert watched.watch.findings == ()
