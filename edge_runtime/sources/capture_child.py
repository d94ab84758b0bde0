"""The owner's handle on one capture process: start it, read its messages, kill it. No policy lives here.

The process gets a small environment without the daemon's secrets, because it decodes bytes from the network.
"""

import os
import re
import select
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, suppress

import psutil

from edge_runtime.sources.capture_protocol import MAX_PACKET_BYTES, QUIT, ROOM, CaptureMessage, CaptureRequest
from edge_runtime.sources.frame_ring import FrameRing
from edge_runtime.system.child_process import has_ended, small_environment, start_child
from edge_runtime.system.watched_child import LastWords

_MOST_PACKETS = 256
"""At one look."""
_REAP_S = 1.0
USAGE_AGE_S = 1.0
"""Reading it costs 0.2 ms, and everybody who looks at the counts of a camera would."""
_POINTER = re.compile(r" @ 0x[0-9a-f]+")  # an address in memory, which differs each time a message comes


class CaptureChild:
    """A running capture process, which writes into ``ring``; that is owned by this object from now on.

    Raises:
        OSError: no process, memory or descriptor left.
    """

    def __init__(self, request: CaptureRequest, ring: FrameRing) -> None:
        self.ring = ring
        self._reading = threading.Lock()
        with ExitStack() as undo, ExitStack() as theirs_to_close:
            undo.callback(ring.close)
            # Non-blocking at both ends: a decoder that writes many messages must not wait until they are read.
            log, log_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._words = LastWords(os.fdopen(log, "rb", buffering=0))
            undo.callback(self._words.close)
            theirs_to_close.callback(os.close, log_end)
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self._channel.close)
            theirs_to_close.callback(theirs.close)
            self._channel.setblocking(False)
            self._channel.send(request.encode())
            self._process = _start(request, ring, theirs, log_end)
            self._usage, self._cpu_s = psutil.Process(self._process.pid), 0.0
            self._usage_read_at_s = float("-inf")
            self._give_back = undo.pop_all()

    def wait(self, timeout_s: float, also: socket.socket) -> None:
        """Wait until the child sends something, ends, or ``also`` becomes readable."""
        poll = select.poll()
        for fd in (self._channel.fileno(), also.fileno()):
            poll.register(fd, select.POLLIN)
        poll.poll(max(0.0, timeout_s) * 1000)

    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        if self._process.returncode is None and has_ended(self._process.pid):
            self._read_usage()  # before it is reaped
            self._process.poll()
        return self._process.returncode

    def cpu_s(self) -> float:
        """CPU seconds that it had used at most :data:`USAGE_AGE_S` ago; of one that was reaped, those at its end."""
        if time.monotonic() - self._usage_read_at_s >= USAGE_AGE_S:
            self._read_usage()
        return self._cpu_s

    def _read_usage(self) -> None:
        with self._reading, suppress(psutil.Error):
            self._usage_read_at_s = time.monotonic()
            times = self._usage.cpu_times()
            self._cpu_s = max(self._cpu_s, times.user + times.system)

    def messages(self) -> list[CaptureMessage]:
        """Its messages since the last call.

        Raises:
            ValueError: a packet is no message.
        """
        self._words.read()
        received: list[CaptureMessage] = []
        for _ in range(_MOST_PACKETS):  # it may send as fast as they are read
            try:
                packet = self._channel.recv(MAX_PACKET_BYTES)
            except (BlockingIOError, ConnectionResetError):
                break
            if not packet:
                break
            received.append(CaptureMessage.decode(packet))
        return received

    def tell_room(self) -> None:
        """A slot became free."""
        self._tell(ROOM)

    def last_error_line(self) -> str | None:
        """The last line that FFmpeg, OpenCV or Python wrote to standard error, without credentials."""
        self._words.read()
        line = self._words.last_line
        return None if line is None else _POINTER.sub("", line)[:300]

    def kill(self) -> None:
        """End it at once and give everything back; frames already taken stay readable."""
        self._process.kill()
        self._release()

    def quit(self, timeout_s: float) -> None:
        """Let it close the device (an RTSP camera frees the session), then end it anyway."""
        self._tell(QUIT)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._release()

    def _release(self) -> None:
        self._give_back.close()
        try:
            self._process.wait(_REAP_S)
        except subprocess.TimeoutExpired:
            # Stuck in a driver call, where not even SIGKILL reaches it; it is reaped whenever the call returns.
            threading.Thread(target=self._process.wait, name="reap-capture", daemon=True).start()

    def _tell(self, packet: bytes) -> None:
        try:
            self._channel.send(packet)
        except OSError:
            return  # full: it has unread packets that say the same; broken: it is dead, which ``exit_code`` reports


def _start(
    request: CaptureRequest, ring: FrameRing, theirs: socket.socket, log_end: int
) -> subprocess.Popen[bytes]:
    numbers = (theirs.fileno(), ring.fd)
    return start_child(
        "edge_runtime.sources.capture_process",
        [str(number) for number in numbers],
        env=_environment(request),
        pass_fds=numbers,
        stderr=log_end,
    )


def _environment(request: CaptureRequest) -> dict[str, str]:
    return small_environment() | {
        "OPENCV_LOG_LEVEL": "ERROR",  # so that the last line is the driver's reason
        "OPENBLAS_NUM_THREADS": "1",
        # Memory of pictures goes back to the system at once, and threads have none of their own: 6 MiB at 1080p.
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "1048576",
        "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": str(max(1, round(request.options.read_timeout_s))),
    }
