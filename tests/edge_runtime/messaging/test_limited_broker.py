"""The client against brokers that can less than MQTT v5 allows, and do as the standard says to one who overlooks it."""

import pytest

from edge_runtime.messaging.mqtt.client import NO_RETAIN, MqttClient
from edge_runtime.messaging.mqtt.problems import (
    PACKET_TOO_LARGE,
    QOS_NOT_SUPPORTED,
    RETAIN_NOT_SUPPORTED,
    VERSION_NOT_SUPPORTED,
    WILDCARDS_NOT_SUPPORTED,
    explain_denial,
    explain_refusal,
    explain_subscription,
)
from edge_runtime.messaging.mqtt.settings import MqttSettings
from edge_runtime.system.supervised_thread import Crashes
from tests.support.fake_broker import CLOSE, OK, SILENT, Disconnect, FakeBroker
from tests.support.waiting import until

pytestmark = pytest.mark.integration

STATE, REQUESTS = "edge/d/state", "edge/d/request/+"
NO_QOS_1, NO_RETAINED, NO_WILDCARDS = b"\x24\0", b"\x25\0", b"\x28\0"
AT_MOST_500_BYTES = b"\x27" + (500).to_bytes(4)


class Device:
    """A client that announces a state and listens to commands."""

    def __init__(self, broker, state=b"{}", connect_timeout_s=5.0):
        quick = {"reconnect_min_s": 0.01, "reconnect_away_s": 0.05, "reconnect_max_s": 0.05}
        settings = MqttSettings(
            broker.host, "d", port=broker.port, connect_timeout_s=connect_timeout_s, **quick
        )
        self.client = MqttClient(settings, Crashes())
        self.client.set_state(state)
        self.client.subscribe(REQUESTS, lambda _: None)

    def __enter__(self):
        self.client.start()
        return self.client

    def __exit__(self, *_):
        self.client.stop(0.2)


def level(packet):
    return packet[6]


@pytest.mark.parametrize("way", [CLOSE, SILENT, 0x01])
@pytest.mark.parametrize("code", [0x00, 0x04, 0x05])
def test_a_broker_of_version_3_is_known_however_it_turns_version_5_down(way, code):
    with (
        FakeBroker(connack=lambda packet: code if level(packet) == 4 else way) as broker,
        Device(broker, connect_timeout_s=0.5 if way == SILENT else 5.0) as client,
    ):
        remedy = explain_refusal(VERSION_NOT_SUPPORTED, "", "").partition("; ")[2]
        assert until(lambda: remedy in client.problem), client.problem
        assert client.connects == 0


def test_a_port_that_answers_no_version_is_not_taken_for_a_broker_of_version_3():
    with FakeBroker(connack=lambda _: CLOSE) as broker, Device(broker) as client:
        assert until(lambda: broker.connects > 4)
        remedy = explain_refusal(VERSION_NOT_SUPPORTED, "", "").partition("; ")[2]
        assert remedy not in client.problem


def test_a_broker_that_takes_qos_0_only_is_sent_nothing_and_named():
    with FakeBroker(properties=NO_QOS_1, on_publish=lambda _: Disconnect(QOS_NOT_SUPPORTED)) as broker:
        with Device(broker) as client:
            remedy = explain_refusal(QOS_NOT_SUPPORTED, "", "").partition("; ")[2]
            assert until(lambda: remedy in client.problem), client.problem
        assert broker.seen == []


def test_a_broker_that_announces_to_keep_nothing_is_sent_no_retained_message():
    def refuse_retained(published):
        return Disconnect(RETAIN_NOT_SUPPORTED) if published.is_retained else OK

    with FakeBroker(properties=NO_RETAINED, on_publish=refuse_retained) as broker:
        with Device(broker) as client:
            assert until(lambda: client.session)
            assert client.problem == NO_RETAIN
            client.set_state(b"{ }")
            assert until(lambda: broker.payloads(STATE) == [b"{}", b"{ }"])
        assert broker.connects == 1


def test_a_broker_without_wildcards_is_not_asked_for_one_and_named():
    with FakeBroker(
        properties=NO_WILDCARDS, on_subscribe=lambda _: Disconnect(WILDCARDS_NOT_SUPPORTED)
    ) as broker:
        with Device(broker) as client:
            assert until(lambda: client.session)
            assert client.problem == explain_subscription(REQUESTS, WILDCARDS_NOT_SUPPORTED)
            assert not client.is_subscribed(REQUESTS)
        assert broker.connects == 1


@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2])
def test_a_subscription_that_is_refused_is_named_with_its_filter_and_the_rest_works(code):
    with FakeBroker(on_subscribe=lambda _: code) as broker, Device(broker) as client:
        assert until(lambda: client.session)
        assert client.problem == explain_subscription(REQUESTS, code)
        assert not client.is_subscribed(REQUESTS)
        assert until(lambda: broker.payloads(STATE) == [b"{}"])


def test_a_state_that_is_larger_than_the_broker_takes_is_a_problem_until_one_fits():
    with FakeBroker(properties=AT_MOST_500_BYTES) as broker, Device(broker, state=b"x" * 600) as client:
        assert until(lambda: client.session)
        assert client.problem is not None
        assert STATE in client.problem
        assert explain_denial(PACKET_TOO_LARGE) in client.problem
        client.set_state(b"{}")
        assert until(lambda: client.problem is None)
        assert broker.payloads(STATE) == [b"{}"]
