"""When Home Assistant is told of the box: at each connection, its own start and each edit; and never when it is off."""

from types import SimpleNamespace

import orjson
import pytest

from edge_runtime.config import Effect, changes, parse_config
from edge_runtime.daemon.home_assistant import AT_ONCE, SETTLE_S, SPREAD_S, HomeAssistant, find_values
from edge_runtime.daemon.model_runtime import ModelStatus
from edge_runtime.daemon.picture_sender import WAITING
from edge_runtime.daemon.running import Running
from edge_runtime.inference.specs import RawSpec, RegressionSpec, RegressionValue
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.events import DriftFigures
from edge_runtime.messaging.mqtt.message import Message
from edge_runtime.messaging.mqtt.topics import Topics, matches
from edge_runtime.system.supervised_thread import Crashes
from tests.support.home_assistant import check
from tests.support.model_status import status

TOPICS = Topics("edge", "box")
TOPIC = "homeassistant/device/edge/box/config"
YAML = """
device: box
models: {parts: {bundle: parts}}
cameras:
  belt: {path: rtsp://cam/1, model: parts}
  gate: {path: rtsp://cam/2, model: parts}
mqtt: {host: broker, home_assistant: {}}
"""
OFF = YAML.replace(", home_assistant: {}", "")
ONE_CAMERA = YAML.replace("  gate: {path: rtsp://cam/2, model: parts}\n", "")

DRIFTED = DriftFigures(True, 2.0, 1.0, 0.0, 1.0, True, "sensor", "layers", None, 99)


class Client:
    """A broker's client that notes what it is given."""

    def __init__(self):
        self.session, self.connects, self.room = object(), 1, 10**6
        self.handlers, self.retained, self.light = {}, [], []

    def subscribe(self, topic_filter, handler, *, keeps_retain_flag=True):
        assert not keeps_retain_flag  # else what another retains looks as if it had been stored
        self.handlers[topic_filter] = handler
        return lambda: self.handlers.pop(topic_filter)

    def publish_retained(self, topic, payload):
        if self.session is None or len(payload) > self.room:
            return False
        self.retained.append((topic, payload))
        return True

    def publish(self, topic, payload, *, is_light=False):
        assert is_light
        self.light.append((topic, orjson.loads(payload)))
        return True

    def find_room(self, topic):
        return None if self.session is None else self.room

    def hear(self, topic, payload, *, is_retained=False):
        for topic_filter, handler in tuple(self.handlers.items()):
            if matches(topic_filter, topic):
                handler(Message(topic, payload, is_retained=is_retained))

    def messages(self):
        """Taken: the discovery messages since the last time."""
        taken, self.retained = self.retained, []
        assert all(topic == TOPIC for topic, _ in taken)
        return [orjson.loads(payload) if payload else None for _, payload in taken]


class Bench:
    def __init__(self):
        manifest = SimpleNamespace(postprocess=SimpleNamespace(task="classification"))
        bundle = SimpleNamespace(manifest=manifest)
        self.model = SimpleNamespace(bundle=bundle, status=self.status, controller=None, rollout=None)
        self.client, self.crashes, self.looks = Client(), Crashes(), 0
        self.running = Running(
            parse_config(YAML, "box.yaml", {}),
            BrokerConnection(TOPICS, self.client, None, ()),
            {"parts": self.model},
        )
        self.pictures = []
        self.home = HomeAssistant(self.running, self.pictures.append, self.crashes, lambda: 0.5)
        self.now_s, self.is_drifted = 1000.0, False

    def status(self) -> ModelStatus:
        self.looks += 1
        return status(rollout=None, recalibration=SimpleNamespace(drift=DRIFTED) if self.is_drifted else None)

    def edit(self, text):
        self.running.config = parse_config(text, "box.yaml", {})

    def tick(self, after_s=0.25):
        self.now_s += after_s
        self.home.tick(self.now_s)
        assert self.crashes.total == 0
        return self.client.messages()


@pytest.fixture
def bench():
    return Bench()


def test_off_it_neither_listens_nor_speaks_nor_looks(bench):
    bench.edit(OFF)
    assert bench.tick() == bench.tick(60) == []
    assert (bench.client.handlers, bench.client.light, bench.looks) == ({}, [], 0)


def test_it_speaks_once_after_each_connection(bench):
    (message,) = bench.tick()
    check(message)
    assert bench.tick() == bench.tick(60) == []
    bench.client.session = None
    assert bench.tick() == []
    bench.client.session, bench.client.connects = object(), 2
    assert bench.tick() == [message]


def test_it_speaks_again_soon_after_home_assistant_has_started(bench):
    (message,) = bench.tick()
    for payload, is_retained in ((b"offline", False), (b"online", True)):
        bench.client.hear("homeassistant/status", payload, is_retained=is_retained)
        assert bench.tick(SPREAD_S) == bench.tick(SPREAD_S) == []
    bench.client.hear("homeassistant/status", b"online")
    assert bench.tick() == []
    assert bench.tick(SPREAD_S) == [message]


def test_an_edit_is_told_and_what_is_gone_is_marked(bench):
    bench.tick()
    bench.edit(ONE_CAMERA)
    (message,) = bench.tick()
    check(message)
    gone = {key: one for key, one in message["components"].items() if key.startswith("camera_gate_")}
    assert gone == {f"camera_gate_{key}": {"platform": "sensor"} for key in ("label", "score", "fps")}
    bench.edit(YAML)
    (message,) = bench.tick()
    assert len(message["components"]["camera_gate_label"]) > 1


def test_an_edit_that_changes_no_entity_is_not_told(bench):
    bench.tick()
    bench.edit(YAML + "log: {level: debug}\n")
    assert bench.tick() == []


