"""Which picture a result belongs to, and that a watched folder is answered once; daemons are restarted and killed."""

import json
import shutil
from collections import Counter

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.listener import Listener
from tests.support.mosquitto import Mosquitto
from tests.support.paths import DEMO
from tests.support.waiting import WAIT_S, pause, until

pytestmark = pytest.mark.integration

PICTURES = sorted((DEMO / "pictures").glob("*.jpg"))
LOOKS_S = 2.0
"""A watched folder gives a new picture after two looks, at most 1 s: by then an unwanted one would have come."""


class Inbox:
    """A watched folder, and the box that answers it."""

    def __init__(self, box):
        self.box, self.folder = box, box.folder / "inbox"
        self.folder.mkdir()
        self.configure()

    def configure(self, **options):
        camera = {"path": str(self.folder), "model": "parts", "watch": True, **options}
        models = {"parts": {"bundle": "demo:efficientnet-lite0", "recalibrate": False}}
        self.box.write(cameras={"inbox": camera}, models=models)

    def add(self, *names):
        for number, name in enumerate(names):
            partial = self.folder / f".{name}"
            shutil.copy(PICTURES[number % len(PICTURES)], partial)
            partial.rename(self.folder / name)

    def answered(self):
        """How often each file was answered; after a kill one answer may be delivered twice, with the same id."""
        answers = {result["id"]: result["input"]["name"] for result in self.box.results()}
        return Counter(answers.values())

    def recorded(self):
        path = self.box.state / "streams" / "inbox.answered"
        return (path.stat().st_size - 16) // 20 if path.exists() else 0

    def stop(self):
        self.box.process.terminate()
        assert self.box.wait(WAIT_S) == 0


def test_a_watched_folder_is_answered_once_across_an_edit_and_a_restart(box):
    inbox = Inbox(box)
    inbox.add("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg")
    (inbox.folder / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    box.start()
    assert until(lambda: len(box.results("rejected")) == 1 and len(inbox.answered()) == 5)
    [rejected] = box.results("rejected")
    assert (rejected["input"]["name"], rejected["model"], rejected["stream"]) == ("bad.jpg", "parts", "inbox")
    inbox.configure(fps=20)
    assert until(lambda: any(event["event"] == "config" for event in box.events()))
    inbox.add("6.jpg")
    assert until(lambda: "6.jpg" in inbox.answered())
    pause(LOOKS_S)
    inbox.stop()
    inbox.add("7.jpg", "8.jpg")
    (inbox.folder / "1.jpg").write_bytes(PICTURES[3].read_bytes() + b"another picture of this name")
    box.start()
    assert until(lambda: {"7.jpg", "8.jpg"} <= inbox.answered().keys() and inbox.answered()["1.jpg"] == 2)
    pause(LOOKS_S)
    inbox.stop()
    assert inbox.answered() == Counter({f"{n}.jpg": 1 for n in range(1, 9)} | {"1.jpg": 2})
    assert len(box.results("rejected")) == 1
    ids = [result["id"] for result in (*box.results(), *box.results("rejected"))]
    assert len(ids) == len(set(ids))


def test_after_kill_9_no_file_is_lost_and_few_come_twice(box):
    inbox = Inbox(box)
    inbox.configure(fps=30)
    names = [f"{number}.jpg" for number in range(60)]
    inbox.add(*names)
    box.start()
    assert until(lambda: inbox.recorded() > 10)
    box.process.kill()
    box.wait()
    recorded = inbox.recorded()
    box.start()
    assert until(lambda: len(inbox.answered()) == len(names))
    inbox.stop()
    repeated = sum(count - 1 for count in inbox.answered().values())
    assert repeated <= len(names) - recorded
    assert max(inbox.answered().values()) <= 2
    assert inbox.recorded() >= len(names)


class Sender(Listener):
    """A client that sends pictures and hears what becomes of them."""

    def send(self, picture, correlation, response_topic, **properties):
        given = Properties(PacketTypes.PUBLISH)
        given.CorrelationData, given.ResponseTopic, given.ContentType = (
            correlation,
            response_topic,
            "image/jpeg",
        )
        given.UserProperty = list(properties.items())
        self.client.publish("edge/box/picture/gate", picture, qos=1, properties=given, retain=True)


def test_a_picture_over_mqtt_is_answered_to_its_sender(box, tmp_path):
    with Mosquitto(tmp_path / "broker") as broker:
        broker_keys = {"host": broker.host, "port": broker.port, "response_prefixes": ["cell"]}
        box.write(cameras={"gate": {"path": "mqtt", "model": "parts"}}, mqtt=broker_keys)
        sender = Sender(broker)
        box.start()
        assert until(lambda: [m for m in sender.on("edge/box/availability") if m.payload == b"online"])
        sender.send(
            PICTURES[0].read_bytes(), b"job 7", "edge/box/response/robot",
            lot="A7", captured_at="2026-11-23T15:20:59Z",
        )  # fmt: skip
        sender.send(b"garbage", b"\x00\x01", "cell/answers")
        sender.send(PICTURES[1].read_bytes(), b"job 9", "edge/other/response/x")
        assert until(lambda: len(sender.on("edge/box/result/gate")) == 2)
        assert until(lambda: sender.on("edge/box/response/robot") and sender.on("cell/answers"))
        [answer], [refusal] = sender.on("edge/box/response/robot"), sender.on("cell/answers")
        first, third = (json.loads(message.payload) for message in sender.on("edge/box/result/gate"))
        assert json.loads(answer.payload) == first
        assert answer.properties.CorrelationData == b"job 7"
        assert first["input"] == {
            "captured_at": "2026-11-23T15:20:59.000Z", "correlation": "job 7", "content_type": "image/jpeg",
            "properties": {"lot": "A7"},
        }  # fmt: skip
        assert refusal.properties.CorrelationData == b"\x00\x01"
        [rejected] = sender.on("edge/box/rejected/gate")
        assert json.loads(refusal.payload) == json.loads(rejected.payload)
        assert json.loads(rejected.payload)["input"]["correlation_base64"] == "AAE="
        assert third["input"]["left_out"] == ["response_topic"]
        assert not sender.on("edge/other/response/x")
        sender.close()
