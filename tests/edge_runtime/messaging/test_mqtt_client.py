"""mqtt: one client for ever, against a real mosquitto that is killed, frozen, encrypted and protected."""

import json
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import paho.mqtt.client as paho
import pytest
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_runtime.config import TlsConfig
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.problems import TOO_LARGE
from edge_runtime.messaging.mqtt.settings import MqttSettings
from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.outbox.publisher import Denial
from edge_runtime.messaging.sinks.mqtt_sink import MqttSink
from edge_runtime.system.supervised_thread import Crashes
from tests.support.mosquitto import Mosquitto, make_tls_files
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


class Watcher:
    """Another client that notes everything it sees."""

    def __init__(self, broker):
        self.seen = []
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
        )
        self.client.on_message = lambda _c, _d, message: self.seen.append(message)
        self.client.connect(broker.host, broker.port)
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.loop_start()
        self.client.subscribe("#", 1)
        assert subscribed.wait(WAIT_S)

    def payloads(self, topic):
        return [message.payload for message in tuple(self.seen) if message.topic == topic]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory):
    return make_tls_files(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def watch(request):
    watchers = []

    def make(broker):
        watchers.append(Watcher(broker))
        return watchers[-1]

    yield make
    for watcher in watchers:
        watcher.close()


@pytest.fixture
def make_client(request):
    clients = []

    def make(broker, crashes=None, **options):
        quick = {"reconnect_min_s": 0.05, "reconnect_max_s": 0.2, "connect_timeout_s": 2.0}
        device = "d-" + request.node.name.replace("[", "-").replace("]", "")[:60].replace(" ", "-")
        settings = MqttSettings(
            **{"host": broker.host, "device": device, "port": broker.port, **quick, **options}
        )
        clients.append(MqttClient(settings, crashes or Crashes()))
        return clients[-1], settings.topics

    yield make
    for client in clients:
        client.stop()


def test_it_announces_itself_its_state_and_its_end(broker, watch, make_client):
    client, topics = make_client(broker)
    watcher = watch(broker)
    client.set_state(b'{"n": 1}')
    client.start()
    assert until(lambda: client.connects)
    client.set_state(b'{"n": 2}')
    assert until(lambda: watcher.payloads(topics.state) == [b'{"n": 1}', b'{"n": 2}'])
    client.stop()
    assert until(lambda: watcher.payloads(topics.availability) == [b"online", b"offline"])
    late = watch(broker)
    assert until(lambda: late.payloads(topics.availability) == [b"offline"])
    assert until(lambda: late.payloads(topics.state) == [b'{"n": 2}'])
    assert client.session is None


def test_a_message_keeps_its_mqtt_5_properties_both_ways(broker, make_client):
    client, _ = make_client(broker)
    other, _ = make_client(broker, device="other")
    got, arrived = [], threading.Event()
    client.subscribe("inbox/+", lambda message: (got.append(message), arrived.set()))
    for one in (client, other):
        one.start()
        assert until(lambda one=one: one.connects)
    assert other.publish("inbox/a", b"\0\xff", correlation=b"\1\2", expiry_s=60)
    assert arrived.wait(WAIT_S)
    assert (got[0].topic, got[0].payload, got[0].correlation, got[0].is_retained) == (
        "inbox/a",
        b"\0\xff",
        b"\1\2",
        False,
    )


def test_nagle_is_off(broker, make_client):
    client, _ = make_client(broker)
    client.start()
    assert until(lambda: client.connects)
    assert client.session._client.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_callback_that_raises_is_counted_and_the_next_message_arrives(broker, make_client):
    crashes = Crashes()
    client, _ = make_client(broker, crashes)
    seen = []

    def handler(message):
        seen.append(message.payload)
        raise ZeroDivisionError

    client.subscribe("boom", handler)
    client.start()
    assert until(lambda: client.connects)
    for payload in (b"1", b"2"):
        client.publish("boom", payload)
    assert until(lambda: seen == [b"1", b"2"])
    assert until(lambda: crashes.by_thread() == {"mqtt-callback": 2})
    assert client.session is not None


def test_it_connects_when_the_broker_comes_up_later(tmp_path, make_client, watch):
    broker = Mosquitto(tmp_path / "late")
    client, topics = make_client(broker)
    client.start()
    assert until(lambda: "connection refused" in client.problem)
    assert not client.publish("t", b"x")
    with broker:
        assert until(lambda: client.connects)
        assert until(lambda: client.problem is None)
        assert until(lambda: watch(broker).payloads(topics.availability) == [b"online"], 1)


def test_a_broker_that_stays_away_is_logged_once(tmp_path, make_client):
    client, _ = make_client(Mosquitto(tmp_path / "away"))
    tries = []
    client.listen(lambda: tries.append(client.problem))
    with structlog.testing.capture_logs() as logged:
        client.start()
        assert until(lambda: len(tries) >= 5)
        client.stop()
    assert [line["problem"] for line in logged] == [tries[-1]]


def test_a_loss_that_comes_back_is_logged_again(broker, make_client):
    client, topics = make_client(broker)
    with structlog.testing.capture_logs() as logged:
        client.start()
        for connects in (1, 2, 3):
            assert until(lambda connects=connects: client.connects == connects)
            namesake = paho.Client(
                CallbackAPIVersion.VERSION2,
                client_id=topics.root,
                protocol=MQTTProtocolVersion.MQTTv5,
                reconnect_on_failure=False,
            )
            namesake.connect(broker.host, broker.port)
            namesake.loop_start()
            assert until(lambda connects=connects: client.connects > connects)
            namesake.loop_stop()
    losses = [line["problem"] for line in logged if line["log_level"] == "warning"]
    assert len(losses) == 3
    assert "give each device another name" in losses[-1].lower()


def test_pauses_after_unexpected_failures_have_jitter_too(monkeypatch):
    class Broken:
        def __init__(self, *args):
            raise RuntimeError("bug")

    monkeypatch.setattr("edge_runtime.messaging.mqtt.session.MqttSession", Broken)
    monkeypatch.setattr("random.uniform", lambda least, most: least)
    crashes = Crashes()
    settings = MqttSettings("127.0.0.1", "box", reconnect_min_s=0.01, reconnect_max_s=0.04)
    client = MqttClient(settings, crashes)
    with structlog.testing.capture_logs() as logged:
        client.start()
        assert until(lambda: crashes.total >= 4)
    client.stop()
    pauses = [entry["retry_in_s"] for entry in logged if "retry_in_s" in entry][:4]
    assert pauses == pytest.approx([0.005, 0.01, 0.02, 0.02])


def test_an_unknown_host_is_reported_and_tried_again(make_client):
    class Nowhere:
        host, port = "no-such-host.invalid", 1883

    client, _ = make_client(Nowhere)
    client.start()
    assert until(lambda: "cannot be resolved" in client.problem, 20)


def test_it_reconnects_and_subscribes_again_after_kill_9(tmp_path, make_client, watch):
    with Mosquitto(tmp_path / "killed") as broker:
        client, topics = make_client(broker)
        seen = []
        client.subscribe("ping", lambda message: seen.append(message.payload))
        client.set_state(b"{}")
        client.start()
        for round_ in range(3):
            assert until(lambda round_=round_: client.connects == round_ + 1)
            watcher = watch(broker)
            watcher.client.publish("ping", str(round_), qos=1)
            assert until(lambda round_=round_: seen == [str(n).encode() for n in range(round_ + 1)])
            assert until(lambda watcher=watcher, topics=topics: watcher.payloads(topics.state) == [b"{}"])
            broker.kill()
            assert until(lambda: client.session is None)
            broker.start()
        assert until(lambda: client.session is not None)


def test_a_topic_without_a_handler_is_unsubscribed(broker, make_client, watch):
    client, _ = make_client(broker)
    first, second = [], []
    end_first = client.subscribe("belt", lambda message: first.append(message.payload))
    end_second = client.subscribe("belt", lambda message: second.append(message.payload))
    client.subscribe("done", lambda message: first.append(message.payload))
    client.start()
    assert until(lambda: client.connects)
    watcher = watch(broker)
    end_first()
    end_first()
    watcher.client.publish("belt", "1", qos=1)
    assert until(lambda: second == [b"1"])
    end_second()
    watcher.client.publish("belt", "2", qos=1)
    watcher.client.publish("done", "3", qos=1)
    assert until(lambda: first == [b"3"])
    assert second == [b"1"]


def test_a_frozen_broker_is_noticed(tmp_path, make_client):
    with Mosquitto(tmp_path / "frozen") as broker:
        client, _ = make_client(broker, keepalive_s=1)
        client.start()
        assert until(lambda: client.connects)
        broker.freeze()
        assert until(lambda: client.session is None)
        broker.thaw()
        assert until(lambda: client.session is not None)


def test_stop_is_quick_when_the_broker_is_frozen(tmp_path, make_client):
    with Mosquitto(tmp_path / "frozen") as broker:
        client, _ = make_client(broker)
        client.start()
        assert until(lambda: client.connects)
        broker.freeze()
        started_s = time.monotonic()
        client.stop(1.0)
        assert time.monotonic() - started_s < WAIT_S / 2


def test_the_last_will_is_seen_when_the_process_is_killed(broker, watch):
    code = f"""
        from edge_runtime.messaging.mqtt.client import MqttClient
        from edge_runtime.messaging.mqtt.settings import MqttSettings
        from edge_runtime.system.log import configure_log
        from edge_runtime.system.supervised_thread import Crashes
        from tests.support.waiting import until
        configure_log()  # to standard error
        client = MqttClient(MqttSettings("{broker.host}", "victim", port={broker.port}), Crashes())
        client.start()
        assert until(lambda: client.connects)
        print("online", flush=True)
        input()
    """
    watcher = watch(broker)
    command = [sys.executable, "-c", textwrap.dedent(code)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout.readline() == "online\n"
        assert until(lambda: watcher.payloads("edge/victim/availability") == [b"online"])
        process.send_signal(signal.SIGKILL)
    assert until(lambda: watcher.payloads("edge/victim/availability") == [b"online", b"offline"])


def test_the_right_password_is_accepted_and_a_wrong_one_explained(tmp_path, make_client):
    with Mosquitto(tmp_path / "guarded", passwords={"belt": "s3cret"}) as broker:
        client, _ = make_client(broker, user="belt", password="s3cret")
        client.start()
        assert until(lambda: client.connects)
        for wrong in ({"user": "belt", "password": "no"}, {}):
            other, _ = make_client(broker, device="other", **wrong)
            other.start()
            assert until(lambda other=other: "mqtt.password" in other.problem), other.problem
            assert "s3cret" not in repr(other._settings) + other.problem
            other.stop()


def test_tls_with_the_right_authority_is_accepted(tmp_path, make_client, tls_files):
    with Mosquitto(tmp_path / "tls", tls=tls_files) as broker:
        client, _ = make_client(broker, tls=TlsConfig(ca=tls_files.ca))
        client.start()
        assert until(lambda: client.connects), client.problem


def test_tls_faults_are_explained(tmp_path, make_client, tls_files, broker):
    untrusted = make_tls_files(tmp_path / "untrusted")
    misnamed = make_tls_files(tmp_path / "misnamed", server_name="elsewhere.example")
    plain = broker
    with (
        Mosquitto(tmp_path / "tls", tls=tls_files) as secure,
        Mosquitto(tmp_path / "named", tls=misnamed) as elsewhere,
    ):
        for target, tls, says in (
            (secure, TlsConfig(ca=untrusted.ca), "not trusted"),
            (elsewhere, TlsConfig(ca=misnamed.ca), "not trusted"),
            (secure, TlsConfig(), "not trusted"),
            (plain, TlsConfig(ca=tls_files.ca), "does the broker speak TLS"),
            (secure, None, "want TLS or a certificate"),
        ):
            client, _ = make_client(target, tls=tls)
            client.start()
            assert until(lambda client=client, says=says: says in client.problem), (
                says,
                client.problem,
            )
            client.stop()


def test_a_client_certificate_is_sent_and_a_missing_one_explained(tmp_path, make_client, tls_files):
    with Mosquitto(tmp_path / "mutual", tls=tls_files, wants_client_cert=True) as broker:
        good = TlsConfig(ca=tls_files.ca, cert=tls_files.client_cert, key=tls_files.client_key)
        client, _ = make_client(broker, tls=good)
        client.start()
        assert until(lambda: client.connects), client.problem
        without, _ = make_client(broker, device="without", tls=TlsConfig(ca=tls_files.ca))
        without.start()
        assert until(lambda: "certificate" in without.problem), without.problem


def test_a_server_that_never_answers_is_given_up(make_client):
    with socket.create_server(("127.0.0.1", 0)) as silent:

        class Silent:
            host, port = silent.getsockname()

        client, _ = make_client(Silent, connect_timeout_s=0.3)
        client.start()
        assert until(lambda: "no answer" in client.problem)


def test_a_broker_that_allows_fewer_unacknowledged_messages_is_obeyed(tmp_path, make_client):
    with Mosquitto(tmp_path / "narrow", extra="max_inflight_messages 3\nmax_packet_size 2000") as broker:
        client, topics = make_client(broker)
        client.start()
        assert until(lambda: client.connects)
        assert client.session.max_inflight == 3
        sink = MqttSink(client)
        sink.poll()
        assert sink.capacity() == 3
        row = Row(1, topics.event, b"x" * 3000, 0.0)
        assert sink.send(row)
        assert sink.poll().refused == {1: TOO_LARGE}
        assert "2000" in sink.problem
        assert client.session is not None


def test_a_row_is_settled_when_the_broker_has_it(broker, make_client):
    client, topics = make_client(broker)
    sink = MqttSink(client)
    assert sink.epoch is None
    assert not sink.send(Row(1, topics.event, b"{}", 0.0))
    client.start()
    assert until(lambda: sink.poll() and sink.epoch)
    assert sink.send(Row(7, topics.event, b"{}", 0.0))
    assert until(lambda: sink.poll().delivered == [7])


def test_a_full_window_of_a_lost_connection_does_not_block_the_next_one(tmp_path, make_client):
    with Mosquitto(tmp_path / "window") as broker:
        client, topics = make_client(broker, max_inflight=2)
        sink = MqttSink(client)
        client.start()
        assert until(lambda: sink.poll() and sink.epoch)
        broker.freeze()
        assert all(sink.send(Row(number, topics.event, b"{}", 0.0)) for number in (1, 2))
        assert sink.capacity() == 0
        broker.kill()
        assert until(lambda: sink.epoch is None)
        sink.poll()
        broker.start()
        assert until(lambda: sink.poll() and sink.epoch)
        assert sink.capacity() == 2


def test_refused_by_access_rules_is_one_row_denied_and_the_link_goes_on(tmp_path, make_client):
    (tmp_path / "acl").write_text("topic readwrite elsewhere/#\n")
    with Mosquitto(tmp_path / "rules", extra=f"acl_file {tmp_path / 'acl'}") as broker:
        client, topics = make_client(broker)
        sink = MqttSink(client)
        client.start()
        assert until(lambda: sink.poll() and sink.epoch)
        assert sink.send(Row(7, topics.event, b"{}", 0.0))
        assert sink.send(Row(8, "elsewhere/x", b"{}", 0.0))
        reports = []
        assert until(lambda: reports.append(sink.poll()) or any(one.delivered == [8] for one in reports))
        denied = {row_id: denial for one in reports for row_id, denial in one.denied.items()}
        assert denied == {7: Denial("not authorized by the broker's access rules")}
        assert sink.epoch is client.session


def test_threads_and_descriptors_stay_flat_over_many_reconnections(tmp_path):
    broker = Mosquitto(tmp_path / "often")
    code = f"""
        import json, os, threading
        from edge_runtime.messaging.mqtt.client import MqttClient
        from edge_runtime.messaging.mqtt.settings import MqttSettings
        from edge_runtime.system.log import configure_log
        from edge_runtime.system.supervised_thread import Crashes
        from tests.support.waiting import until
        configure_log()  # to standard error
        quick = dict(reconnect_min_s=0.05, reconnect_max_s=0.2)
        client = MqttClient(MqttSettings("{broker.host}", "often", port={broker.port}, **quick), Crashes())
        client.start()
        while True:
            connects = int(input())
            assert until(lambda: client.connects >= connects and client.session is not None)
            print(json.dumps([threading.active_count(), len(os.listdir("/proc/self/fd"))]), flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # A process without anything else: what other tests left in this one may come and go.
    with broker, subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:

        def counted(connects):
            process.stdin.write(f"{connects}\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        before, after = counted(1), []
        for connects in range(2, 12):
            broker.kill()
            broker.start()
            after.append(counted(connects))
        process.kill()
    assert after == [before] * 10
