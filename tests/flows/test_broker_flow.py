"""From the outbox to a subscriber through a real mosquitto that is killed with -9 in the middle; and commands.

A PUBACK of mosquitto means that the message was written to every connected QoS 0 subscriber before, not that it is on
a disk. The subscriber here uses QoS 0 and is back before the daemon, so "nothing lost up to the broker's
acknowledgement" becomes visible from outside: it must see every sequence number, in order, repetitions allowed.
"""

import json
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from functools import partial
from itertools import pairwise

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_runtime.messaging.commands.listener import CommandListener
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.settings import MqttSettings
from edge_runtime.messaging.outbox.outbox import Outbox
from edge_runtime.messaging.outbox.publisher import Publisher
from edge_runtime.messaging.sinks.mqtt_sink import MqttSink
from edge_runtime.system.supervised_thread import Crashes
from tests.support.outbox_accounts import assert_balanced
from tests.support.paths import ROOT
from tests.support.used_transactions import UsedInMemory
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

TOPIC = "edge/d/result/s"


class Subscriber:
    """A QoS 0 subscriber that reconnects within 10 ms and keeps what it sees."""

    def __init__(self, broker):
        self.broker, self.messages, self.stopping = broker, [], threading.Event()
        self.subscribed = threading.Event()
        self.client = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        assert self.subscribed.wait(WAIT_S)

    def run(self):
        while not self.stopping.wait(0.01):
            client = paho.Client(
                CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
            )
            ended = threading.Event()
            client.on_connect = lambda client, *_: client.subscribe("edge/#", 0)
            client.on_subscribe = lambda *_: self.subscribed.set()
            client.on_message = lambda _c, _d, message: self.messages.append(message)
            client.on_disconnect = lambda *_, ended=ended: ended.set()
            try:
                client.connect(self.broker.host, self.broker.port)
            except OSError:
                continue
            self.client = client
            client.loop_start()
            while not ended.wait(0.005) and not self.stopping.is_set():
                continue
            client.disconnect()
            client.loop_stop()

    def publish(self, *arguments, **options):
        return self.client.publish(*arguments, **options)

    def seqs(self, topic=TOPIC):
        return [
            json.loads(message.payload)["seq"] for message in tuple(self.messages) if message.topic == topic
        ]

    def answers(self, topic):
        return [json.loads(message.payload) for message in tuple(self.messages) if message.topic == topic]

    def restart_broker(self):
        """Kill -9, start, and be back before anyone else."""
        self.broker.kill()
        self.subscribed.clear()
        self.broker.start()
        assert self.subscribed.wait(WAIT_S)

    def close(self):
        self.stopping.set()
        self.thread.join(WAIT_S)


@pytest.fixture
def subscriber(broker):
    one = Subscriber(broker)
    yield one
    one.close()


class Device:
    """Outbox, client, publisher and commands, wired as the daemon wires them."""

    def __init__(self, broker, path, is_enabled=True, reconnect_min_s=1.0):
        self.outbox = Outbox(path, Crashes())
        # At least half a second passes before a reconnection: the subscriber is back first.
        self.settings = MqttSettings(broker.host, "d", port=broker.port, reconnect_min_s=reconnect_min_s)
        self.client = MqttClient(self.settings, Crashes())
        self.rollbacks = 0
        handlers = {"status": lambda _: {"serving": True}, "rollback": self.roll_back}
        make_handler = partial(CommandHandler, handlers, CommandPolicy(is_enabled), UsedInMemory())
        self.commands = CommandListener(
            self.client, make_handler, self.settings.topics, Crashes(), ("edge/app",)
        )
        self.publisher = Publisher(self.outbox, MqttSink(self.client), Crashes())
        self.client.start()
        self.publisher.start()

    def roll_back(self, _request):
        self.rollbacks += 1
        return {"generation": "m/1"}

    def put(self, seq):
        self.outbox.put(TOPIC, json.dumps({"seq": seq, "id": f"d/s/{seq:09d}"}).encode())

    def close(self):
        self.commands.stop()
        self.publisher.stop()
        self.client.stop()
        self.outbox.close()


@pytest.fixture
def device(broker, tmp_path):
    one = Device(broker, tmp_path / "outbox.db")
    yield one
    one.close()


