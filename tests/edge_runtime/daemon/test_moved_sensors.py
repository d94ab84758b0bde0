"""A sensor whose model is edited: its windows are cut for the pipeline that gets them, whichever comes first."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from edge_runtime.config import SensorConfig
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.wiring.sensors import make_spec_finder
from edge_runtime.datatypes import Rejected
from edge_runtime.inference.npy import write_npy
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.inference.specs import SignalSpec
from edge_runtime.sources.mqtt_signals import MqttSignalsSource
from edge_runtime.system.supervised_thread import Crashes
from tests.support.waiting import WAIT_S, until


def spec_of(length):
    return SignalSpec.model_validate({
        "kind": "signal", "channels": [{"name": "a"}], "rate_hz": 10, "length": length,
        "payload": {"format": "npy"},
    })  # fmt: skip


class Pipeline:
    """Prepares what it gets, and waits for ``gate`` before."""

    def __init__(self, length):
        self.preprocessor = make_preprocessor(spec_of(length))
        self.gate, self.came = threading.Event(), threading.Event()
        self.prepared = []

    is_short = False

    def short_wait_s(self):
        return None

    def accept(self, frame, *, is_live, stop, wakes_worker):
        self.came.set()
        assert self.gate.wait(WAIT_S)
        self.prepared.append(self.preprocessor.prepare(frame))

    def rest(self, stream):
        """Nothing waits here."""

    forget = rest


@pytest.fixture
def pump(tmp_path):
    opened = []

    def open_source(stream, section, first_seq, find_pipeline):
        opened.append(MqttSignalsSource(stream, make_spec_finder(find_pipeline, stream, section)))
        return opened[-1]

    cameras = Cameras(open_source, tmp_path, Crashes())
    yield SimpleNamespace(cameras=cameras, opened=opened)
    cameras.stop_all()


def send(pump, windows, length):
    values = np.arange(windows * length, dtype=np.float64)[:, None]
    pump.opened[-1].offer(write_npy(values), time.monotonic())


def open_pump(pump, pipeline):
    pump.cameras.open("pump", SensorConfig(path="mqtt", model="m"), pipeline)
    assert until(lambda: pump.opened)


def test_windows_of_a_message_on_its_way_go_to_the_old_pipeline_and_later_ones_to_the_new(pump):
    old, new = Pipeline(4), Pipeline(6)
    new.gate.set()
    open_pump(pump, old)
    send(pump, 3, 4)
    assert old.came.wait(WAIT_S)
    moving = threading.Thread(target=pump.cameras.move, args=("pump", new))
    moving.start()
    send(pump, 2, 6)
    old.gate.set()
    moving.join(WAIT_S)
    assert until(lambda: len(new.prepared) == 2)
    assert len(old.prepared) == 3
    assert not any(isinstance(one, Rejected) for one in old.prepared + new.prepared)


def test_a_silent_sensor_moves_without_a_message(pump):
    old, new = Pipeline(4), Pipeline(6)
    new.gate.set()
    open_pump(pump, old)
    pump.cameras.move("pump", new)
    send(pump, 1, 6)
    assert until(lambda: len(new.prepared) == 1)
    assert old.prepared == []
    assert not isinstance(new.prepared[0], Rejected)
