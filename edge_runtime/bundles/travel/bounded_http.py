"""HTTP with an end: answers in bytes, in the length of the lines around them, and in time; requests in time.

A timeout of a connection only bounds how long nothing comes: one byte a second passes it for years, in the header lines
as in the content. So what arrives is also counted against the time that was spent on waiting for it. For what is sent
the same timeout is too short: it counts for all that one call sends, however steadily that goes. So it is sent in
pieces.
"""

import errno
import io
import logging
import socket
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from edge_runtime.bundles.travel.registry import GRACE_S, LEAST_BYTES_PER_S
from edge_runtime.system.inner_address import is_inner

CONNECT_TIMEOUT_S = 10.0
PIECE_BYTES = 16 * 1024
"""Sent with one timeout; also the most that the operating system keeps of what it has not sent yet. Without that bound
it may keep 4 MiB, takes no more until a third of them is gone, and an answer is waited for while they still travel."""
MAX_UNASKED_BYTES = 1024 * 1024
"""Of an answer that is not a document or a blob: to a login, with a token, of an error, on the way to another address.
"""
MAX_HEADER_CHARACTERS = 8192
"""Of one header line. oras and requests search some with patterns whose time grows with the square of the length."""


class PlainHttp(Exception):
    """A request would go without TLS to another machine."""


class InnerPeer(Exception):
    """A name leads to an address inside this machine, or near it."""


class TooLong(Exception):
    """The lines around an answer, or one that is read whole, are longer than expected; the text says how long."""


class PacedReader(io.RawIOBase):
    """What a connection gives, as long as it comes fast enough. Only the time spent on reading counts."""

    def __init__(self, raw: io.RawIOBase, clock: Callable[[], float] = time.monotonic) -> None:
        """``raw`` is closed with this."""
        super().__init__()
        self._raw, self._clock = raw, clock
        self._spent_s, self._read = 0.0, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """See ``io.RawIOBase``.

        Raises:
            TimeoutError: less came than :data:`LEAST_BYTES_PER_S`.
        """
        began_s = self._clock()
        count = self._raw.readinto(buffer)
        self._spent_s += self._clock() - began_s
        self._read += count or 0
        if count and self._spent_s > GRACE_S + self._read / LEAST_BYTES_PER_S:
            raise _too_slow()
        return count

    def fileno(self) -> int:
        """That of the connection."""
        return self._raw.fileno()

    def close(self) -> None:
        """See ``io.RawIOBase``."""
        self._raw.close()
        super().close()


def send_paced(send: Callable[[Any], None], data: Any, clock: Callable[[], float] = time.monotonic) -> None:
    """Send bytes in pieces, as long as they are taken fast enough.

    Args:
        send: Sends one piece; its ``TimeoutError`` means that the piece was not taken in :data:`GRACE_S`.
        data: Bytes, of any number.
        clock: Monotonic seconds.

    Raises:
        TimeoutError: less was taken than :data:`LEAST_BYTES_PER_S`.
    """
    began_s, view = clock(), memoryview(data)
    for start in range(0, len(view), PIECE_BYTES):
        piece = view[start : start + PIECE_BYTES]
        try:
            send(piece)
        except TimeoutError as err:
            raise _too_slow() from err
        if clock() - began_s > GRACE_S + (start + len(piece)) / LEAST_BYTES_PER_S:
            raise _too_slow()


class _BoundedLines(io.BufferedReader):
    """Lines stand around the content: the header, interim answers, sizes of chunks, the trailer.

    http.client and urllib3 read them until one is the last. They may be as long as the content that was read, and
    :data:`MAX_UNASKED_BYTES` more.
    """

    _left = MAX_UNASKED_BYTES

    def readline(self, size: int | None = -1, /) -> bytes:
        most = self._left + 1
        line = super().readline(most if size is None or size < 0 else min(size, most))
        self._left -= len(line)
        if self._left < 0:
            raise TooLong(f"more than {MAX_UNASKED_BYTES} bytes around the content")
        return line

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._left += len(data)
        return data

    def read1(self, size: int = -1, /) -> bytes:
        data = super().read1(size)
        self._left += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        self._left += count
        return count


class _PacedResponse(HTTPResponse):
    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = _BoundedLines(PacedReader(self.fp.detach()))

    def begin(self) -> None:
        super().begin()
        for name, value in self.headers.items():
            if len(value) > MAX_HEADER_CHARACTERS:
                raise TooLong(f"a header {name[:40]!r} of {len(value)} characters")


