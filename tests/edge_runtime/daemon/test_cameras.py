"""Streams that are opened and closed while others run, with the shipped fake source."""

import threading
import time
from functools import partial

import numpy as np
import pytest

from edge_runtime.config import CameraConfig
from edge_runtime.daemon.cameras import GRACE_S, Cameras
from edge_runtime.daemon.health import EngineFacts, Facts, find, judge
from edge_runtime.datatypes import Frame, Generation
from edge_runtime.errors import SourceLost
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.metrics import StreamMetrics
from edge_runtime.sources.reopen import Backoff
from edge_runtime.system.supervised_thread import CRASHES_IN_A_ROW, Crashes
from tests.support.fake_engine import FakeEngine
from tests.support.fake_source import FakeSource
from tests.support.waiting import WAIT_S, until


class ScriptedPipeline:
    """Takes frames; remembers what was asked of it."""

    def __init__(self):
        self.frames, self.forgotten, self.metrics, self.came = [], [], self, threading.Event()
        self.resting = []
        self.slot = EngineSlot(Generation("parts/1"), FakeEngine())

    model = "parts"

    def run_short(self, stream, *, only_full):
        return None

    def accept(self, frame, *, is_live, stop, runs_short):
        self.frames.append(frame)
        self.came.set()
        return True

    def rest(self, stream):
        self.resting.append(stream)

    def forget(self, stream):
        self.forgotten.append(stream)

    def stream(self, name):
        return StreamMetrics()


def frame(seq):
    return Frame("belt", seq, np.zeros((8, 8, 3), np.uint8), 0.0, 0.0)


def camera(**options):
    return CameraConfig(path="rtsp://camera/1", model="parts", **options)


@pytest.fixture
def open_cameras(tmp_path):
    made = []

    def make(open_source, on_fatal=lambda reason: None):
        made.append(Cameras(open_source, tmp_path / "streams", Crashes(on_fatal)))
        return made[-1]

    yield make
    for cameras in made:
        cameras.stop_all()


def test_frames_of_an_open_stream_reach_its_pipeline(open_cameras):
    cameras, pipeline = open_cameras(lambda *_: FakeSource("belt", [frame(0)])), ScriptedPipeline()
    cameras.open("belt", camera(), pipeline)
    assert until(cameras.are_finished)
    assert [f.seq for f in pipeline.frames] == [0]
    assert cameras.status({})["belt"].finished


def test_a_closed_stream_is_gone_and_what_it_had_waiting_is_dropped(open_cameras):
    cameras, pipeline = open_cameras(lambda *_: FakeSource("belt", [None] * 1000)), ScriptedPipeline()
    cameras.open("belt", camera(), pipeline)
    cameras.close("belt")
    cameras.close("belt")
    assert cameras.status({}) == {}
    assert pipeline.forgotten == ["belt"]


def test_counts_of_a_stream_go_on_when_its_source_or_the_stream_is_opened_again(open_cameras):
    scripts = iter([[frame(0), SourceLost("belt", "unplugged")], [frame(1), frame(2)], [frame(3), None]])
    cameras, pipeline = open_cameras(lambda *_: FakeSource("belt", next(scripts))), ScriptedPipeline()
    cameras.open("belt", camera(), pipeline)
    assert until(cameras.are_finished)
    assert (cameras.counts()["belt"].captured, cameras.counts()["belt"].restarts) == (3, 1)
    cameras.close("belt")
    cameras.open("belt", camera(), pipeline)
    assert until(cameras.are_finished)
    counts = cameras.counts()["belt"]
    assert (counts.captured, counts.delivered, counts.restarts, counts.last_problem) == (4, 4, 1, None)


@pytest.mark.integration
def test_a_moved_stream_goes_on_in_the_other_pipeline_with_its_next_frame(open_cameras):
    old, new, opened = ScriptedPipeline(), ScriptedPipeline(), []

    def endless(*_):
        opened.append(1)
        return FakeSource("belt", [frame(seq) for seq in range(200_000)])

    cameras = open_cameras(endless)
    cameras.open("belt", camera(), old)
    assert old.came.wait(WAIT_S)
    cameras.move({"belt": new})
    taken = len(old.frames)
    assert new.came.wait(WAIT_S)
    assert len(old.frames) == taken, "the old pipeline gets nothing after the move"
    assert new.frames[0].seq == old.frames[-1].seq + 1
    assert len(opened) == 1
    cameras.close("belt")
    assert (old.forgotten, new.forgotten) == ([], ["belt"])


