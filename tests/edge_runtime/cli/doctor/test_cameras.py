"""Cameras as they are found: with a picture, without one, with another password, not there."""

import os
import re
import socketserver
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import pytest

from edge_runtime.cli.doctor.cameras import examine_camera, examine_sensor
from edge_runtime.cli.doctor.finding import Level
from edge_runtime.cli.doctor.service_user import ServiceUser
from edge_runtime.config import parse_config
from tests.support.mjpeg_camera import MjpegCamera
from tests.support.mosquitto import free_port

pytestmark = pytest.mark.integration

ME = ServiceUser.find(None, None)


def find(path, user=ME, picture_s=10.0):
    config = {
        "device": "box",
        "models": {"m": {"bundle": "m"}},
        "cameras": {"belt": {"path": str(path), "model": "m"}},
    }
    parsed = parse_config(orjson.dumps(config), "test", {}, check_files=False)
    return [(one.id, one.level) for one in examine_camera(parsed, "belt", user, picture_s)]


def find_of_sensor(path):
    sensors = {"pump": {"path": str(path), "model": "m"}}
    config = {"device": "box", "models": {"m": {"bundle": "m"}}, "sensors": sensors}
    parsed = parse_config(orjson.dumps(config), "test", {}, check_files=False)
    return [(one.id, one.level) for one in examine_sensor(parsed, "pump", ME)]


def test_files_of_sensors_are_looked_at_as_those_of_cameras(tmp_path):
    (tmp_path / "a.csv").touch()
    os.mkfifo(tmp_path / "pipe")
    assert find_of_sensor(tmp_path / "a.csv") == [("sensor", Level.OK)]
    assert find_of_sensor(tmp_path / "later") == [("sensor.missing", Level.NOTE)]
    assert find_of_sensor(tmp_path / "pipe") == [("sensor.path", Level.PROBLEM)]


class WantsPassword(socketserver.StreamRequestHandler):
    """RTSP and HTTP, and every user is a stranger."""

    def handle(self):
        while line := self.rfile.readline():
            headers = [line, *iter(self.rfile.readline, b"\r\n")]
            protocol = line.split()[-1].decode()
            number = re.search(rb"CSeq: *(\d+)", b"".join(headers))
            asked = f"CSeq: {number[1].decode()}\r\n" if number else ""
            self.wfile.write(
                f"{protocol} 401 Unauthorized\r\n{asked}Content-Length: 0\r\n"
                'WWW-Authenticate: Basic realm="camera"\r\n\r\n'.encode()
            )


@contextmanager
def camera_with_password():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), WantsPassword) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_wrong_password(scheme):
    with camera_with_password() as port:
        found = find(f"{scheme}://viewer:wrong@127.0.0.1:{port}/stream")
    assert found == [("camera.password", Level.PROBLEM)]


def test_a_camera_that_works():
    with closing(MjpegCamera()) as camera:
        assert find(camera.url) == [("camera", Level.OK)]


def test_a_camera_of_which_no_picture_is_asked():
    with camera_with_password() as port:
        assert find(f"rtsp://127.0.0.1:{port}/x", picture_s=0) == [("camera", Level.OK)]


def test_a_camera_without_pictures():
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.StreamRequestHandler) as server:
        address = f"rtsp://127.0.0.1:{server.server_address[1]}/x"  # accepts, and says nothing
        assert find(address, picture_s=0.2) == [("camera.no-picture", Level.PROBLEM)]


def test_nobody_answers():
    assert find(f"rtsp://127.0.0.1:{free_port()}/x") == [("camera.unreachable", Level.PROBLEM)]


def test_a_folder_that_another_user_may_not_read(tmp_path):
    assert find(tmp_path) == [("camera", Level.OK)]
    tmp_path.chmod(0o700)
    assert find(tmp_path, ServiceUser(ME.uid + 4711, ME.gid + 4711, ())) == [("camera.rights", Level.PROBLEM)]


def test_what_is_not_there_and_what_is_no_camera(tmp_path):
    assert find(tmp_path / "later") == [("camera.missing", Level.NOTE)]
    os.mkfifo(tmp_path / "pipe")
    assert find(tmp_path / "pipe") == [("camera.path", Level.PROBLEM)]


def test_a_camera_that_the_daemon_has_open_is_left_alone():
    with camera_with_password() as port:
        running = ServiceUser(ME.uid, ME.gid, ME.groups, is_running=True)
        assert find(f"rtsp://viewer:wrong@127.0.0.1:{port}/stream", running) == [("camera", Level.OK)]


def test_a_device_without_its_group():
    """The kernel's own: of root alone, and no camera."""
    other = ServiceUser(ME.uid + 4711, ME.gid + 4711, ())
    assert other.may(Path("/dev/mem"), ["r", "w"]) in (False, None)
    assert other.may(Path("/dev/null"), ["r", "w"])
