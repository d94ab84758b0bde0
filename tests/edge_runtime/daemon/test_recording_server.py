"""Recording a running daemon over its socket: who may, which cameras, how it ends, and a process that is killed."""

import contextlib
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from edge_runtime.config import CameraConfig, SensorConfig
from edge_runtime.daemon import recording_server
from edge_runtime.daemon.recording_server import MOST_REQUEST_BYTES, RecordingServer
from edge_runtime.errors import CommandError, StateError
from edge_runtime.messaging.events import RecordingBegun, RecordingEnded
from edge_runtime.recordings.client import Wanted, connect, reach_daemon
from edge_runtime.recordings.feed import Feed
from edge_runtime.recordings.reader import open_recording
from edge_runtime.recordings.wire import SOCKET_FILE
from edge_runtime.system.state_lock import lock_state_dir
from edge_runtime.system.supervised_thread import Crashes
from tests.support.command_line import run_command
from tests.support.paths import ROOT
from tests.support.pipeline_bench import make_frame
from tests.support.recordings import MIB, make_result, record_daemon
from tests.support.waiting import WAIT_S, until


def camera(**keys):
    return CameraConfig(path="rtsp://camera/1", model="parts", **keys)


def make_runtime():
    """What a recording says of a model."""
    slot = SimpleNamespace(generation="parts/1", engine=SimpleNamespace(runs_on="fake"))
    manifest = SimpleNamespace(files={"model.onnx": "0" * 64}, model="model.onnx")
    bundle = SimpleNamespace(manifest=manifest, id="parts/1", path=ROOT)
    return SimpleNamespace(bundle=bundle, controller=None, pipeline=SimpleNamespace(slot=slot))


class Site:
    """A daemon's end, and a thread that gives it frames and answers while it is on."""

    def __init__(self, folder):
        cameras = {
            "belt": camera(recordings=True),
            "gate": camera(),
            "yard": camera(recordings=True, enabled=False),
        }
        text = b"mqtt: {host: x, password: needle}\n"
        self.config = SimpleNamespace(
            device="box",
            state_dir=folder,
            streams={**cameras, "pump": SensorConfig(path="mqtt", model="parts")},
            section_of=lambda name: "sensors" if name == "pump" else "cameras",
            text=text,
        )
        self.running = SimpleNamespace(config=self.config, models={"parts": make_runtime()})
        self.feed, self.crashes, self.events = Feed(), Crashes(), []
        self.server = RecordingServer(self.running, self.feed, self.events.append, self.crashes)
        self.server.start()
        self.is_over, self.folder = threading.Event(), folder
        self.giver = threading.Thread(target=self.give)
        self.giver.start()

    def give(self):
        for seq in range(1_000_000):
            for stream in ("belt", "gate"):
                frame = make_frame(seq, stream, picture=np.full((20, 30, 3), seq % 256, np.uint8))
                self.feed.offer_frame(frame)
            self.feed.note_result(make_result(seq), {"y": np.array([seq], np.float32)})
            if self.is_over.wait(0.002):
                return

    def record(self, out, **wanted):
        return record_daemon(self.folder, out, **wanted)

    @contextlib.contextmanager
    def stop_after_a_frame(self, out):
        """Stops the daemon's end once the recording at ``out`` has a frame."""

        def stop():
            lines = out / "frames.jsonl"
            assert until(lambda: lines.exists() and lines.stat().st_size)
            self.server.stop()

        stopper = threading.Thread(target=stop)
        stopper.start()
        yield
        stopper.join(WAIT_S)

    def close(self):
        self.is_over.set()
        self.giver.join(WAIT_S)
        self.server.stop()


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / ("deep" * 40)  # the address of a socket has 108 bytes
    folder.mkdir()
    site = Site(folder)
    yield site
    site.close()
    assert site.crashes.total == 0