@pytest.mark.parametrize(
    ("path", "is_ready"),
    [
        ("rtsp://camera/1", False),
        ("/dev/video0", False),
        ("/dev/v4l/by-id/usb-cam-index0", False),
        ("clips/belt.mp4", True),
        ("mqtt", True),
    ],
)
def test_a_silent_camera_makes_the_box_unready_whichever_path_it_has(open_cameras, path, is_ready):
    cameras = open_cameras(lambda *_: FakeSource("belt", [None] * 1_000_000))
    cameras.open("belt", CameraConfig(path=path, model="parts"), ScriptedPipeline())
    engine, now_s = EngineFacts("parts", last_progress_at_s=None, due_since_s=None), time.monotonic() + 900
    facts = Facts((engine,), cameras.facts(), broker_connected=True, free_disk_mib=1000)
    assert judge(find(facts, now_s)).ready is is_ready


def test_without_streams_nothing_is_finished(open_cameras):
    assert not open_cameras(lambda *_: None).are_finished()


def test_a_lost_source_is_a_problem_in_facts_and_status(open_cameras):
    def lost(*_):
        raise SourceLost("belt", "unplugged")

    cameras = open_cameras(lost)
    cameras.open("belt", camera(), ScriptedPipeline())
    assert until(lambda: cameras.facts()[0].problem == "unplugged")
    assert cameras.status({})["belt"].problem == "unplugged"


def test_one_broken_camera_does_not_end_the_daemon(open_cameras, monkeypatch):
    tries, fatal = [], []

    def broken(*_):
        tries.append(1)
        raise RuntimeError("bug in one source")

    monkeypatch.setattr("edge_runtime.daemon.cameras.Backoff", partial(Backoff, first_s=0.001, limit_s=0.001))
    cameras = open_cameras(broken, on_fatal=fatal.append)
    cameras.open("belt", camera(), ScriptedPipeline())
    assert until(lambda: len(tries) > CRASHES_IN_A_ROW)  # so often it would be fatal in a vital thread
    assert fatal == []
    assert "bug in one source" in cameras.facts()[0].problem


def test_a_slow_camera_is_not_silent_between_two_of_its_pictures(open_cameras):
    cameras = open_cameras(lambda *_: FakeSource("belt", []))
    cameras.open("belt", camera(fps=0.1, stall_timeout_s=5), ScriptedPipeline())
    assert cameras.facts()[0].allowed_silence_s == 10 + 5 + GRACE_S


def test_a_camera_of_rare_key_frames_is_not_silent_between_two_of_them(open_cameras):
    cameras = open_cameras(lambda *_: FakeSource("belt", [], interval_s=20.0))
    cameras.open("belt", camera(fps=1, stall_timeout_s=5), ScriptedPipeline())
    assert until(lambda: cameras.facts()[0].allowed_silence_s == 20 + 5 + GRACE_S)


def test_a_stream_that_ended_says_so_to_its_pipeline(open_cameras):
    cameras, pipeline = open_cameras(lambda *_: FakeSource("belt", [frame(0)])), ScriptedPipeline()
    cameras.open("belt", camera(), pipeline)
    assert until(cameras.are_finished)
    assert until(lambda: pipeline.resting == ["belt"])


def test_the_next_opening_goes_on_with_higher_numbers(open_cameras):
    firsts = []

    def source(stream, config, first_seq, _):
        firsts.append(first_seq)
        return FakeSource("belt", [frame(first_seq)])

    cameras = open_cameras(source)
    for _ in range(2):
        cameras.open("belt", camera(), ScriptedPipeline())
        assert until(cameras.are_finished)
        cameras.close("belt")
    assert firsts == [0, 1]  # an edit leaves no gap


def test_numbers_go_on_above_those_of_a_stream_that_does_not_end(open_cameras, monkeypatch):
    firsts, hold = [], threading.Event()

    class Stuck(FakeSource):
        def read(self, timeout_s):
            hold.wait(WAIT_S)
            return super().read(timeout_s)

    def source(stream, config, first_seq, _):
        firsts.append(first_seq)
        return Stuck("belt", [frame(first_seq)]) if len(firsts) == 1 else FakeSource("belt", [])

    monkeypatch.setattr("edge_runtime.daemon.cameras.CLOSE_S", 0.05)
    cameras = open_cameras(source)
    for _ in range(2):
        cameras.open("belt", camera(), ScriptedPipeline())
        assert until(lambda: firsts)
        cameras.close("belt")
    hold.set()
    assert until(lambda: len(firsts) == 2)
    assert firsts[1] >= 10_000
