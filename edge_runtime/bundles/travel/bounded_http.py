"""HTTP answers with an end: in bytes, in the length of their header lines, and in time.

A timeout of a connection only bounds how long nothing comes: one byte a second passes it for years, in the header lines
as in the content. So what arrives is also counted against the time that was spent on waiting for it.
"""

import errno
import io
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 30.0
LEAST_BYTES_PER_S = 1024
"""Of one answer, after :data:`READ_TIMEOUT_S`; a GPRS modem has five times that."""
MAX_UNASKED_BYTES = 1024 * 1024
"""Of an answer that is not a document or a blob: to a login, with a token, of an error, on the way to another address.
"""
MAX_HEADER_CHARACTERS = 8192
"""Of one header line. oras and requests search some with patterns whose time grows with the square of the length."""


class PlainHttp(Exception):
    """A request would go without TLS to another machine."""


class TooLong(Exception):
    """A header line, or an answer that is read whole, is longer than expected; the text says which and how long."""


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
        if count and self._spent_s > READ_TIMEOUT_S + self._read / LEAST_BYTES_PER_S:
            raise TimeoutError(errno.ETIMEDOUT, f"slower than {LEAST_BYTES_PER_S} bytes a second")
        return count

    def fileno(self) -> int:
        """That of the connection."""
        return self._raw.fileno()

    def close(self) -> None:
        """See ``io.RawIOBase``."""
        self._raw.close()
        super().close()


class _PacedResponse(HTTPResponse):
    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(PacedReader(self.fp.detach()))

    def begin(self) -> None:
        super().begin()
        for name, value in self.headers.items():
            if len(value) > MAX_HEADER_CHARACTERS:
                raise TooLong(f"a header {name[:40]!r} of {len(value)} characters")


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


def make_bounded_adapter(*, is_allowed: bool) -> Any:
    """An adapter for ``requests`` whose answers all have an end; or one that refuses each request (``PlainHttp``)."""
    from requests.adapters import HTTPAdapter

    adapter: Any = HTTPAdapter()
    send, find_proxy = adapter.send, adapter.proxy_manager_for
    adapter.poolmanager.pool_classes_by_scheme = _paced_pools()

    def send_bounded(*arguments: Any, **options: Any) -> Any:
        if not is_allowed:
            raise PlainHttp
        answer = send(*arguments, **{**options, "timeout": (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)})
        answer.raw = _Bounded(answer.raw)
        return answer

    def find_paced_proxy(*arguments: Any, **options: Any) -> Any:
        manager = find_proxy(*arguments, **options)
        manager.pool_classes_by_scheme = _paced_pools()
        return manager

    adapter.send, adapter.proxy_manager_for = send_bounded, find_paced_proxy
    return adapter


def _paced_pools() -> dict[str, Any]:
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

    return {"http": _pace(HTTPConnectionPool), "https": _pace(HTTPSConnectionPool)}


def _pace(pool: Any) -> Any:
    connection = type("PacedConnection", (pool.ConnectionCls,), {"response_class": _PacedResponse})
    return type("PacedPool", (pool,), {"ConnectionCls": connection})


def _too_long() -> TooLong:
    return TooLong(f"an answer of more than {MAX_UNASKED_BYTES} bytes")