class _PacedConnection(HTTPConnection):
    """In front of a connection of urllib3, which keeps :data:`CONNECT_TIMEOUT_S` until all is sent."""

    response_class = _PacedResponse
    is_outer = False
    """Whether the other end must not be an inner address."""

    def _new_conn(self) -> socket.socket:
        """Urllib3's, looked at before anything is sent: what a name led to a moment ago says nothing."""
        connection: socket.socket = super()._new_conn()  # type: ignore[misc]
        if self.is_outer and is_inner(connection.getpeername()[0]):
            connection.close()
            raise InnerPeer
        return connection

    def send(self, data: Any) -> None:
        if self.sock is None:
            super().send(b"")  # connects, where that is allowed
        self.sock.settimeout(GRACE_S)
        send_paced(super().send, data)


class _Bounded:
    """What an answer is read from. Who asks for parts counts them; what ``requests`` reads whole is counted here."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amount: int, decode_content: bool | None = None) -> Iterator[bytes]:
        read = 0
        for chunk in self._raw.stream(amount, decode_content=decode_content):
            read += len(chunk)
            if read > MAX_UNASKED_BYTES:
                raise _too_long()
            yield chunk

    def read(self, amount: int | None = None, decode_content: bool | None = None) -> bytes:
        most = MAX_UNASKED_BYTES + 1 if amount is None else amount
        data: bytes = self._raw.read(most, decode_content=decode_content)
        if amount is None and len(data) == most:
            raise _too_long()
        return data


def prepare_session(session: Any, *, is_plain: bool, is_loopback: bool, is_outer: bool = False) -> None:
    """Make a session of ``requests`` bounded, and give it no credentials that it finds by itself.

    Args:
        session: Its settings are changed.
        is_plain: Whether it may go without TLS.
        is_loopback: Whether the other end is on this machine.
        is_outer: Whether names that lead to an inner address are refused. A proxy may have one, and looks up names
            itself.
    """
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # it warns of what is told as an error anyway
    session.trust_env = not is_loopback  # a proxy cannot reach this machine's loopback
    session.auth = lambda request: request  # else requests looks into ~/.netrc
    session.headers["Accept-Encoding"] = "identity"  # sizes are of the bytes that travel
    session.mount("https://", make_bounded_adapter(is_allowed=True, is_outer=is_outer))
    session.mount("http://", make_bounded_adapter(is_allowed=is_plain, is_outer=is_outer))


def make_bounded_adapter(*, is_allowed: bool, is_outer: bool = False) -> Any:
    """An adapter for ``requests`` whose answers all have an end; or one that refuses each request (``PlainHttp``)."""
    from requests.adapters import HTTPAdapter

    adapter: Any = HTTPAdapter()
    send, find_proxy = adapter.send, adapter.proxy_manager_for
    _pace_pools(adapter.poolmanager, is_outer=is_outer)

    def send_bounded(*arguments: Any, **options: Any) -> Any:
        if not is_allowed:
            raise PlainHttp
        answer = send(*arguments, **{**options, "timeout": (CONNECT_TIMEOUT_S, GRACE_S)})
        answer.raw = _Bounded(answer.raw)
        return answer

    def find_paced_proxy(*arguments: Any, **options: Any) -> Any:
        manager = find_proxy(*arguments, **options)
        _pace_pools(manager, is_outer=False)
        return manager

    adapter.send, adapter.proxy_manager_for = send_bounded, find_paced_proxy
    return adapter


def _pace_pools(manager: Any, *, is_outer: bool) -> None:
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection as Connection

    manager.pool_classes_by_scheme = {
        "http": _pace(HTTPConnectionPool, is_outer=is_outer),
        "https": _pace(HTTPSConnectionPool, is_outer=is_outer),
    }
    bound = (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PIECE_BYTES)
    manager.connection_pool_kw["socket_options"] = [*Connection.default_socket_options, bound]


def _pace(pool: Any, *, is_outer: bool) -> Any:
    connection = type("PacedConnection", (_PacedConnection, pool.ConnectionCls), {"is_outer": is_outer})
    return type("PacedPool", (pool,), {"ConnectionCls": connection})


def _too_slow() -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, f"slower than {LEAST_BYTES_PER_S} bytes a second")


def _too_long() -> TooLong:
    return TooLong(f"an answer of more than {MAX_UNASKED_BYTES} bytes")
