"""The cameras on this box, as V4L2 shows them. Each device is asked what it is; no picture is taken."""

import fcntl
import os
import re
import struct
from pathlib import Path
from typing import NamedTuple

_QUERY = 0x80685600  # VIDIOC_QUERYCAP of linux/videodev2.h
_CAPABILITY = struct.Struct("16s32s32sIII12x")
"""struct v4l2_capability: driver, card, bus, version, what the hardware can, what this device node can."""
_CAPTURE, _CAPTURE_PLANES = 0x1, 0x1000
"""Not metadata, codecs and outputs, which are devices of the same name."""


class FoundCamera(NamedTuple):
    """A V4L2 device that gives pictures."""

    path: Path
    """By the camera's own name where it has one: numbers change when another camera is plugged in."""
    card: str
    """What it calls itself; empty when it may not be asked."""


def find_cameras(root: Path = Path("/dev")) -> list[FoundCamera]:
    """All cameras of the box, in the order of their numbers; those that may not be asked are among them."""
    names = _find_names(root / "v4l" / "by-id")
    found = []
    for device in sorted(root.glob("video*"), key=lambda path: (len(path.name), path.name)):
        card = _ask(device) if re.fullmatch(r"video\d+", device.name) else None
        if card is not None:
            found.append(FoundCamera(names.get(device.resolve(), device), card))
    return found


def _find_names(folder: Path) -> dict[Path, Path]:
    try:
        return {path.resolve(): path for path in sorted(folder.iterdir(), reverse=True)}
    except OSError:
        return {}


def _ask(device: Path) -> str | None:
    """What it calls itself; None when it is no camera."""
    try:
        handle = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return ""
    except OSError:
        return None
    try:
        answer = bytearray(_CAPABILITY.size)
        fcntl.ioctl(handle, _QUERY, answer)
    except OSError:
        return None
    finally:
        os.close(handle)
    return read_capability(answer)


def read_capability(answer: bytes | bytearray) -> str | None:
    """The name in a ``struct v4l2_capability``; None when that device gives no pictures."""
    _, card, _, _, _, device_can = _CAPABILITY.unpack(answer)
    if not device_can & (_CAPTURE | _CAPTURE_PLANES):
        return None
    return str(card.split(b"\0")[0].decode(errors="replace"))
