"""The process that records, and what a daemon may do to it."""

import socket
import threading
import time

import numpy as np
import orjson
import pytest

from edge_runtime.errors import CommandError
from edge_runtime.recordings import client
from edge_runtime.recordings.client import Recorder, Wanted, reach_daemon
from edge_runtime.recordings.reader import open_recording
from edge_runtime.recordings.wire import SOCKET_FILE, Link
from edge_runtime.recordings.writer import RecordingWriter
from tests.support.recordings import AT, MIB, make_manifest, record_daemon
from tests.support.waiting import WAIT_S


def test_who_is_refused_at_once_hears_why(tmp_path, monkeypatch):
    """The daemon closes the connection before it was asked."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / SOCKET_FILE))
        listener.listen()

        def reach_and_be_refused(sock, folder):
            reach_daemon(sock, folder)
            with listener.accept()[0] as other:
                Link(other, WAIT_S).send({"kind": "refused", "message": "another one"})

        monkeypatch.setattr(client, "reach_daemon", reach_and_be_refused)
        with pytest.raises(CommandError, match="another one"):
            record_daemon(tmp_path, tmp_path / "r")


def test_only_models_of_the_recording_have_patches(tmp_path):
    """Their names become a part of a path, and root may record from the daemon of another user."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = Link(theirs, WAIT_S)
        for model in ("../../x", "parts"):
            answer = {"stream": "belt", "seq": 0, "model": model, "generation": "parts/1+p1"}
            sender.send({"kind": "answer", "answer": answer})
        sender.send({"kind": "end", "because": "over"})
        manifest, seen = make_manifest(), []
        writer = RecordingWriter(tmp_path / "r", manifest, "", MIB)
        recorder = Recorder(
            Link(ours, WAIT_S),
            writer,
            manifest,
            Wanted(WAIT_S, MIB),
            time.monotonic,
            time.time,
            lambda *key: seen.append(key),
            lambda *_: None,
        )
        because = recorder.take()
        theirs.close()
        recorder.end(because)
    assert (because, seen) == ("over", [("parts", "parts/1+p1")])


def test_a_daemon_that_is_killed_within_a_frame_leaves_a_recording_that_can_be_read(tmp_path):
    """Its end of the socket is closed by the kernel, wherever it was."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / SOCKET_FILE))
        listener.listen()

        def serve():
            with listener.accept()[0] as sock:
                link = Link(sock, WAIT_S)
                link.receive(WAIT_S)
                link.send({"kind": "hello", "recording": make_manifest().model_dump(), "config": ""})
                picture = np.full((20, 30, 3), 7, np.uint8)
                about = {
                    "stream": "belt",
                    "captured_at": AT,
                    "shape": picture.shape,
                    "dtype": "uint8",
                    "colour": "bgr",
                }
                link.send({"kind": "frame", "frame": {**about, "seq": 0}}, picture.tobytes())
                head = {"kind": "frame", "frame": {**about, "seq": 1}, "body_bytes": picture.nbytes}
                sock.sendall(orjson.dumps(head) + b"\n" + bytes(100))

        daemon = threading.Thread(target=serve)
        daemon.start()
        manifest = record_daemon(tmp_path, tmp_path / "r", frames=None)
        daemon.join(WAIT_S)
    assert manifest.ended.because.startswith("cut off")
    found = open_recording(tmp_path / "r")
    assert [line.seq for line in found.frames] == [0]
    assert (found.read_frame(found.frames[0]).payload == 7).all()
