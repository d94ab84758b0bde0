"""Messages between the daemon and the process that records: a line of JSON, then as many bytes as it says."""

import math
import pwd
import select
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

SOCKET_FILE = "record.sock"
"""In the state directory, for the daemon's user and root."""
VERSION = 1
MOST_HEAD_BYTES = 64 * 2**20
MOST_BODY_BYTES = 512 * 2**20
_CHUNK = 1 << 20


class LinkLost(Exception):
    """The other side has gone, or does not keep to the form."""


@dataclass(frozen=True, slots=True)
class Message:
    """``head`` has ``kind`` and what belongs to it."""

    head: dict[str, Any]
    body: bytes = b""

    @property
    def kind(self) -> str:
        """``request``, ``hello``, ``refused``, ``frame``, ``answer`` or ``end``."""
        return str(self.head.get("kind"))


class Link:
    """One end of a connected socket."""

    def __init__(
        self,
        sock: socket.socket,
        timeout_s: float,
        most_head_bytes: int = MOST_HEAD_BYTES,
        most_body_bytes: int = MOST_BODY_BYTES,
    ) -> None:
        """``timeout_s``: how long a message may be on its way, from the other side or to it."""
        sock.settimeout(timeout_s)
        self._sock, self._buffer, self._timeout_s = sock, bytearray(), timeout_s
        self._most_head_bytes, self._most_body_bytes = most_head_bytes, most_body_bytes

    def find_user(self) -> str:
        """The user of this machine whose process the other side is, as the kernel says; its number without a name."""
        told = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", told)
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return str(uid)

    def send(self, head: Mapping[str, Any], body: bytes | memoryview = b"") -> None:
        """Send one message.

        Raises:
            LinkLost: the other side has gone or takes nothing.
        """
        line = orjson.dumps({**head, "body_bytes": len(body)}, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
        try:
            self._sock.sendall(line)
            if len(body):
                self._sock.sendall(body)
        except OSError as err:
            raise LinkLost(f"the other side takes nothing more: {err}") from err

    def receive(self, wait_s: float) -> Message | None:
        """The next message; None: none began in time.

        Raises:
            LinkLost: no more will come.
        """
        if not self._buffer and not self.is_readable(wait_s):
            return None
        end_s = time.monotonic() + self._timeout_s
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > self._most_head_bytes:
                raise LinkLost("a message without an end")
            self._fill(end_s)
        head = _read_head(bytes(self._buffer[:end]), self._most_body_bytes)
        size = head.pop("body_bytes")
        while len(self._buffer) < end + 1 + size:
            self._fill(end_s)
        with memoryview(self._buffer) as view:  # megabytes: copied once
            body = bytes(view[end + 1 : end + 1 + size])
        del self._buffer[: end + 1 + size]
        return Message(head, body)

    def is_readable(self, wait_s: float) -> bool:
        """Whether something came, the end of the other side's words included."""
        poll = select.poll()  # select() takes no descriptor from 1024 on
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(math.ceil(max(wait_s, 0.0) * 1000)))

    def end_words(self) -> None:
        """Say that nothing more is sent; what the other side sends still comes."""
        self._sock.shutdown(socket.SHUT_WR)

    def _fill(self, end_s: float) -> None:
        if not self.is_readable(end_s - time.monotonic()):
            raise LinkLost("the other side does not end its message")
        try:
            more = self._sock.recv(_CHUNK)
        except OSError as err:
            raise LinkLost(f"the other side says nothing more: {err}") from err
        if not more:
            raise LinkLost("the other side has ended")
        self._buffer += more


def _read_head(line: bytes, most_body_bytes: int) -> dict[str, Any]:
    try:
        head = orjson.loads(line)
    except ValueError as err:
        raise LinkLost("a message that is no JSON") from err
    size = head.get("body_bytes") if isinstance(head, dict) else None
    if not isinstance(size, int) or not 0 <= size <= most_body_bytes:
        raise LinkLost("a message without its size")
    return dict(head)


def reach(folder: int) -> Path:
    """The socket in an open folder: the address of a socket has 108 bytes, and state directories may be deep."""
    return Path(f"/proc/self/fd/{folder}") / SOCKET_FILE
