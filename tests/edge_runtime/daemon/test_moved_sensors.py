"""A sensor whose model is edited: its windows are cut for the pipeline that gets them, whichever comes first."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from edge_runtime.config import SensorConfig
from edge_runtime.daemon import cameras as cameras_module
from edge_runtime.daemon import workers
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.wiring.sensors import make_spec_finder
from edge_runtime.daemon.workers import StreamWorker
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

    model = "parts"

    def run_short(self, stream, *, only_full):
        return None

    def accept(self, frame, *, is_live, stop, runs_short):
        self.came.set()
        assert self.gate.wait(WAIT_S)
        self.prepared.append(self.preprocessor.prepare(frame))
        return True

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


def open_pump(pump, pipeline, stream="pump"):
    before = len(pump.opened)
    pump.cameras.open(stream, SensorConfig(path="mqtt", model="m"), pipeline)
    assert until(lambda: len(pump.opened) > before)


def test_windows_of_a_message_on_its_way_go_to_the_old_pipeline_and_later_ones_to_the_new(pump, monkeypatch):
    begin_move, has_begun = StreamWorker.begin_move, threading.Event()

    def note_begin(worker, pipeline):
        begin_move(worker, pipeline)
        has_begun.set()

    monkeypatch.setattr(StreamWorker, "begin_move", note_begin)
    old, new = Pipeline(4), Pipeline(6)
    new.gate.set()
    open_pump(pump, old)
    send(pump, 3, 4)
    assert old.came.wait(WAIT_S)
    moving = threading.Thread(target=pump.cameras.move, args=({"pump": new},))
    moving.start()
    assert has_begun.wait(WAIT_S)
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
    pump.cameras.move({"pump": new})
    send(pump, 1, 6)
    assert until(lambda: len(new.prepared) == 1)
    assert old.prepared == []
    assert not isinstance(new.prepared[0], Rejected)


def test_sensors_that_are_slow_to_answer_a_message_are_waited_for_together(pump, monkeypatch):
    old, new = Pipeline(4), Pipeline(4)
    for name in ("pump", "fan", "belt"):
        open_pump(pump, old, name)
        send(pump, 1, 4)
    deadlines = []
    end_move = StreamWorker.end_move

    def note_deadline(worker, deadline_s):
        deadlines.append(deadline_s)
        old.gate.set()
        end_move(worker, deadline_s)

    monkeypatch.setattr(StreamWorker, "end_move", note_deadline)
    new.gate.set()
    pump.cameras.move(dict.fromkeys(("pump", "fan", "belt"), new))
    assert (len(deadlines), len(set(deadlines))) == (3, 1)
    assert until(lambda: len(old.prepared + new.prepared) == 3)


def test_a_stream_that_waits_for_room_does_not_hold_up_the_move(pump, monkeypatch):
    monkeypatch.setattr(cameras_module, "MOVE_S", 0.0)
    monkeypatch.setattr(workers, "LOCK_S", 0.0)
    old, new = Pipeline(4), Pipeline(6)
    new.gate.set()
    open_pump(pump, old)
    send(pump, 1, 4)
    assert old.came.wait(WAIT_S)
    pump.cameras.move({"pump": new})
    assert old.prepared == [], "it still waits"
    send(pump, 1, 6)
    old.gate.set()
    assert until(lambda: len(new.prepared) == 1)
    assert len(old.prepared) == 1
