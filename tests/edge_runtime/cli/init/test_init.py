"""``init`` writes a configuration that can be used, without secrets, and never over another one."""

import io
import os
import socket
import stat
import struct
import sys

import orjson
import pytest

from edge_runtime.cli.init import commands
from edge_runtime.cli.init.find_cameras import FoundCamera, find_cameras, read_capability
from edge_runtime.cli.init.network_cameras import NetworkCamera
from edge_runtime.cli.main import main
from edge_runtime.config import load_config
from edge_runtime.system.camera_address import CameraKind
from tests.support.signal_bundles import build_signal_bundle


@pytest.fixture
def init(capsys, monkeypatch, tmp_path):
    """Gives (exit code, the configuration's file) of a command line; the box has no camera."""
    monkeypatch.setattr(commands, "find_cameras", list)
    monkeypatch.setattr(commands, "find_network_cameras", list)

    def call(*arguments):
        file = tmp_path / "box.yaml"
        with pytest.raises(SystemExit) as ended:
            main(["init", str(file), *arguments])
        return ended.value.code, file

    return call


def test_without_anything_it_is_the_demo(init):
    code, file = init()
    assert code == 0
    config = load_config(file, {})
    assert [model.bundle for model in config.models.values()] == ["demo:efficientnet-lite0"]
    assert [camera.path for camera in config.cameras.values()] == ["demo:conveyor"]
    assert config.mqtt is None


def test_all_flags(init, tmp_path):
    (tmp_path / "ca.pem").touch()
    code, file = init(
        "--device", "belt-3", "--bundle", "parts", "--state-dir", str(tmp_path / "s"),
        "--broker", "broker.example:8884", "--user", "belt-3", "--ca", str(tmp_path / "ca.pem"), "--camera", "belt=rtsp://viewer:s3cret@10.0.0.7/stream1",
        "--camera", "/dev/video7", "--camera", "yes=rtsp://10.0.0.8/a?b=c",
    )  # fmt: skip
    assert code == 0
    assert "s3cret" not in file.read_text()
    config = load_config(file, {"EDGE_MQTT_PASSWORD": "p", "EDGE_CAMERA_BELT_PASSWORD": "s3cret"})
    assert (config.device, config.state_dir) == ("belt-3", tmp_path / "s")
    assert {name: camera.path for name, camera in config.cameras.items()} == {
        "belt": "rtsp://viewer:s3cret@10.0.0.7/stream1",
        "camera2": "/dev/video7",
        "yes": "rtsp://10.0.0.8/a?b=c",
    }
    assert config.cameras["camera2"].address.kind is CameraKind.DEVICE
    assert {camera.model for camera in config.cameras.values()} == {"parts"}
    assert (config.mqtt.host, config.mqtt.effective_port, config.mqtt.user) == (
        "broker.example",
        8884,
        "belt-3",
    )
    assert config.mqtt.tls.ca == tmp_path / "ca.pem"
    assert config.mqtt.commands


def test_only_what_has_an_end_may_be_looped(init, tmp_path):
    _, file = init("--camera", f"shelf={tmp_path}", "--camera", "belt=rtsp://10.0.0.8/a")
    file.write_text(file.read_text().replace("# loop", "loop"))
    cameras = load_config(file, {}).cameras
    assert {name: camera.loop for name, camera in cameras.items()} == {"shelf": True, "belt": False}


def test_for_machines(init, capsys):
    _, file = init("--json", "--broker", "h", "--user", "u")
    answer = orjson.loads(capsys.readouterr().out)
    port = load_config(file, {"EDGE_MQTT_PASSWORD": "p"}).http.port
    assert answer == {
        "config": str(file), "cameras": ["camera1"], "port": port, "secrets": ["EDGE_MQTT_PASSWORD"],
        "found_on_network": [],
    }  # fmt: skip


def test_cameras_of_the_network_are_comments_to_be_completed(init, monkeypatch):
    found = [NetworkCamera("10.0.0.7", "AXIS M1065: # x"), NetworkCamera("10.0.0.8", "")]
    monkeypatch.setattr(commands, "find_network_cameras", lambda: found)
    code, file = init()
    assert code == 0
    assert list(load_config(file, {}).cameras) == ["camera1"]
    text = file.read_text().replace("  # network", "  network").replace("  #   ", "    ")
    file.write_text(text.replace("USER", "anna"))
    cameras = load_config(file, {"EDGE_NETWORK1_PASSWORD": "p", "EDGE_NETWORK2_PASSWORD": "q"}).cameras
    assert cameras["network1"].path == "rtsp://anna:p@10.0.0.7/axis-media/media.amp"
    assert cameras["network2"].path == "rtsp://anna:q@10.0.0.8/stream1"


@pytest.mark.parametrize("arguments", [["--no-network"], ["--camera", "/dev/video0"]])
def test_the_network_is_not_asked_where_that_is_not_wanted(init, monkeypatch, arguments):
    monkeypatch.setattr(commands, "find_network_cameras", lambda: pytest.fail("asked"))
    assert init(*arguments)[0] == 0