def test_what_the_broker_keeps_from_before_is_marked_as_gone(bench):
    (before,) = bench.tick()
    later = Bench()
    later.edit(ONE_CAMERA)
    (first,) = later.tick()
    assert "camera_gate_label" not in first["components"]
    later.client.hear(TOPIC, orjson.dumps(first))  # its own, as it comes back
    assert later.tick() == []
    later.client.hear(TOPIC, orjson.dumps(before), is_retained=True)
    (second,) = later.tick()
    assert second["components"]["camera_gate_label"] == {"platform": "sensor"}
    later.client.hear(TOPIC, orjson.dumps(second), is_retained=True)
    assert later.tick() == []


def test_turned_off_the_device_is_removed_also_when_the_broker_is_away_at_that_time(bench):
    (message,) = bench.tick()
    bench.client.session = None
    bench.edit(OFF)
    assert bench.tick() == []
    assert bench.client.handlers == {}
    bench.client.session = object()
    removal, nothing = bench.tick()
    check(removal)
    assert removal["components"] == {
        key: {"platform": one["platform"]} for key, one in message["components"].items()
    }
    assert nothing is None
    assert bench.tick(60) == []


def test_another_prefix_moves_the_device(bench):
    bench.tick()
    bench.edit(YAML.replace("{}}", "{discovery_prefix: ha}}"))
    bench.now_s += 1
    bench.home.tick(bench.now_s)
    assert [(topic, bool(payload)) for topic, payload in bench.client.retained] == [
        (TOPIC, True),
        (TOPIC, False),
        ("ha/device/edge/box/config", True),
    ]


def test_another_connection_is_listened_to_and_told(bench):
    bench.tick()
    old, bench.client = bench.client, Client()
    bench.running.connection = BrokerConnection(TOPICS, bench.client, None, ())
    assert len(bench.tick()) == 1
    assert old.handlers == {}
    assert set(bench.client.handlers) == {"homeassistant/status", TOPIC}


def test_figures_come_when_home_assistant_listens_and_then_every_few_seconds(bench):
    bench.tick()
    bench.tick(SETTLE_S)
    assert [topic for topic, _ in bench.client.light] == ["edge/box/figures"]
    for _ in range(40):
        bench.tick()
    assert len(bench.client.light) == 2
    assert bench.client.light[1][1]["cameras"] == {"belt": {"fps": 0.0}, "gate": {"fps": None}}


SHOWN = YAML.replace("model: parts}\n  gate", "model: parts, snapshots: true}\n  gate")


def test_pictures_of_cameras_that_may_be_seen_come_after_the_start_then_every_few_minutes(bench):
    bench.edit(SHOWN)
    bench.tick()
    assert bench.pictures == []
    bench.tick(SETTLE_S)
    bench.tick(299)
    assert bench.pictures == ["belt"]
    bench.tick(1)
    assert bench.pictures == ["belt"] * 2
    bench.client.hear("homeassistant/status", b"online")
    bench.tick()
    bench.tick(SPREAD_S)
    bench.tick(SETTLE_S)
    assert bench.pictures == ["belt"] * 3


def test_pictures_of_many_cameras_are_asked_for_a_few_at_a_time_and_none_is_left_out(bench):
    cameras = "".join(f"  c{i}: {{path: rtsp://cam/{i}, model: parts, snapshots: true}}\n" for i in range(63))
    bench.edit(YAML.replace("  belt: {path: rtsp://cam/1, model: parts}\n", cameras))
    bench.tick()
    bench.tick(SETTLE_S)
    asked = [len(bench.pictures)]
    while asked[-1] < 63:
        bench.tick()
        asked.append(len(bench.pictures))
        assert asked[-1] > asked[-2]
    assert max(b - a for a, b in zip([0, *asked], asked, strict=False)) <= AT_ONCE < WAITING
    assert sorted(bench.pictures) == sorted(f"c{i}" for i in range(63))


def test_at_a_drift_alarm_there_is_a_picture_at_once_and_one_only(bench):
    bench.edit(SHOWN)
    bench.tick()
    bench.tick(SETTLE_S)
    bench.pictures.clear()
    bench.is_drifted = True
    bench.tick(10)
    bench.tick()
    bench.tick(10)
    assert bench.pictures == ["belt"]


def test_without_the_key_no_picture_is_sent(bench):
    bench.edit(SHOWN.replace("home_assistant: {}", "home_assistant: {pictures_every_s: null}"))
    bench.tick()
    bench.tick(SETTLE_S)
    bench.tick(1000)
    assert bench.pictures == []


def test_safe_mode_leaves_the_entities_as_they_are(bench):
    bench.tick()
    config = bench.running.config
    bench.running.config = config.model_copy(update={"models": {}, "cameras": {}})
    assert bench.running.config.is_safe_mode
    assert bench.tick() == bench.tick(60) == []


def test_a_broker_that_takes_no_such_message_is_asked_once(bench):
    bench.client.room = 100
    assert bench.tick() == bench.tick() == []
    bench.client.room = 10**6
    assert bench.tick(60) == []
    bench.client.connects = 2
    assert len(bench.tick()) == 1


def test_an_edit_of_it_needs_no_new_connection():
    on, off = (parse_config(text, "box.yaml", {}) for text in (YAML, OFF))
    other = parse_config(YAML.replace("{}}", "{figures_every_s: 5}}"), "box.yaml", {})
    assert set(changes(on, off).values()) == set(changes(on, other).values()) == {Effect.LIVE}


def test_the_values_of_a_regression_are_found():
    values = (RegressionValue(name="heat", unit="degC"), RegressionValue(name="wear"))
    assert find_values(RegressionSpec(task="regression", values=values)) == values
    assert find_values(RawSpec()) == ()