def gap_free(seqs, last):
    """Every number seen, each for the first time in order; repetitions only of what was sent before."""
    firsts = list(dict.fromkeys(seqs))
    return firsts == list(range(last + 1)) and all(after <= before + 1 for before, after in pairwise(seqs))


def test_nothing_is_lost_when_the_broker_is_killed_in_mid_stream(subscriber, device):
    assert until(lambda: device.client.connects)
    stop, count = threading.Event(), 0

    def produce():
        nonlocal count
        while not stop.wait(0.01):
            device.put(count)
            count += 1

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        for round_ in range(3):
            connects = device.client.connects
            seen = len(subscriber.messages)
            assert until(lambda seen=seen: len(subscriber.messages) > seen + 30)
            subscriber.restart_broker()
            reconnected = until(
                lambda connects=connects: device.client.connects > connects, device.settings.reconnect_max_s
            )
            assert reconnected, "at the latest after the longest delay"
            subscriber.publish("edge/d/request/status", json.dumps({"transaction": round_}), qos=1)
            expected = {"status": "ok", "data": {"serving": True}, "transaction": round_}
            assert until(lambda expected=expected: expected in subscriber.answers("edge/d/response/status"))
    finally:
        stop.set()
        producer.join()
    assert until(lambda: count - 1 in subscriber.seqs())
    assert until(lambda: device.outbox.ledger().pending == 0)
    assert gap_free(subscriber.seqs(), count - 1)
    ledger = device.outbox.ledger()
    assert (ledger.enqueued, ledger.delivered, ledger.dropped) == (count, count, 0)
    ids = [json.loads(message.payload)["id"] for message in subscriber.messages if message.topic == TOPIC]
    assert ids == [f"d/s/{seq:09d}" for seq in subscriber.seqs()]


CHILD = """
    import json, sys, threading
    from pathlib import Path
    from edge_runtime.messaging.mqtt.client import MqttClient
    from edge_runtime.messaging.mqtt.settings import MqttSettings
    from edge_runtime.messaging.outbox.outbox import Outbox
    from edge_runtime.messaging.outbox.publisher import Publisher
    from edge_runtime.messaging.sinks.mqtt_sink import MqttSink
    from edge_runtime.system.log import configure_log
    from edge_runtime.system.supervised_thread import Crashes
    configure_log()  # to standard error
    path, port, seq = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    outbox = Outbox(path, Crashes())
    client = MqttClient(MqttSettings("127.0.0.1", "d", port=port, reconnect_min_s=0.1), Crashes())
    Publisher(outbox, MqttSink(client), Crashes()).start()
    client.start()
    tick = threading.Event()
    while True:
        outbox.put("edge/d/result/s", json.dumps({"seq": seq}).encode())
        if seq % 10 == 9:
            outbox.flush(60)
            print(seq, flush=True)
        seq += 1
        tick.wait(0.003)
"""


