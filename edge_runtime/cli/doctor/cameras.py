"""The cameras and sensors: are they there, may the daemon use them, and does a picture come?"""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.cli.doctor.finding import Finding, fine, note, problem
from edge_runtime.cli.doctor.service import find_group
from edge_runtime.cli.doctor.service_user import Right, ServiceUser
from edge_runtime.config import Config
from edge_runtime.daemon.wiring.sources import video_options
from edge_runtime.errors import ExitCode, SourceLost
from edge_runtime.sources.base import EndOfStream
from edge_runtime.sources.video import VideoSource
from edge_runtime.system.camera_address import CameraKind
from edge_runtime.system.camera_path import look_at_path
from edge_runtime.system.sensor_address import SensorKind

_CONNECT_S, _SLICE_S = 3.0, 0.5
_WITH_PICTURE = (CameraKind.RTSP, CameraKind.HTTP, CameraKind.DEVICE)


def examine_camera(config: Config, name: str, user: ServiceUser, picture_s: float) -> Iterator[Finding]:
    """Look at one camera, and wait so long for a picture; 0 takes none.

    None is taken while a daemon runs either, since many cameras serve one client.
    """
    camera = config.cameras[name]
    found = look_at_stream(config, name, user) or _connect(config, name)
    if found is not None:
        yield found
    elif user.is_running:
        yield fine("camera", f"{name}: {camera.safe_path} is there; the running daemon has it open")
    elif camera.address.kind in _WITH_PICTURE and picture_s > 0:
        yield _take_picture(config, name, picture_s)
    else:
        yield fine("camera", f"{name}: {camera.safe_path} can be used")


def examine_sensor(config: Config, name: str, user: ServiceUser) -> Iterator[Finding]:
    """Look at the file or folder of one sensor; whether the broker lets the box subscribe is not known before."""
    found = look_at_stream(config, name, user)
    yield found or fine("sensor", f"{name}: {config.sensors[name].safe_path} can be used")


def look_at_stream(config: Config, name: str, user: ServiceUser) -> Finding | None:
    """What is wrong with the device, file or folder of a camera or sensor; None when nothing is, or there is none."""
    address, section = config.streams[name].address, config.section_of(name)
    path, kind = address.local_path, section[:-1]
    if path is None:
        return None
    seen = look_at_path(address)
    if seen is not None and seen.is_lasting:
        advice = f"correct {section}.{name}.path; expected is {seen.expected}"
        return problem(f"{kind}.path", f"{name}: {seen.found}", advice, ExitCode.CONFIG)
    if not _is_there(path):
        return note(
            f"{kind}.missing",
            f"{name}: {path} does not exist",
            f"plug it in or mount it; the {kind} waits for it",
        )
    may = user.may(path, _needed(path, address.kind))
    if may is None:
        return note(
            f"{kind}.unknown", f"{name}: only root can see what {user.name} may", "run doctor as root"
        )
    if not may:
        advice = _advise_rights(path, address.kind, user)
        return problem(
            f"{kind}.rights", f"{name}: user {user.name} may not use {path}", advice, ExitCode.UNAVAILABLE
        )
    return None


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:  # behind a folder that may not be entered
        return True
    return True


def _needed(path: Path, kind: CameraKind | SensorKind) -> list[Right]:
    if kind is CameraKind.DEVICE:
        return ["r", "w"]
    return ["r", "x"] if path.is_dir() else ["r"]


def _advise_rights(path: Path, kind: CameraKind | SensorKind, user: ServiceUser) -> str:
    if kind is CameraKind.DEVICE:
        group = find_group(path) or "video"
        return f"usermod -aG {group} {user.name} and log in again; as a service SupplementaryGroups={group}"
    return f"give {user.name} the right to read it and to enter the folders above it (namei -l {path} shows them)"


def _connect(config: Config, name: str) -> Finding | None:
    endpoint = config.cameras[name].address.endpoint
    if endpoint is None:
        return None
    host, port = endpoint
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError as err:
        found = f"{name}: {host}:{port} does not answer: {err.strerror or err}"
        advice = "is the camera on, in this network, and does it stream? Then correct the address"
        return problem("camera.unreachable", found, advice, ExitCode.UNAVAILABLE)
    return None


def _take_picture(config: Config, name: str, picture_s: float) -> Finding:
    """Open the camera in a capture process, as the daemon does, and end with the first picture."""
    camera = config.cameras[name]
    options = video_options(camera, config.pictures.max_frame_mib << 20)
    source = VideoSource(f"doctor-{name}"[:32], camera.path, options)
    end_s = time.monotonic() + picture_s
    frame, reason = None, None
    try:
        while frame is None and not _is_refused(reason) and time.monotonic() < end_s:
            frame = source.read(
                _SLICE_S
            )  # it is opened again and again: the second time it has more patience
            reason = source.stats().last_problem
    except (SourceLost, EndOfStream) as err:
        reason = str(err)
    finally:
        source.close()
    if frame is not None:
        return fine("camera", f"{name}: a picture came from {camera.safe_path}")
    if _is_refused(reason):
        advice = f"correct user and password in cameras.{name}.path; special characters as %40"
        return problem("camera.password", f"{name}: {reason}", advice, ExitCode.UNAVAILABLE)
    advice = "look at the stream with another player (ffplay), and at the address's path"
    found = f"{name}: {reason or f'no picture came in {picture_s:g} s'}"
    return problem("camera.no-picture", found, advice, ExitCode.UNAVAILABLE)


def _is_refused(reason: str | None) -> bool:
    """Whether a server said that user or password are wrong; RTSP and HTTP have the same codes."""
    return reason is not None and re.search(r"\b401\b|\b403\b|nauthorized", reason) is not None