@pytest.mark.parametrize(
    ("broker", "host", "port"),
    [
        ("broker", "broker", 1883),
        ("10.0.0.9:1884", "10.0.0.9", 1884),
        ("::1", "::1", 1883),
        ("fe80::1:99", "fe80::1:99", 1883),
        ("[::1]:1884", "::1", 1884),
    ],
)
def test_brokers(init, broker, host, port):
    _, file = init("--broker", broker)
    mqtt = load_config(file, {}).mqtt
    assert (mqtt.host, mqtt.effective_port) == (host, port)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_at_a_terminal_it_asks(init, monkeypatch):
    typed = "box9\n\nbroker.example\nanna\nrtsp://10.0.0.7/1\n"
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    code, file = init()
    config = load_config(file, {"EDGE_MQTT_PASSWORD": "p"})
    assert code == 0
    assert (config.device, config.mqtt.host, config.mqtt.user) == ("box9", "broker.example", "anna")
    assert [camera.path for camera in config.cameras.values()] == ["rtsp://10.0.0.7/1"]


def test_it_asks_nothing_when_told(init, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert init("--yes")[0] == 0


@pytest.mark.parametrize("device", ["yes", "null", "1e3", "12", "0x1f", "-", "~"])
def test_a_name_that_yaml_would_read_as_something_else(init, device):
    code, file = init("--device", device)
    if device == "~":
        assert code == 78
        assert not file.exists()
    else:
        assert load_config(file, {}).device == device


def test_a_file_that_is_there_stays(init, tmp_path):
    file = tmp_path / "box.yaml"
    file.write_text("mine")
    assert init()[0] == 64
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--user", "anna"], 64),
        (["--camera", "a=/x", "--camera", "a=/y"], 64),
        (["--camera", "gopher://host/"], 78),
        (["--broker", "host:port"], 78),
        (["--camera", "x=rtsp://u:p@[::/"], 78),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(init, arguments, expected):
    code, file = init(*arguments)
    assert code == expected
    assert not file.exists()


def test_cameras_of_the_box_are_taken(init, monkeypatch, tmp_path):
    found = [FoundCamera(tmp_path / "video0", "Webcam"), FoundCamera(tmp_path / "video2", "")]
    monkeypatch.setattr(commands, "find_cameras", lambda: found)
    _, file = init()
    assert [camera.path for camera in load_config(file, {}).cameras.values()] == [
        str(one.path) for one in found
    ]


def test_a_bundle_that_is_installed_is_taken(init, tmp_path):
    (tmp_path / "state" / "bundles" / "parts" / "4").mkdir(parents=True)
    _, file = init("--state-dir", "state")
    assert load_config(file, {}).models["parts"].bundle == "parts"


def test_a_port_that_is_taken_is_passed_over(init):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 8080))
        except OSError:
            pass  # taken by something else: as good
        else:
            other.listen()
        _, file = init()
    assert 8080 < load_config(file, {}).http.port < 8180


@pytest.mark.parametrize(
    ("can", "expected"), [(0x04200001, "Webcam"), (0x1000, "Webcam"), (0x04A00000, None)]
)
def test_devices_that_give_no_pictures_are_left_out(can, expected):
    answer = struct.pack("16s32s32sIII12x", b"uvcvideo", b"Webcam", b"usb-1", 6 << 16, 0x84A00001, can)
    assert len(answer) == 104
    assert read_capability(answer) == expected


def test_what_is_no_camera_is_not_found(tmp_path):
    (tmp_path / "video0").write_text("a file")
    (tmp_path / "videos").mkdir()
    assert find_cameras(tmp_path) == []


def test_a_camera_that_may_not_be_asked_is_found(tmp_path, monkeypatch):
    device = tmp_path / "video3"
    device.touch(mode=0o000)

    def refuse(path, flags):
        raise PermissionError(path)

    monkeypatch.setattr(os, "open", refuse)
    assert find_cameras(tmp_path) == [FoundCamera(device, "")]
    assert stat.S_IMODE(device.stat().st_mode) == 0


@pytest.mark.parametrize(("flags", "path"), [((), "-"), (("--broker", "broker.example"), "mqtt")])
def test_a_model_of_signals_gets_a_sensor(init, tmp_path, flags, path):
    build_signal_bundle(tmp_path / "bundles")
    code, file = init("--bundle", "./bundles/machine", *flags)
    assert code == 0
    config = load_config(file, {})
    assert {name: (one.path, one.model) for name, one in config.sensors.items()} == {
        "sensor1": (path, "machine")
    }
    assert not config.cameras


def test_a_camera_for_a_model_of_signals_is_a_usage_error(init, tmp_path):
    build_signal_bundle(tmp_path / "bundles")
    assert init("--bundle", "./bundles/machine", "--camera", "/dev/video0")[0] == 64
