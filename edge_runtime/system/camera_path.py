"""What is at the local path of a camera or sensor: nothing yet, something that works, or something that never will.

The disk is only looked at; nothing is opened.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.system.camera_address import CameraAddress, CameraKind
from edge_runtime.system.sensor_address import SensorAddress

_NEVER = {
    errno.ENOTDIR: "a part of the path before the last is a file",
    errno.ENAMETOOLONG: "the path is too long for the file system",
    errno.ELOOP: "its links lead in a circle",
}
_FILES = {
    CameraAddress: "a video file or a folder of pictures",
    SensorAddress: "a file of samples or a folder of them",
}
DEVICE_FORMS = "/dev/videoN or /dev/v4l/by-id/NAME"


@dataclass(frozen=True, slots=True)
class PathProblem:
    """Why a path gives no frames now."""

    found: str
    expected: str
    is_lasting: bool
    """True when waiting does not help: something else is there, or the path cannot exist."""


def look_at_path(address: CameraAddress | SensorAddress) -> PathProblem | None:
    """The problem with the local path of a stream; None when there is none, or it is elsewhere."""
    path = address.local_path
    if path is None:
        return None
    is_device = address.kind is CameraKind.DEVICE
    expected = "a camera" if is_device else _FILES[type(address)]
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return PathProblem(f"{path} does not exist", expected, is_lasting=False)
    except OSError as err:
        found = f"{path} cannot be used: {_NEVER.get(err.errno or 0, err.strerror)}"
        return PathProblem(found, expected, is_lasting=err.errno in _NEVER)
    if is_device:
        return _judge_device(path, mode)
    if stat.S_ISDIR(mode):
        needed = os.R_OK | os.X_OK
    elif stat.S_ISREG(mode):
        needed = os.R_OK
    else:
        advice = f"; of a camera {DEVICE_FORMS}" if stat.S_ISCHR(mode) else ""
        return PathProblem(f"{path} is {_name(mode)}", expected + advice, is_lasting=True)
    return _judge_rights(path, needed, expected)


def _judge_device(path: Path, mode: int) -> PathProblem | None:
    if not stat.S_ISCHR(mode):
        return PathProblem(f"{path} is {_name(mode)}", "a camera", is_lasting=True)
    return _judge_rights(path, os.R_OK | os.W_OK, "a camera", "; is it in the group 'video'?")


def _judge_rights(path: Path, needed: int, expected: str, hint: str = "") -> PathProblem | None:
    if os.access(path, needed):
        return None
    return PathProblem(f"{path} may not be used by this user{hint}", expected, is_lasting=False)


def _name(mode: int) -> str:
    names = {
        stat.S_IFDIR: "a folder",
        stat.S_IFREG: "a file",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a disk",
    }
    return names.get(stat.S_IFMT(mode), "no file")
