"""A whole daemon that scores anomalies: no verdict before it is commissioned, the same threshold after a restart."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_runtime.inference.npy import write_npy
from edge_runtime.inference.specs import AnomalySpec
from tests.support.command_line import run_command
from tests.support.onnx_nets import Net
from tests.support.signal_bundles import FREQUENCIES_HZ, LENGTH, build_signal_bundle, machine_windows
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration
SPEC = AnomalySpec(task="anomaly", score="reconstruction", factor=2.0)
TOPIC = "plant/pump/accel"
WORN = len(FREQUENCIES_HZ) - 1
"""The class that shakes fastest."""


def autoencoder():
    """Gives slow movements again and loses fast ones: an average of five samples, channel by channel."""
    net, each = Net(), np.eye(3, dtype=np.float32)[:, :, None]
    average = net.weight("average", np.repeat(each / 5, 5, axis=2))
    x = net.add("Conv", ["input", average], "slow", pads=[2, 2], kernel_shape=[5])
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    stats = [
        net.weight(f"bn_{name}", one) for name, one in zip("sbmv", (ones, zeros, zeros, ones), strict=True)
    ]
    x = net.add("BatchNormalization", [x, *stats], "bn", epsilon=0.0)
    net.add("Conv", [x, net.weight("same", each)], "again", kernel_shape=[1])
    return net.model("again", ("N", 3, LENGTH), ("N", 3, LENGTH))


class Pump:
    """Publishes windows of one of the classes."""

    def __init__(self, broker):
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        self.sent = self.sent_before = 0
        """Windows, and those before the daemon began."""

    def shake(self, which):
        """One window, of other noise each time."""
        self.sent += 1
        window = machine_windows(which + 1, seed=self.sent)[which]
        self.client.publish(TOPIC, write_npy(window), qos=1).wait_for_publish(WAIT_S)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def pump(broker):
    pump = Pump(broker)
    yield pump
    pump.close()


def start(box, broker):
    """Until it listens to the pump."""
    subscribed = f"{TOPIC} (QoS"
    before = broker.log.count(subscribed)
    box.start()
    assert until(lambda: broker.log.count(subscribed) > before), box.log()


def find_model(box):
    return ((box.status() or {}).get("models") or {}).get("machine") or {}


def answer(box, pump, which):
    """The anomaly in the result of a new window, after those that are on their way."""
    pump.shake(which)

    def has_all():
        stream = find_model(box).get("streams", {}).get("pump", {})
        return stream.get("results") == pump.sent - pump.sent_before

    assert until(has_all), (box.status(), box.log())
    return box.get("/results?most=1").json()["results"][0]["anomaly"]


def see_window(box, pump):
    """The chart of a window that comes meanwhile."""
    with ThreadPoolExecutor(1) as asking:
        coming = asking.submit(box.get, "/sensors/pump/window.svg")
        assert until(lambda: coming.done() or pump.shake(0))
    return coming.result().text


def has_threshold(box, pump):
    """Whether a baseline is in use, after one more healthy window."""
    is_commissioned = (find_model(box).get("recalibration") or {}).get("commissioned")
    return answer(box, pump, 0)["threshold"] is not None and is_commissioned


def test_the_threshold_comes_with_the_baseline_and_stays_over_a_restart(box, broker, pump, tmp_path):
    bundle = build_signal_bundle(tmp_path, model=autoencoder(), postprocess=SPEC, labels=())
    box.write(
        models={"machine": {"bundle": str(bundle), "max_age_ms": None}},
        sensors={"pump": {"path": "mqtt", "model": "machine", "topic": TOPIC, "payload": {"format": "npy"}}},
        mqtt={"host": broker.host, "port": broker.port, "commands": True},
        recalibration={"on_drift": False, "commission": {"frames": 32}},
        drift={"window_frames": 16, "sample_every_s": 0.01},
    )
    start(box, broker)
    first = answer(box, pump, WORN)
    assert (first["threshold"], first["is_anomalous"]) == (None, None)
    assert see_window(box, pump).startswith("<svg")
    code, written = run_command("send", "commission", "--config", str(box.file), "--json")
    assert code == 0, written
    assert until(lambda: has_threshold(box, pump)), (box.events(), box.log())
    healthy, worn = answer(box, pump, 0), answer(box, pump, WORN)
    assert healthy["score"] < healthy["threshold"] < worn["score"]
    assert (healthy["is_anomalous"], worn["is_anomalous"]) == (False, True)
    assert find_model(box)["answers"][-1]["labels"]["anomalous"] == 1
    box.process.terminate()
    box.wait()
    start(box, broker)
    pump.sent_before = pump.sent
    again = answer(box, pump, WORN)
    assert again["threshold"] == worn["threshold"]
    assert again["is_anomalous"] is True
