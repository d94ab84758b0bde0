"""What an HTTP address of a camera gives: a stream, which FFmpeg plays, or one still picture, which is asked for again.

Runs only inside a capture process. Standard library only; a picture is neither decoded nor judged here.
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import IO, Any, Self, cast
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    AbstractHTTPHandler,
    HTTPBasicAuthHandler,
    HTTPDefaultErrorHandler,
    HTTPDigestAuthHandler,
    HTTPErrorProcessor,
    HTTPPasswordMgrWithDefaultRealm,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
)

from edge_runtime.sources.capture_protocol import CaptureFailed

_CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The first answer of an address."""

    content_type: str
    """In small letters, without parameters; empty when there is none."""
    still: bytes | None
    """The picture, when it is one that ends; None for a stream and anything else."""


class HttpCamera:
    """One HTTP address.

    Args:
        url: With user and password where it needs them.
        open_timeout_s: Longest wait for the whole of the first answer.
        read_timeout_s: Longest wait for the whole of a later one, and for the rest of the first picture.
        max_still_bytes: Larger pictures are refused.
    """

    def __init__(
        self, url: str, open_timeout_s: float, read_timeout_s: float, max_still_bytes: int = 64 << 20
    ) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self._url = parts._replace(netloc=host).geturl()
        self._open_timeout_s, self._read_timeout_s = open_timeout_s, read_timeout_s
        self._max_still_bytes = max_still_bytes
        self._root, self._user, self._password = f"{parts.scheme}://{host}/", parts.username, parts.password

    def look(self) -> HttpAnswer | None:
        """Ask once; None when it speaks no HTTP that is understood here or sends on to another host: FFmpeg may follow.

        Raises:
            CaptureFailed: an error status, no answer in time, or a picture of more than ``max_still_bytes``.
        """
        try:
            with self._ask(self._open_timeout_s) as (response, limit):
                kind = response.headers.get_content_type() if "Content-Type" in response.headers else ""
                still = self._read_whole(response, limit) if kind.partition("/")[0] == "image" else None
                return HttpAnswer(kind, still)
        except _NotUnderstood:
            return None

    def fetch(self) -> bytes:
        """The still picture of now.

        Raises:
            CaptureFailed: an error status, no whole answer in time, or more than ``max_still_bytes``.
        """
        with self._ask(self._read_timeout_s) as (response, limit):
            still = self._read_whole(response, limit)
        if still is None:
            raise CaptureFailed(
                f"no whole picture within {self._read_timeout_s:g} s, or more than {self._max_still_bytes} bytes "
                "(pictures.max_frame_mib)"
            )
        return still

    @contextmanager
    def _ask(self, timeout_s: float) -> Iterator[tuple[HTTPResponse, "_TimeLimit"]]:
        """An answer whose headers came; it and its body end ``timeout_s`` after the question.

        Raises:
            CaptureFailed: an error status, or no answer in time.
            _NotUnderstood: FFmpeg may have more luck.
        """
        with _TimeLimit(timeout_s) as limit:
            try:
                request = Request(self._url, headers={"User-Agent": "edge-runtime", "Accept": "*/*"})  # noqa: S310 - the opener knows http and https only
                opener = _make_opener(self._root, self._user, self._password, limit)
                response = cast("HTTPResponse", opener.open(request, timeout=timeout_s))
            except HTTPError as err:
                err.close()
                limit.check()
                raise CaptureFailed(f"the camera answers {err.code} ({err.reason})") from err
            except TimeoutError as err:
                raise CaptureFailed(f"no whole answer within {timeout_s:g} s") from err
            except URLError as err:
                limit.check()
                raise CaptureFailed(f"no answer: {err.reason}") from err
            except (OSError, ValueError, HTTPException) as err:
                limit.check()
                raise _NotUnderstood("the camera's answer is not understood") from err
            with response:
                limit.check()
                yield response, limit

    def _read_whole(self, response: HTTPResponse, limit: "_TimeLimit") -> bytes | None:
        """The body of an answer that ends in time; None for one that goes on."""
        if (response.length or 0) > self._max_still_bytes:
            raise CaptureFailed(
                f"a picture of {response.length} bytes; at most {self._max_still_bytes} are allowed "
                "(pictures.max_frame_mib)"
            )
        end_s, body = time.monotonic() + self._read_timeout_s, bytearray()
        try:
            while chunk := response.read1(_CHUNK_BYTES):
                body += chunk
                if len(body) > self._max_still_bytes or time.monotonic() > end_s:
                    return None
        except (OSError, HTTPException):  # cut off, or nothing more in time
            return None
        return None if response.length or limit.is_over else bytes(body)


class _NotUnderstood(CaptureFailed):
    """No HTTP that is understood here."""


class _TimeLimit:
    """Ends the connections of one question: a limit of a socket is one of each read, and headers may drip for ever."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._timer = threading.Timer(timeout_s, self._end)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.is_over = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def watch(self, one: socket.socket) -> None:
        """A connection was opened."""
        with self._lock:
            self._sockets.append(one)
        if self.is_over:
            self._end()

    def check(self) -> None:
        """Raise CaptureFailed when the time is over."""
        if self.is_over:
            raise CaptureFailed(f"no whole answer within {self._timeout_s:g} s")

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            for one in self._sockets:
                with suppress(OSError):
                    socket.socket.shutdown(one, socket.SHUT_RDWR)  # not that of TLS, which changes the object


class _Connections(HTTPSHandler):
    """Opens connections under a time limit."""

    def __init__(self, context: ssl.SSLContext, limit: _TimeLimit) -> None:
        super().__init__(context=context)
        self._tls, self._limit = context, limit

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(self._open_plain, req)

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(self._open_tls, req)

    http_request = https_request = AbstractHTTPHandler.do_request_

    def _open_plain(self, host: str, /, **options: Any) -> HTTPConnection:
        return self._watch(HTTPConnection(host, **options))

    def _open_tls(self, host: str, /, **options: Any) -> HTTPConnection:
        return self._watch(HTTPSConnection(host, context=self._tls, **options))

    def _watch(self, connection: HTTPConnection) -> HTTPConnection:
        connect = connection.connect

        def connect_watched() -> None:
            connect()
            self._limit.watch(connection.sock)

        connection.connect = connect_watched  # type: ignore[method-assign]
        return connection


class _SameHost(HTTPRedirectHandler):
    """Follows redirects within the host of the address: any other one is asked by FFmpeg alone, if at all."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """The next question.

        Raises:
            _NotUnderstood: it is another host.
        """
        if urlsplit(newurl).hostname != urlsplit(req.full_url).hostname:
            raise _NotUnderstood(
                "the camera sends on to another host; put that address into the configuration"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _make_opener(root: str, user: str | None, password: str | None, limit: _TimeLimit) -> OpenerDirector:
    """Redirects and logins, over HTTP and HTTPS and nothing else; no proxy of the environment.

    Certificates are not verified, as FFmpeg does not: cameras sign their own.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    logins = HTTPPasswordMgrWithDefaultRealm()
    if user is not None:
        logins.add_password(None, root, unquote(user), unquote(password or ""))
    opener = OpenerDirector()
    for handler in (
        _Connections(context, limit), _SameHost(), HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(), HTTPDigestAuthHandler(logins), HTTPBasicAuthHandler(logins),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener
