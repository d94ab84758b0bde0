"""A whole daemon that answers windows of a sensor, whose samples come over a real broker."""

import json
import random
import subprocess
import threading
from collections import Counter

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_runtime.inference.npy import write_npy
from tests.support.daemon_box import Box
from tests.support.mosquitto import Mosquitto
from tests.support.signal_bundles import (
    CHANNELS,
    LABELS,
    LENGTH,
    RATE_HZ,
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

    def is_rejecting(self):
        """Whether the box is unready since all that comes is rejected, and not since nothing comes."""
        reasons = self.box.status()["health"]["reasons"]
        return any(reason.startswith("source pump: the last ") for reason in reasons)

    def samples(self):
        return self.box.status()["cameras"]["pump"]["samples"]

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
    # No limit: the samples of half a minute are sent at once.
    with Mosquitto(tmp_path / "broker", extra="max_queued_messages 0") as broker:
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


def readings_of(windows, seed):
    """The samples one after the other, 5 % of them lost and 10 % up to 0.3 s late; and what each window lost."""
    rng, began_s = random.Random(seed), 1_700_000_000.0
    rows, lost = [row for window in windows for row in window.tolist()], Counter()
    messages = []
    for i, row in enumerate(rows):
        at_s = began_s + i / RATE_HZ
        if i and rng.random() < 0.05:
            lost[i // LENGTH] += 1
            continue
        wait_s = rng.uniform(0, 0.3) if i and rng.random() < 0.1 else 0.0
        messages.append((at_s + wait_s, json.dumps({"t": at_s, **dict(zip(CHANNELS, row, strict=True))})))
    messages.sort(key=lambda one: one[0])
    return [text for _, text in messages], [lost[i] / LENGTH for i in range(len(windows))]


def test_single_samples_of_which_some_are_lost_and_some_late_give_the_right_windows(site):
    windows = machine_windows(9, seed=4)
    messages, lost = readings_of(windows, seed=1)
    site.start(payload={"format": "json", "time": "t"}, late_s=0.5)
    for message in messages:
        site.client.publish("plant/pump/accel", message, qos=1)
    assert until(lambda: len(site.results) == 8), (site.rejections, site.box.status()["cameras"])
    assert labels_of(site.results) == [*LABELS, *LABELS]
    assert [result["filled"] for result in site.results] == pytest.approx(lost[:8], abs=1e-4)
    assert [result["seq"] for result in site.results] == list(range(8))
    assert until(lambda: site.samples()["came"] == len(messages))
    assert site.samples() == {"came": len(messages), "late": 0, "duplicate": 0, "gaps": 0, "clock_jumps": 0}


RUBBISH = {
    b"": "empty",
    b"\xff\xfe{": "bad_encoding",
    b"not json": "unreadable",
    b'{"t": 1, "ax": 1}': "missing_channel",
    b'{"t": "soon", "ax": 1, "ay": 1, "az": 1}': "bad_time",
}


def test_rubbish_is_rejected_by_its_reason_and_makes_the_box_unready(site):
    site.start(payload={"format": "json", "time": "t"}, stall_timeout_s=1.0)
    messages, _ = readings_of(machine_windows(2, seed=4), seed=1)
    for message in messages:
        site.client.publish("plant/pump/accel", message, qos=1)
    assert until(lambda: site.results)
    stop = threading.Event()

    def disturb():
        while not stop.wait(0.02):
            for payload in RUBBISH:
                site.client.publish("plant/pump/accel", payload, qos=1)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        assert until(site.is_rejecting)
        assert not site.box.is_ready()
    finally:
        stop.set()
        thread.join()
    assert {one["rejected"] for one in site.rejections} >= set(RUBBISH.values())
    rejected = site.box.status()["models"]["machine"]["streams"]["pump"]["rejected"]
    assert rejected.keys() >= set(RUBBISH.values())
    assert site.box.status()["worker_failures"] == 0


def test_files_folders_and_standard_input_are_answered_and_edits_count_while_it_runs(tmp_path):
    build_signal_bundle(tmp_path / "bundles")
    windows, folder, box = machine_windows(4, seed=3), tmp_path / "windows", Box(tmp_path)
    rows = np.concatenate(windows)
    np.savetxt(tmp_path / "a.csv", rows, delimiter=",", header=",".join(CHANNELS), comments="")
    folder.mkdir()
    for i, window in enumerate(windows):
        (folder / f"{i}.npy").write_bytes(write_npy(window))
    models = {"m": {"bundle": str(tmp_path / "bundles/machine"), "recalibrate": False}}
    sensors = {
        "file": {"path": "a.csv", "model": "m", "pace": "fastest"},
        "folder": {"path": "windows", "model": "m", "watch": True, "pace": "fastest"},
        "lines": {"path": "-", "model": "m"},
    }
    box.write(models=models, sensors=sensors)
    box.start(stdin=subprocess.PIPE)
    try:
        for row in rows:
            box.process.stdin.write(json.dumps(dict(zip(CHANNELS, row, strict=True))).encode() + b"\n")
        box.process.stdin.flush()
        assert until(lambda: len(box.results()) == 12), box.log()
        for stream in sensors:
            assert labels_of(one for one in box.results() if one["stream"] == stream) == list(LABELS)
        del sensors["file"]
        box.write(models=models, sensors=sensors)
        assert until(lambda: box.status()["cameras"].keys() == sensors.keys())
        (folder / "short.npy").write_bytes(write_npy(windows[0][:100]))
        assert until(lambda: box.results("rejected"))
        assert [one["rejected"] for one in box.results("rejected")] == ["bad_shape"]
        box.check_results_file()
    finally:
        box.process.stdin.close()
        box.process.terminate()
        box.wait()
