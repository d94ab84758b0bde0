"""What an HTTP address of a camera gives: a stream, which FFmpeg plays, or one still picture, which is asked for again.

Runs only inside a capture process. Standard library only; a picture is neither decoded nor judged here.
"""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPDefaultErrorHandler,
    HTTPDigestAuthHandler,
    HTTPErrorProcessor,
    HTTPHandler,
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
        open_timeout_s: Longest wait for the first answer.
        read_timeout_s: Longest wait for a later one, and for the rest of a picture.
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
        self._opener = _make_opener(f"{parts.scheme}://{host}/", parts.username, parts.password)

    def look(self) -> HttpAnswer | None:
        """Ask once; None when it speaks no HTTP that is understood here, which FFmpeg may.

        Raises:
            CaptureFailed: an error status, or no answer in time.
        """
        with self._ask(self._open_timeout_s) as response:
            if response is None:
                return None
            content_type = response.headers.get_content_type() if "Content-Type" in response.headers else ""
            still = None
            if content_type.partition("/")[0] == "image":
                still = self._read_whole(response)
            return HttpAnswer(content_type, still)

    def fetch(self) -> bytes:
        """The still picture of now.

        Raises:
            CaptureFailed: an error status, no whole answer in time, or more than ``max_still_bytes``.
        """
        with self._ask(self._read_timeout_s) as response:
            still = None if response is None else self._read_whole(response)
        if still is None:
            raise CaptureFailed(
                f"no whole picture within {self._read_timeout_s:g} s, or more than {self._max_still_bytes} bytes "
                "(pictures.max_frame_mib)"
            )
        return still

    @contextmanager
    def _ask(self, timeout_s: float) -> Iterator[HTTPResponse | None]:
        try:
            request = Request(self._url, headers={"User-Agent": "edge-runtime", "Accept": "*/*"})  # noqa: S310 - the opener knows http and https only
            response = cast("HTTPResponse", self._opener.open(request, timeout=timeout_s))
        except HTTPError as err:
            err.close()
            raise CaptureFailed(f"the camera answers {err.code} ({err.reason})") from err
        except TimeoutError as err:
            raise CaptureFailed(f"no answer within {timeout_s:g} s") from err
        except URLError as err:
            raise CaptureFailed(f"no answer: {err.reason}") from err
        except (OSError, ValueError, HTTPException):
            yield None
            return
        with response:
            yield response

    def _read_whole(self, response: HTTPResponse) -> bytes | None:
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
        return bytes(body) if not response.length else None


def _make_opener(root: str, user: str | None, password: str | None) -> OpenerDirector:
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
        HTTPHandler(), HTTPSHandler(context=context), HTTPRedirectHandler(), HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(), HTTPDigestAuthHandler(logins), HTTPBasicAuthHandler(logins),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener
