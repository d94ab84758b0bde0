"""Ends the capture process of a silent camera, and tells a silent one from one that has sent no key frame yet.

A picture can only be decoded from a key frame on, and surveillance cameras send those up to a minute apart. While a key
frame is waited for, data that arrives shows that the camera is alive; otherwise only pictures do.
"""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

FIRST_PICTURE_S = 60.0
"""Longest wait for the first picture while data comes; "smart" codecs send a key frame every 10 to 40 s."""
_LOOK_S = 0.2
_BYTES_RECEIVED = struct.Struct("<Q")
_BYTES_RECEIVED_AT = 128
"""``tcpi_bytes_received`` in ``struct tcp_info``, since Linux 4.1."""
_SNMP = Path("/proc/self/net/snmp")


def received_so_far() -> int:
    """A number that grows while data comes: bytes on this process's TCP connections, and UDP datagrams.

    The kernel counts datagrams, those that were read, only for all of the network namespace: another camera's may be
    taken for this one's.
    """
    return _tcp_bytes() + _udp_datagrams()


def _tcp_bytes() -> int:
    total = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a tenth of the time of Path.iterdir
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):  # noqa: PTH115 - as above
                continue
            with socket.socket(fileno=os.dup(int(name))) as copy:
                if copy.type != socket.SOCK_STREAM or copy.family not in (socket.AF_INET, socket.AF_INET6):
                    continue
                info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except OSError:  # it was closed meanwhile
            continue
        if len(info) >= _BYTES_RECEIVED_AT + _BYTES_RECEIVED.size:
            total += int(_BYTES_RECEIVED.unpack_from(info, _BYTES_RECEIVED_AT)[0])
    return total


def _udp_datagrams() -> int:
    try:
        lines = [line.split() for line in _SNMP.read_text().splitlines() if line.startswith("Udp:")]
        return int(dict(zip(*lines, strict=True))["InDatagrams"])
    except (OSError, ValueError, KeyError, TypeError):  # no such file in some sandboxes
        return 0


class SignOfLife:
    """Watches in a second thread, because the reading one waits inside FFmpeg.

    Args:
        silence_s: Longest time without data while a key frame is waited for, and without a picture otherwise.
        first_picture_s: Longest wait for a key frame.
        on_life: Called when data came before the first picture, with the time.
        on_silence: Called once, with the reason; it is to end the process.
        received: See ``received_so_far``.
    """

    def __init__(
        self,
        silence_s: float,
        first_picture_s: float,
        on_life: Callable[[float], None],
        on_silence: Callable[[str], None],
        received: Callable[[], int] = received_so_far,
    ) -> None:
        self._silence_s, self._first_picture_s = silence_s, first_picture_s
        self._on_life, self._on_silence, self._received = on_life, on_silence, received
        self._picture_at_s: float | None = None
        self._data_at_s = 0.0
        self.needs_key = False
        """Also after the first picture only key frames make one; the data between them is told by ``note_data``."""
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._run, name="sign-of-life", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def note_picture(self, now_s: float) -> None:
        """A picture came."""
        self._picture_at_s = now_s

    def note_data(self, now_s: float) -> None:
        """Data came that makes no picture."""
        self._data_at_s = now_s

    def _run(self) -> None:
        begun_s = self._data_at_s = time.monotonic()
        received = self._received()
        while not self._stopped.wait(_LOOK_S):
            now_s = time.monotonic()
            if self._picture_at_s is None:
                before, received = received, self._received()
                if received != before:
                    self._data_at_s = now_s
                    self._on_life(now_s)
            problem = self._judge(now_s, begun_s)
            if problem is not None and not self._stopped.is_set():
                self._on_silence(problem)
                return

    def _judge(self, now_s: float, begun_s: float) -> str | None:
        """Why the camera counts as lost; None while it does not."""
        picture_at_s = self._picture_at_s
        if picture_at_s is not None and not self.needs_key:
            return (
                f"no frame within {self._silence_s:g} s" if now_s - picture_at_s > self._silence_s else None
            )
        if now_s - max(self._data_at_s, picture_at_s or 0.0) > self._silence_s:
            return f"no data within {self._silence_s:g} s"
        if now_s - (picture_at_s or begun_s) > self._first_picture_s:
            return (
                f"data comes, but no picture within {self._first_picture_s:g} s; let the camera send key frames "
                "(I-frames) more often, or check that it sends video"
            )
        return None
