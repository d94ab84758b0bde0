"""One file at an https address, for ``partial``: its size, and its bytes from some place on.

Redirects are followed one by one, each only to an address that is allowed. No credentials are sent: none are kept for
such addresses, and ``~/.netrc`` is not looked at.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin

from edge_runtime.bundles.travel.bounded_http import prepare_session
from edge_runtime.bundles.travel.http_errors import MAX_REDIRECTS, as_registry_errors, is_passing
from edge_runtime.bundles.travel.registry import BlobPart
from edge_runtime.config.install_sources import BadAddress, SourceAddress, parse_file_address
from edge_runtime.errors import ExtraMissing, RegistryLost, RegistryRefused

if TYPE_CHECKING:
    from requests import Response

_CHUNK_BYTES = 64 * 1024
_OK, _PARTIAL_CONTENT = 200, 206
_LONGEST_SIZE = 18
"""Digits: of an exabyte."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def require_http_file(needed_for: str) -> None:
    """Whether what it needs is installed.

    Raises:
        ExtraMissing: requests is not.
    """
    try:
        import_module("requests")
    except ImportError as err:
        raise ExtraMissing(needed_for, "travel") from err


class HttpFile:
    """See the module. Implements ``registry.Blobs``, with one blob."""

    def __init__(
        self,
        address: SourceAddress,
        may_ask: Callable[[SourceAddress], bool],
        *,
        query: str = "",
        key: str = "bundles.install_from",
        needed_for: str = "bundles from an address",
        is_outer: bool = False,
    ) -> None:
        """Connects with the first request.

        Args:
            address: Of the file.
            may_ask: Whether a redirect may lead to an address.
            query: Behind the address, with its question mark; not behind that of a redirect, and in no message.
            key: That says where redirects may lead.
            needed_for: What the library is for.
            is_outer: Whether a name that leads to an address inside this machine or near it is refused.

        Raises:
            ExtraMissing: requests is not installed.
        """
        require_http_file(needed_for)
        import requests

        self._address, self._may_ask = address, may_ask
        self._query, self._key = query, key
        self._session = requests.Session()
        prepare_session(
            self._session,
            is_plain=address.is_loopback,
            is_loopback=address.is_loopback,
            is_outer=is_outer and not address.is_loopback,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def find_size(self) -> int:
        """Its length in bytes.

        Raises:
            RegistryLost, RegistryRefused: as the port says.
        """
        with self._get("bytes=0-0") as answer:
            _, slash, total = answer.headers.get("Content-Range", "").partition("/")
            said = total if slash else answer.headers.get("Content-Length", "")
        if not (said.isascii() and said.isdecimal() and len(said) <= _LONGEST_SIZE):
            raise self._refuse("it does not say how long the file is; expected Content-Length")
        return int(said)

    @contextmanager
    def open_blob(self, _digest: str, start: int, /) -> Iterator[BlobPart]:
        """See the port. The digest can only be that of the file."""
        with self._get(f"bytes={start}-" if start else None) as answer:
            began = start if answer.status_code == _PARTIAL_CONTENT else 0
            said = answer.headers.get("Content-Range", "")
            if began and not said.startswith(f"bytes {start}-"):
                raise self._refuse(f"another part of the file than was asked for ({said[:60]!r})")
            yield BlobPart(began, self._read(answer))

    @contextmanager
    def _get(self, part: str | None) -> "Iterator[Response]":
        """The answer with the content, after redirects; closed at the end."""
        address, query = self._address, self._query
        for _ in range(MAX_REDIRECTS + 1):
            with self._ask(f"{address}{query}", part) as answer:
                if answer.status_code not in _REDIRECTS:
                    self._require(answer)
                    yield answer
                    return
                address, query = self._follow(address, answer.headers.get("Location", "")), ""
        raise self._refuse(f"it leads on to another address more than {MAX_REDIRECTS} times")

    def _ask(self, url: str, part: str | None) -> "Response":
        headers = {} if part is None else {"Range": part}
        with as_registry_errors(str(self._address)):
            return self._session.get(url, headers=headers, stream=True, allow_redirects=False)

    def _follow(self, address: SourceAddress, location: str) -> SourceAddress:
        try:
            found = parse_file_address(urljoin(str(address), location))
        except (BadAddress, ValueError) as err:
            raise self._refuse("it leads to an address that is not plain; expected the file") from err
        if not self._may_ask(found):
            raise self._refuse(f"it leads to {found}, which {self._key} does not allow")
        return found

    def _read(self, answer: "Response") -> Iterator[bytes]:
        """The bytes as they travel: a compressed answer is not unpacked."""
        with as_registry_errors(str(self._address)):
            while chunk := answer.raw.read(_CHUNK_BYTES, decode_content=False):
                yield chunk

    def _require(self, answer: "Response") -> None:
        code = answer.status_code
        if code in (_OK, _PARTIAL_CONTENT):
            return
        if is_passing(code):
            raise RegistryLost(str(self._address), f"it answers {code}")
        raise self._refuse(f"it answers {code}; expected the file")

    def _refuse(self, reason: str) -> RegistryRefused:
        return RegistryRefused(str(self._address), reason)