def test_nothing_accepted_is_lost_when_the_daemon_is_killed(tmp_path, broker, subscriber):
    path, last = tmp_path / "child.db", -1
    for round_ in range(4):
        command = [sys.executable, "-c", textwrap.dedent(CHILD), str(path), str(broker.port), str(last + 1)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(4 + 3 * round_):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            last = max([last, *map(int, process.stdout)])
        box = Outbox(path, Crashes())
        ledger = box.ledger()
        box.close()
        assert_balanced(ledger)
        last = (
            ledger.enqueued - 1
        )  # rows the writer had committed beyond the last confirmed one count as accepted
    device = Device(broker, path)
    assert until(lambda: device.outbox.ledger().pending == 0)
    device.close()
    # The final part of a killed connection may be repeated from further back than one row.
    # The broker has them all; the subscriber may be a moment behind.
    assert until(lambda: set(subscriber.seqs()) >= set(range(last + 1)))
    # Rows are delivered from memory too: more than a killed daemon's ledger knows may have arrived.
    firsts = list(dict.fromkeys(subscriber.seqs()))
    assert firsts == list(range(max(last, *firsts) + 1))


def test_a_backlog_made_while_the_broker_was_away_drains_in_order(broker, tmp_path, subscriber):
    broker.kill()
    device = Device(broker, tmp_path / "backlog.db")
    for seq in range(3000):
        device.put(seq)
    assert device.outbox.flush(WAIT_S)
    subscriber.restart_broker()
    assert until(lambda: device.outbox.ledger().delivered == 3000)
    device.close()
    assert until(lambda: subscriber.seqs() == list(range(3000)))


def test_a_command_with_a_response_topic_is_answered_there_and_only_once_executed(device, subscriber):
    assert until(lambda: device.client.connects)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic, properties.CorrelationData = "edge/app/answers", b"\1\2"
    for _ in range(2):
        subscriber.publish(
            "edge/d/request/rollback", b'{"transaction": "once"}', qos=1, properties=properties
        )
    assert until(lambda: len(subscriber.answers("edge/app/answers")) == 2)
    first, second = subscriber.answers("edge/app/answers")
    assert first == second == {"status": "ok", "data": {"generation": "m/1"}, "transaction": "once"}
    assert device.rollbacks == 1
    arrived = next(message for message in subscriber.messages if message.topic == "edge/app/answers")
    assert arrived.properties.CorrelationData == b"\1\2"


def test_a_retained_command_is_ignored_now_and_at_the_next_connection(broker, tmp_path, subscriber):
    subscriber.publish("edge/d/request/rollback", b"{}", qos=1, retain=True).wait_for_publish(5)
    device = Device(broker, tmp_path / "outbox.db")
    assert until(lambda: device.client.connects)
    subscriber.publish("edge/d/request/rollback", b"{}", qos=1, retain=True)
    subscriber.publish("edge/d/request/status", b"", qos=1)
    assert until(lambda: subscriber.answers("edge/d/response/status"))
    assert device.rollbacks == 0
    assert device.commands.counts["retained"] == 2
    device.close()


def test_commands_are_off_unless_turned_on(broker, tmp_path, subscriber):
    device = Device(broker, tmp_path / "outbox.db", is_enabled=False)
    assert until(lambda: device.client.connects)
    subscriber.publish("edge/d/request/rollback", b"{}", qos=1)
    assert until(lambda: subscriber.answers("edge/d/response/rollback"))
    assert "turned off" in subscriber.answers("edge/d/response/rollback")[0]["error"]
    assert device.rollbacks == 0
    device.close()


def test_a_flood_of_bad_commands_does_not_keep_a_good_one_waiting(device, subscriber):
    assert until(lambda: device.client.connects)
    for number in range(2000):
        subscriber.publish("edge/d/request/rollback", b'{"forged": %d' % number, qos=0)
    subscriber.publish("edge/d/request/status", b'{"transaction": "good"}', qos=1)

    def is_answered():
        if not any(a["transaction"] == "good" for a in subscriber.answers("edge/d/response/status")):
            subscriber.publish("edge/d/request/status", b'{"transaction": "good"}', qos=1)
            return False
        return True

    assert until(is_answered, device.settings.keepalive_s), "before the broker could take the device for dead"
    assert device.rollbacks == 0


def test_a_connection_that_dies_half_way_through_a_message_repeats_it(broker, tmp_path, subscriber):
    """A relay cuts the connection after every few kilobytes, wherever that is inside a packet."""
    relay = CuttingRelay(broker, cut_after_bytes=20_011)
    device = Device(relay, tmp_path / "outbox.db", reconnect_min_s=0.02)
    try:
        for seq in range(300):
            device.outbox.put(TOPIC, json.dumps({"seq": seq}).encode().ljust(300))
        assert until(lambda: device.outbox.ledger().delivered == 300)
        assert device.client.connects >= 4
    finally:
        device.close()
        relay.close()
    assert list(dict.fromkeys(subscriber.seqs())) == list(range(300))


class CuttingRelay:
    """A TCP relay to the broker that resets every connection after so many bytes from the client."""

    def __init__(self, broker, cut_after_bytes):
        self.broker, self.cut_after_bytes = broker, cut_after_bytes
        self.server = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self.server.getsockname()
        self.is_open = True
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while self.is_open:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            with client, socket.create_connection((self.broker.host, self.broker.port)) as upstream:
                back = threading.Thread(target=self.copy, args=(upstream, client, None))
                back.start()
                self.copy(client, upstream, self.cut_after_bytes)
                back.join()

    @staticmethod
    def copy(source, target, limit):
        left = limit
        try:
            while left is None or left > 0:
                data = source.recv(4096)
                if not data:
                    break
                data = data if left is None else data[:left]
                target.sendall(data)
                left = None if left is None else left - len(data)
            for one in (source, target):
                one.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self):
        self.is_open = False
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.thread.join(WAIT_S)