def test_frames_and_answers_come_as_they_were(site, tmp_path):
    manifest = site.record(tmp_path / "r")
    assert (manifest.device, manifest.cameras) == ("box", {"belt": "parts"})
    assert manifest.ended.counts.frames == 20
    found = open_recording(tmp_path / "r")
    assert {line.stream for line in found.frames} == {"belt"}
    for line in found.frames:
        assert (found.read_frame(line).payload == line.seq % 256).all()
        assert found.answers[line.key].raw["y"] == [line.seq]
    assert "needle" not in found.read_config()


def test_the_command_records_by_the_state_directory_alone(site, tmp_path):
    given = ("record", "--state-dir", site.folder, "--out", tmp_path / "r", "--frames", 3, "--json")
    code, said = run_command(*given)
    assert (code, orjson.loads(said)["ended"]["counts"]["frames"]) == (0, 3)
    assert run_command(*given)[0] == 74  # the folder is not empty
    assert run_command("record", "--out", tmp_path / "s") == (64, "")


def test_only_its_user_may_connect(site):
    assert stat.S_IMODE((site.folder / SOCKET_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("cameras", "said"),
    [
        (("gate",), r"cameras\.gate\.recordings"),
        (("roof",), "belt, gate"),
        (("belt", "yard"), "enabled"),
        (("pump",), r"sensors\.pump\.recordings"),
    ],
)
def test_a_camera_that_may_not_be_recorded_is_refused(site, tmp_path, cameras, said):
    with pytest.raises(CommandError, match=said):
        site.record(tmp_path / "r", cameras=cameras)
    assert not (tmp_path / "r").exists()


def test_nothing_is_recorded_where_no_camera_may_be(site, tmp_path):
    site.config.streams["belt"] = camera()
    with pytest.raises(CommandError, match=r"cameras\.NAME\.recordings"):
        site.record(tmp_path / "r")


def test_a_second_one_is_refused_and_both_find_it_free_later(site, tmp_path):
    with connect(site.folder, Wanted(1.0, MIB)), pytest.raises(CommandError, match="under way"):
        site.record(tmp_path / "r")
    assert until(lambda: site.feed._taking is None)
    assert site.record(tmp_path / "r").ended.counts.frames == 20


def test_all_can_see_who_records_which_cameras_and_how_much(site):
    me = pwd.getpwuid(os.getuid()).pw_name
    assert site.server.describe() is None
    with connect(site.folder, Wanted(WAIT_S, MIB)):
        assert until(lambda: (status := site.server.describe()) is not None and status.frames > 2)
        status = site.server.describe()
        assert (status.by, status.cameras) == (me, ("belt",))
        assert status.began_at.endswith("Z")
        assert site.events == [RecordingBegun(me, ("belt",))]
        site.config.streams["belt"] = camera()
        assert site.server.describe().cameras == ()
    assert until(lambda: site.server.describe() is None)
    assert until(lambda: len(site.events) == 2)
    ended = site.events[1]
    assert (type(ended), ended.by, ended.cameras) == (RecordingEnded, me, ("belt",))
    assert ended.frames >= status.frames
    assert ended.seconds >= 0


def test_the_event_of_the_end_has_its_reason_and_refusals_are_no_events(site, tmp_path):
    with pytest.raises(CommandError):
        site.record(tmp_path / "r", cameras=("gate",))
    site.record(tmp_path / "s")
    with site.stop_after_a_frame(tmp_path / "t"):
        site.record(tmp_path / "t", frames=None)
    assert [type(event) for event in site.events] == [RecordingBegun, RecordingEnded] * 2
    assert [event.reason for event in site.events[1::2]] == ["ended by its process", "the daemon ends"]


@pytest.mark.parametrize(
    "asked",
    [
        b"\xff\n",
        b"[]\n",
        b'{"body_bytes": 1e9}\n',
        b'{"kind": "request", "version": 1, "cameras": [], "body_bytes": 536870912}\n',
        b"x" * (MOST_REQUEST_BYTES + 1),
        *[
            orjson.dumps({"kind": "request", "version": 1, "body_bytes": 0, **wrong}) + b"\n"
            for wrong in (
                {"cameras": [["belt"]]},
                {"cameras": [{}]},
                {"cameras": 5},
                {"cameras": [], "fps": "fast"},
                {"cameras": [], "fps": -1},
                {"version": [], "cameras": []},
            )
        ],
    ],
)
def test_what_is_no_request_ends_its_connection_and_nothing_else(site, tmp_path, asked):
    with socket.socket(socket.AF_UNIX) as sock:
        reach_daemon(sock, site.folder)
        sock.sendall(asked)
        sock.settimeout(WAIT_S)
        with contextlib.suppress(ConnectionResetError):  # it was closed with words unread
            while sock.recv(1000):
                pass
    assert site.record(tmp_path / "r").ended.counts.frames == 20


def test_who_takes_nothing_is_given_up(site, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(recording_server, "SLOW_S", 2.0)
        with connect(site.folder, Wanted(1.0, MIB)):
            assert until(lambda: site.feed._taking is None)  # the buffer of the socket is full soon
    assert site.record(tmp_path / "r").ended.counts.frames == 20


def test_a_recording_whose_begin_cannot_be_told_ends(site, tmp_path, monkeypatch):
    """Else it would be under way for ever, with a queue full of pictures."""

    def fail(_):
        raise RuntimeError("needle")

    with monkeypatch.context() as patched:
        patched.setattr(site.server, "_emit", fail)
        with pytest.raises(StateError):
            site.record(tmp_path / "r")
        assert until(lambda: site.crashes.total == 1)
    assert site.record(tmp_path / "s").ended.counts.frames == 20
    site.crashes = Crashes()


def test_a_limit_of_bytes_ends_it(site, tmp_path):
    ended = site.record(tmp_path / "r", most_bytes=10_000, frames=None).ended
    assert 0 < ended.counts.picture_bytes <= 10_000
    assert "--max-mib" in ended.because


def test_the_end_of_the_daemon_ends_it_in_good_order(site, tmp_path):
    with site.stop_after_a_frame(tmp_path / "r"):
        ended = site.record(tmp_path / "r", frames=None).ended
    assert ended.because == "the daemon ends"
    assert len(open_recording(tmp_path / "r").frames) == ended.counts.frames > 0
    with pytest.raises(StateError, match="no daemon runs"):
        site.record(tmp_path / "s")
    with lock_state_dir(site.folder), pytest.raises(StateError, match="when it is ready"):
        site.record(tmp_path / "s")


def test_a_socket_that_a_killed_daemon_left_is_no_obstacle(site, tmp_path):
    second = RecordingServer(site.running, site.feed, site.events.append, site.crashes)
    second.start()
    assert site.record(tmp_path / "r").ended.counts.frames == 20
    second.stop()


@pytest.mark.integration
def test_what_a_killed_process_has_recorded_can_be_read_and_the_daemon_goes_on(site, tmp_path):
    out, config = tmp_path / "r", tmp_path / "box.yaml"
    models, cameras = (
        {"parts": {"bundle": "demo:efficientnet-lite0"}},
        {"belt": {"path": "demo:conveyor", "model": "parts"}},
    )
    keys = {"device": "box", "state_dir": str(site.folder), "models": models, "cameras": cameras}
    config.write_text(json.dumps(keys))
    command = [sys.executable, "-m", "edge_runtime", "record", str(config), "--out", str(out)]
    recording = subprocess.Popen(command, cwd=ROOT)
    try:
        lines = out / "frames.jsonl"
        assert until(
            lambda: recording.poll() is not None or (lines.exists() and lines.read_bytes().count(b"\n") > 20)
        )
    finally:
        recording.send_signal(signal.SIGKILL)
        recording.wait(WAIT_S)
    found = open_recording(out)
    assert not found.is_whole
    assert len(found.frames) > 20
    for line in found.frames:
        assert (found.read_frame(line).payload == line.seq % 256).all()
    assert until(lambda: site.feed._taking is None)
    assert site.record(tmp_path / "s").ended.counts.frames == 20
