"""A whole daemon that answers windows of a sensor, whose samples come over a real broker."""

import json

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_runtime.inference.npy import write_npy
from tests.support.daemon_box import Box
from tests.support.mosquitto import Mosquitto
from tests.support.signal_bundles import (
    LABELS,
    build_signal_bundle,
    machine_windows,
)
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


class Site:
    """A broker, a sensor that publishes, and a box."""

    def __init__(self, folder, broker):
        self.results, self.rejections = [], []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.on_message = lambda _c, _d, message: self._note(message)
        self.client.connect(broker.host, broker.port)
        self.client.subscribe([("edge/box/result/+", 1), ("edge/box/rejected/+", 1)])
        self.client.loop_start()
        self.box = Box(folder)
        build_signal_bundle(folder / "bundles")
        self.mosquitto = broker
        self.broker, self.folder = {"host": broker.host, "port": broker.port}, folder

    def start(self, **sensor):
        section = {"path": "mqtt", "model": "machine", "topic": "plant/pump/accel", **sensor}
        model = {"bundle": str(self.folder / "bundles/machine"), "recalibrate": False, "max_age_ms": None}
        self.box.write(models={"machine": model}, sensors={"pump": section}, mqtt=self.broker)
        self.box.start()
        assert until(lambda: "plant/pump/accel" in self.mosquitto.log), self.box.log()

    def send(self, payload):
        self.client.publish("plant/pump/accel", payload, qos=1).wait_for_publish(WAIT_S)

    def _note(self, message):
        kind = self.results if "/result/" in message.topic else self.rejections
        kind.append(json.loads(message.payload))

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
        if self.box.process is not None:
            self.box.process.terminate()
            self.box.wait()


@pytest.fixture
def site(tmp_path):
    with Mosquitto(tmp_path / "broker") as broker:
        one = Site(tmp_path, broker)
        yield one
        one.close()


def labels_of(results):
    return [result["top"][0]["label"] for result in results]


def test_each_message_that_is_a_window_is_answered(site):
    site.start(payload={"format": "npy"})
    for window in machine_windows(8, seed=3):
        site.send(write_npy(window))
    assert until(lambda: len(site.results) == 8), (site.rejections, site.box.status(), site.box.log())
    assert labels_of(site.results) == [*LABELS, *LABELS]
    assert until(site.box.is_ready)
