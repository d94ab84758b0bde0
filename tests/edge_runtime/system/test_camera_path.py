"""What may come later is told from what can never be a camera."""

import os
import socket

import pytest

from edge_runtime.system.camera_address import CameraAddress
from edge_runtime.system.camera_path import look_at_path


def make(folder, kind):
    """Something at ``folder/thing``, and the path that a camera names."""
    thing = folder / "thing"
    match kind:
        case "file":
            thing.write_bytes(b"x")
        case "folder":
            thing.mkdir()
        case "pipe":
            os.mkfifo(thing)
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(thing))
        case "link to a device":
            thing.symlink_to("/dev/zero")
        case "link to a file":
            (folder / "there").write_bytes(b"x")
            thing.symlink_to("there")
        case "link to nothing":
            thing.symlink_to("nowhere")
        case "link to itself":
            thing.symlink_to("thing")
        case "below a file":
            thing.write_bytes(b"x")
            return thing / "clip.mp4"
        case "below a missing folder":
            return folder / "mnt" / "share" / "in"
        case "long name":
            return folder / ("x" * 300)
        case "colon":
            (folder / "a b").mkdir()
            return folder / "a b"
    return thing


@pytest.mark.parametrize(
    ("kind", "is_lasting"),
    [
        ("file", None),
        ("folder", None),
        ("link to a file", None),
        ("colon", None),
        ("nothing", False),
        ("link to nothing", False),
        ("below a missing folder", False),
        ("pipe", True),
        ("socket", True),
        ("link to a device", True),
        ("link to itself", True),
        ("below a file", True),
        ("long name", True),
    ],
)
def test_a_path_works_may_come_or_never_will(tmp_path, kind, is_lasting):
    problem = look_at_path(CameraAddress(str(make(tmp_path, kind))))
    assert (None if problem is None else problem.is_lasting) is is_lasting


@pytest.mark.parametrize(
    "path",
    [
        "/dev/video99",
        "/dev/v4l/by-id/usb-none-index0",
        "/dev/v4l/by-path/pci-0000:00:14.0-usb-0:2:1.0-index0",
    ],
)
def test_a_camera_that_is_not_plugged_in_may_come(path):
    problem = look_at_path(CameraAddress(path))
    assert problem is not None
    assert not problem.is_lasting


@pytest.mark.parametrize("address", ["rtsp://camera/1", "http://camera/video", "mqtt", "demo:conveyor"])
def test_what_is_elsewhere_is_not_looked_for(address):
    assert look_at_path(CameraAddress(address)) is None
