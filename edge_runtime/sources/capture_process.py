"""The capture process: ``python -m edge_runtime.sources.capture_process SOCKET_FD RING_FD``.

One process per camera, because only a process can be killed when a driver or FFmpeg hangs or crashes. It waits
until the address answers (without OpenCV and FFmpeg, so ten absent cameras take little memory), opens the device once,
plays it, and ends with one message that names the reason. The owner opens it again.
"""

import ctypes
import random
import signal
import socket
import sys

from edge_runtime.sources.capture_protocol import CaptureFailed, CaptureRequest, OwnerConnection
from edge_runtime.sources.frame_ring import FrameRing
from edge_runtime.system.camera_address import CameraAddress
from edge_runtime.system.camera_path import look_at_path
from edge_runtime.system.redaction import redact_url

_PR_SET_NAME = 15
_CONNECT_TIMEOUT_S = 3.0
_CONNECT_PAUSE_S = (0.5, 3.0)  # with the time-out above: an answer at most 6 s after the camera is back


def wait_reachable(address: CameraAddress, owner: OwnerConnection, rng: random.Random) -> bool:
    """Wait until the address answers; False when the owner quits first.

    Raises:
        CaptureFailed: a file that does not exist; the owner decides whether to wait.
    """
    pause_s, longest_s = _CONNECT_PAUSE_S
    while not owner.quit.is_set():
        problem = _connect(address)
        if problem is None:
            return True
        if not address.kind.is_live:
            raise CaptureFailed(problem)
        owner.send("waiting", reason=problem)
        owner.quit.wait(pause_s * rng.uniform(0.8, 1.0))
        pause_s = min(pause_s * 1.5, longest_s)
    return False


def _connect(address: CameraAddress) -> str | None:
    """Why the address does not answer, or None when it does."""
    if address.local_path is not None:
        problem = look_at_path(address)
        return None if problem is None else problem.found
    assert address.endpoint is not None, "a camera that OpenCV plays is a path or has an endpoint"
    host, port = address.endpoint
    try:
        socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as err:
        return f"{host}:{port} does not answer: {err.strerror or err}"
    return None


def serve(owner: OwnerConnection, ring_fd: int, request: CaptureRequest, rng: random.Random) -> None:
    """Wait for the device, play it, tell the owner how it ended."""
    try:
        if wait_reachable(CameraAddress(request.address), owner, rng):
            _play(request, FrameRing(ring_fd), owner)
    except CaptureFailed as err:
        owner.send("failed", reason=redact_url(str(err)))


def _play(request: CaptureRequest, ring: FrameRing, owner: OwnerConnection) -> None:
    """Each kind loads the libraries that it needs only."""
    kind = CameraAddress(request.address).kind
    if kind.backend == "v4l2":
        from edge_runtime.sources.capture_device import DevicePlayer

        DevicePlayer(request, ring, owner).play()
    elif kind.is_live:
        from edge_runtime.sources.capture_stream import StreamPlayer

        StreamPlayer(request, ring, owner).play()
    else:
        from edge_runtime.sources.capture_file import FilePlayer

        FilePlayer(request, ring, owner).play()


def main(arguments: list[str]) -> int:
    """Run until the device ends or the owner goes away."""
    socket_fd, ring_fd = map(int, arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to handle
    owner = OwnerConnection(socket.socket(fileno=socket_fd))
    request = owner.receive_request()
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"cap-{request.stream}"[:15].encode(errors="replace"))
    owner.listen()
    serve(owner, ring_fd, request, random.Random())  # noqa: S311 - jitter, not a secret
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
