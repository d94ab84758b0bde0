"""Outbox, publisher, sink and client against a broker that refuses, closes, forgets, is late or sends odd codes.

One bad item costs one item, one refused topic costs that topic: everything else arrives, in order for each topic.
"""

import json
import time

import pytest
import structlog
from paho.mqtt.client import MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge_runtime.messaging.mqtt.client import NO_RETAIN, MqttClient
from edge_runtime.messaging.mqtt.paho_client import PahoClient
from edge_runtime.messaging.mqtt.problems import TOO_LARGE
from edge_runtime.messaging.mqtt.settings import MqttSettings
from edge_runtime.messaging.outbox import outbox, publisher, set_aside
from edge_runtime.messaging.outbox.outbox import Outbox, OutboxLimits
from edge_runtime.messaging.outbox.publisher import Publisher
from edge_runtime.messaging.sinks.mqtt_sink import CUT, NOT_SENDABLE, MqttSink
from edge_runtime.system.supervised_thread import Crashes
from tests.support.fake_broker import CLOSE, OK, SILENT, FakeBroker
from tests.support.waiting import until

pytestmark = pytest.mark.integration

RESULT, OTHER, EVENT = "edge/d/result/a", "edge/d/result/b", "edge/d/event"
COUNT = 60


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(set_aside, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(set_aside, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(set_aside, "FIRST_PAUSE_AFTER_CUT_S", 1.0)
    monkeypatch.setattr(set_aside, "LONGEST_PAUSE_AFTER_CUT_S", 1.0)
    monkeypatch.setattr(publisher, "IDLE_S", 0.02)
    monkeypatch.setattr(outbox, "LONE_ACK_S", 0.02)
    monkeypatch.setattr(outbox, "EXPIRY_POLL_S", 0.02)


class Device:
    """From the outbox to the broker, wired as the daemon does it."""

    def __init__(self, broker, folder, patience_s=30.0, **settings):
        self.outbox = Outbox(folder / "outbox.db", Crashes(), OutboxLimits())
        quick = {"reconnect_min_s": 0.01, "reconnect_away_s": 0.05, "reconnect_max_s": 0.05}
        self.client = MqttClient(
            MqttSettings(broker.host, "d", port=broker.port, **{**quick, **settings}), Crashes()
        )
        self.publisher = Publisher(self.outbox, MqttSink(self.client, patience_s=patience_s), Crashes())

    def put(self, topics=(RESULT, OTHER, EVENT), count=COUNT):
        for number in range(count):
            self.outbox.put(topics[number % len(topics)], json.dumps({"n": number}).encode())

    def __enter__(self):
        self.client.start()
        self.publisher.start()
        return self

    def __exit__(self, *_):
        self.publisher.stop(0.0)
        self.client.stop(0.2)
        self.outbox.close()


def number_of(published):
    return json.loads(published.payload)["n"]


def is_row(published):
    return published.topic in (RESULT, OTHER, EVENT)


def arrived(broker, topic):
    """Each number once: repetitions carry the same payload."""
    numbers = [json.loads(payload)["n"] for payload in broker.payloads(topic)]
    return sorted(set(numbers))


def numbers(topic, count=COUNT):
    return [n for n in range(count) if (RESULT, OTHER, EVENT)[n % 3] == topic]


CODES = [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x9A, 0x9B, 0xA2, 0xFF]


@pytest.mark.parametrize("code", CODES)
def test_a_topic_that_the_broker_refuses_waits_and_the_others_arrive(tmp_path, code):
    with (
        FakeBroker(lambda published: code if published.topic == EVENT else OK) as broker,
        Device(broker, tmp_path) as device,
    ):
        device.put()
        assert until(lambda: device.outbox.ledger().delivered == 40)
        assert arrived(broker, RESULT) == numbers(RESULT)
        assert arrived(broker, OTHER) == numbers(OTHER)
        ledger = device.outbox.ledger()
        assert (ledger.pending, ledger.dropped) == (20, 0)
        assert list(device.publisher.set_aside()) == [EVENT]
        assert device.client.connects == 1
        broker.on_publish = lambda _: OK
        assert until(lambda: device.outbox.ledger().pending == 0)
        assert device.outbox.ledger().delivered == COUNT


@pytest.mark.parametrize("code", [0x95, 0x99])
def test_a_message_that_the_broker_refuses_for_good_is_dropped_and_counted(tmp_path, code):
    with (
        FakeBroker(
            lambda published: code if is_row(published) and number_of(published) == 7 else OK
        ) as broker,
        Device(broker, tmp_path) as device,
        structlog.testing.capture_logs() as logged,
    ):
        device.put()
        assert until(lambda: device.outbox.ledger().pending == 0)
        ledger = device.outbox.ledger()
        assert (ledger.delivered, ledger.dropped_by_refusal) == (COUNT - 1, 1)
        assert device.publisher.refusals.total() == 1
        assert device.client.connects == 1
    said = [line for line in logged if line.get("messages") == 1]
    assert [line["topic"] for line in said] == [OTHER]


@pytest.mark.parametrize("how", [CLOSE, 0x80, 0x87, 0xFF])
@pytest.mark.parametrize("bad", [{0}, {7}, {30, 31}])
def test_a_message_that_is_refused_or_ends_the_connection_is_given_up_when_others_pass(tmp_path, how, bad):
    with (
        FakeBroker(
            lambda published: how if is_row(published) and number_of(published) in bad else OK
        ) as broker,
        Device(broker, tmp_path) as device,
    ):
        began_s = time.monotonic()
        device.put()
        assert until(lambda: device.outbox.ledger().pending == 0)
        probes = (
            time.monotonic() - began_s
        ) // set_aside.FIRST_PAUSE_AFTER_CUT_S  # one connection a pause at most
        ledger = device.outbox.ledger()
        assert (ledger.delivered, ledger.dropped_by_refusal) == (COUNT - len(bad), len(bad))
        assert device.client.connects <= 1 + (12 + probes) * len(bad)
        if how == CLOSE:
            assert set(device.publisher.refusals) == {CUT}


def test_a_topic_over_which_the_broker_closes_waits_and_the_others_arrive(tmp_path):
    with (
        FakeBroker(lambda published: CLOSE if published.topic == EVENT else OK) as broker,
        Device(broker, tmp_path) as device,
    ):
        device.put()
        assert until(lambda: device.outbox.ledger().delivered == 40)
        assert (device.outbox.ledger().pending, device.outbox.ledger().dropped) == (20, 0)
        assert until(lambda: list(device.publisher.set_aside()) == [EVENT])
        broker.on_publish = lambda _: OK
        assert until(lambda: device.outbox.ledger().pending == 0)


def test_one_acknowledgement_that_is_missing_costs_one_repetition(tmp_path):
    missed = []

    def forget_once(published):
        if is_row(published) and number_of(published) == 7 and not missed:
            missed.append(published)
            return SILENT
        return OK

    with FakeBroker(forget_once) as broker, Device(broker, tmp_path, patience_s=0.1) as device:
        device.put()
        assert until(lambda: device.outbox.ledger().delivered == COUNT)
        assert broker.payloads(OTHER).count(b'{"n": 7}') == 2
        assert device.client.connects == 1


def test_a_message_that_is_never_acknowledged_is_given_up_and_the_others_arrive(tmp_path):
    with (
        FakeBroker(lambda one: SILENT if is_row(one) and number_of(one) == 7 else OK) as broker,
        Device(broker, tmp_path, patience_s=0.05) as device,
    ):
        device.put()
        assert until(lambda: device.outbox.ledger().delivered == COUNT - 1)

        def goes_on():
            device.outbox.put(OTHER, b'{"n": 61}')
            return device.outbox.ledger().dropped_by_refusal == 1

        assert until(goes_on)
        assert until(lambda: device.outbox.ledger().pending == 0)


def test_a_broker_that_acknowledges_nothing_is_connected_to_again_and_then_it_goes_on(tmp_path):
    with (
        FakeBroker(lambda one: SILENT if is_row(one) and broker.connects < 3 else OK) as broker,
        Device(broker, tmp_path, patience_s=0.1) as device,
    ):
        device.put()
        assert until(lambda: device.outbox.ledger().delivered == COUNT)
        assert device.outbox.ledger().dropped == 0


def test_a_broker_that_is_slower_than_the_patience_gets_more_time(tmp_path):
    with (
        FakeBroker(lambda one: 0.3 if is_row(one) else OK) as broker,
        Device(broker, tmp_path, patience_s=0.1) as device,
    ):
        device.put(count=40)
        assert until(lambda: device.outbox.ledger().delivered == 40)
        assert device.outbox.ledger().dropped == 0


@pytest.mark.parametrize("topic", ["", "edge/+/x", "edge/#", "a" * 70_000, "edge/\0"])
def test_a_row_that_mqtt_cannot_carry_is_dropped_and_counted(tmp_path, topic):
    with FakeBroker() as broker, Device(broker, tmp_path) as device:
        device.put(count=10)
        device.outbox.put(topic, b"{}")
        device.put(count=10)
        assert until(lambda: device.outbox.ledger().pending == 0)
        assert device.outbox.ledger().delivered == 20
        assert device.publisher.refusals == {NOT_SENDABLE: 1}


def test_a_message_over_the_announced_limit_is_dropped_without_being_sent(tmp_path):
    limit = b"\x27" + (500).to_bytes(4)
    with FakeBroker(properties=limit) as broker, Device(broker, tmp_path) as device:
        device.outbox.put(RESULT, b"x" * 600)
        device.put(count=9)
        assert until(lambda: device.outbox.ledger().pending == 0)
        assert device.publisher.refusals == {TOO_LARGE: 1}
        assert len(broker.payloads(RESULT)) == 3


def test_a_state_over_which_the_broker_closes_is_held_back_and_results_arrive(tmp_path):
    with FakeBroker(lambda one: CLOSE if one.topic == "edge/d/state" else OK) as broker:
        device = Device(broker, tmp_path)
        device.client.set_state(b"{}")  # before the first connection: each one announces it
        with device:
            device.put()
            assert until(lambda: device.outbox.ledger().delivered == COUNT)
            assert broker.connects == 3
            assert device.outbox.ledger().dropped == 0


@pytest.mark.parametrize("code", [0x87, 0x95, 0xFF])
def test_a_state_that_the_broker_refuses_is_a_problem_until_it_is_taken(tmp_path, code):
    with (
        FakeBroker(lambda one: code if one.topic == "edge/d/state" else OK) as broker,
        Device(broker, tmp_path) as device,
    ):
        device.client.set_state(b"{}")
        device.put(count=9)
        assert until(lambda: "edge/d/state" in (device.client.problem or "")), device.client.problem
        assert until(lambda: device.outbox.ledger().delivered == 9)
        broker.on_publish = lambda _: OK
        device.client.set_state(b"{ }")
        assert until(lambda: device.client.problem is None)


def test_a_broker_without_retained_messages_is_used_without_them(tmp_path):
    def refuse_retained_will(packet):
        return 0x9A if packet[7] & 0b100000 else OK

    with FakeBroker(connack=refuse_retained_will) as broker, Device(broker, tmp_path) as device:
        device.client.set_state(b"{}")
        device.put(count=9)
        assert until(lambda: device.outbox.ledger().delivered == 9)
        assert [one.is_retained for one in broker.seen if not is_row(one)] == [False, False]
        assert device.client.problem == NO_RETAIN


def test_a_broker_without_retained_messages_refuses_one_connection_and_not_each(tmp_path):
    answers = []

    def refuse_retained_will(packet):
        answers.append(0x9A if packet[7] & 0b100000 else OK)
        return answers[-1]

    with FakeBroker(connack=refuse_retained_will) as broker, Device(broker, tmp_path) as device:
        for session in range(1, 4):
            assert until(lambda session=session: device.client.connects == session)
            device.put(count=3)
            assert until(lambda session=session: device.outbox.ledger().delivered == 3 * session)
            if session < 3:
                broker.end_connections()
    assert answers == [0x9A, OK, OK, OK]


@pytest.mark.parametrize("code", [0x10, 0x80, 0x87, 0x95, 0x97, 0x99])
def test_the_code_of_an_acknowledgement_is_not_that_of_the_next_message(code):
    client = PahoClient(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client._in_packet |= {"packet": bytearray([0, 1, code]), "remaining_length": 3}
    client._handle_pubackcomp("PUBACK")
    assert client.last_code == 0


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (0x84, "MQTT v5 is needed"),
        (0x85, "edge/d"),
        (0x86, "mqtt.password"),
        (0x87, "mqtt.password"),
        (0x89, "tried again"),
        (0x8A, "lift the ban"),
        (0x95, "limit for packets"),
        (0x97, "quota"),
        (0x9B, "max_qos 1"),
        (0x9C, "mqtt.host"),
    ],
)
def test_a_refused_connection_is_explained_with_a_remedy(tmp_path, code, says):
    with FakeBroker(connack=lambda _: code) as broker, Device(broker, tmp_path) as device:
        assert until(lambda: says in device.client.problem)
        assert ("mqtt.password" in device.client.problem) == (code in (0x86, 0x87))


def test_a_packet_that_is_larger_than_allowed_is_not_read(tmp_path):
    with (
        FakeBroker() as broker,
        Device(broker, tmp_path, max_message_bytes=2000, reconnect_min_s=60.0) as device,
    ):
        assert until(lambda: device.client.session)
        broker.send_raw(b"\x30\xff\xff\xff\x7f" + bytes(5000))  # 256 MiB are announced
        assert until(lambda: "at most 2000" in (device.client.problem or ""))


def test_a_broker_that_restarts_again_and_again_loses_nothing(tmp_path):
    with FakeBroker() as broker, Device(broker, tmp_path) as device:
        for round_ in range(10):
            device.put(count=30)
            assert until(lambda round_=round_: device.client.connects > round_)
            broker.end_connections()
            assert until(lambda round_=round_: device.client.connects > round_ + 1)
        assert until(lambda: device.outbox.ledger().delivered == 300)
        assert device.outbox.ledger().dropped == 0
