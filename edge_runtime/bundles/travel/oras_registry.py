"""A registry spoken to through ``oras``; the one file that imports it.

oras brings the session, the addresses and the token dance of registries. What it would do unasked is left out: it tries
five times for two minutes even where credentials are wrong, reads whole blobs into memory, and sends a password to any
address over plain http.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin, urlsplit

from edge_runtime.bundles.travel.bounded_http import TooLong, prepare_session
from edge_runtime.bundles.travel.credentials import Credentials
from edge_runtime.bundles.travel.http_errors import (
    CHECK_HOST,
    CHECK_STORAGE,
    MAX_REDIRECTS,
    as_registry_errors,
    is_passing,
)
from edge_runtime.bundles.travel.model_pack import INDEX_TYPE, MANIFEST_TYPE, MAX_MANIFEST_BYTES
from edge_runtime.bundles.travel.reference import Reference
from edge_runtime.bundles.travel.registry import BlobPart
from edge_runtime.errors import ExtraMissing, RegistryLost, RegistryRefused
from edge_runtime.system.redaction import PROCESS

if TYPE_CHECKING:
    from requests import Response

_ADDRESSES = {"docker.io": "registry-1.docker.io"}
"""A registry whose name is not its address."""
_CHUNK_BYTES = 64 * 1024
"""Of a chunk that breaks off nothing is kept."""
_MAX_ERROR_BYTES = 4096
_OK, _CREATED, _ACCEPTED, _NO_CONTENT, _PARTIAL_CONTENT = 200, 201, 202, 204, 206
_UNAUTHORISED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_REDIRECTS = range(300, 400)


class OrasRegistry:
    """One repository. See the port for what the methods do."""

    def __init__(self, reference: Reference, credentials: Credentials | None, *, plain_http: bool) -> None:
        """Connects with the first request.

        Args:
            reference: Its host and repository count.
            credentials: For a registry that asks.
            plain_http: Without TLS. On this machine that is taken from ``reference`` as well.

        Raises:
            ExtraMissing: oras is not installed.
        """
        try:
            import oras.container
            import oras.provider
        except ImportError as err:
            raise ExtraMissing("registries", "travel") from err
        is_plain = plain_http or reference.is_loopback
        self._shown, self._credentials = str(reference), credentials
        host = _ADDRESSES.get(reference.host, reference.host)
        if not set(".:") & set(host):  # oras takes a first part for a registry only if it has one of these
            host = f"{host}:{80 if is_plain else 443}"
        self._container = oras.container.Container(f"{host}/{reference.repository}")
        self._registry = oras.provider.Registry(host, insecure=is_plain, auth_backend="token")
        self._base = f"{self._registry.prefix}://{host}"
        self._is_ready = self._has_tokens = False
        session = self._registry.session
        prepare_session(session, is_plain=is_plain, is_loopback=reference.is_loopback)
        session.max_redirects = MAX_REDIRECTS
        session.rebuild_auth = partial(_leave_out_auth, session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._registry.session.close()

    def get_manifest(self, name: str) -> bytes | None:
        """See the port."""
        return self._get_document(f"{self._registry.prefix}://{self._container.manifest_url(name)}")

    def _get_document(self, url: str) -> bytes | None:
        headers = {"Accept": f"{MANIFEST_TYPE}, {INDEX_TYPE}"}
        with self._ask("GET", url, headers=headers, stream=True) as answer:
            if answer.status_code == _NOT_FOUND:
                return None
            self._require(answer, _OK)
            data = bytearray()
            for chunk in self._read(answer):
                data += chunk
                if len(data) > MAX_MANIFEST_BYTES:
                    raise self._refuse(f"a manifest of more than {MAX_MANIFEST_BYTES} bytes")
            return bytes(data)

    @contextmanager
    def open_blob(self, digest: str, start: int) -> Iterator[BlobPart]:
        """See the port."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._ask("GET", self._blob(digest), headers=headers, stream=True) as answer:
            self._require(answer, _OK, _PARTIAL_CONTENT)
            began = start if answer.status_code == _PARTIAL_CONTENT else 0
            said = answer.headers.get("Content-Range", "")
            if began and not said.startswith(f"bytes {start}-"):
                raise self._refuse(f"another part of a blob than was asked for ({said[:60]!r})")
            yield BlobPart(began, self._read(answer))

    def has_blob(self, digest: str) -> bool:
        """See the port."""
        with self._ask("HEAD", self._blob(digest)) as answer:
            if answer.status_code == _NOT_FOUND:
                return False
            self._require(answer, _OK)
            return True

    def start_upload(self) -> str:
        """See the port."""
        url = f"{self._registry.prefix}://{self._container.upload_blob_url()}"
        with self._ask("POST", url, headers={"Content-Length": "0"}) as answer:
            self._require(answer, _ACCEPTED)
            return self._location(answer)

    def send_chunk(self, upload: str, start: int, data: bytes) -> str:
        """See the port."""
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{start}-{start + len(data) - 1}",
        }
        with self._ask("PATCH", upload, headers=headers, data=data) as answer:
            self._require(answer, _ACCEPTED, _NO_CONTENT)
            return self._location(answer)

    def find_upload(self, upload: str) -> tuple[str, int] | None:
        """See the port. A registry that was restarted may know its uploads no longer, or not their names."""
        with self._ask("GET", upload) as answer:
            if is_passing(answer.status_code):
                self._require(answer, _NO_CONTENT)
            _, dash, last = answer.headers.get("Range", "").partition("-")
            if answer.status_code != _NO_CONTENT or not dash or not last.isdecimal():
                return None
            return self._location(answer), int(last) + 1

    def finish_upload(self, upload: str, digest: str, data: bytes) -> None:
        """See the port."""
        mark = "&" if "?" in upload else "?"
        headers = {"Content-Type": "application/octet-stream"}
        with self._ask("PUT", f"{upload}{mark}digest={digest}", headers=headers, data=data) as answer:
            self._require(answer, _CREATED, _NO_CONTENT)

    def put_manifest(self, name: str, data: bytes, media_type: str) -> bool:
        """See the port."""
        url = f"{self._registry.prefix}://{self._container.manifest_url(name)}"
        with self._ask("PUT", url, headers={"Content-Type": media_type}, data=data) as answer:
            self._require(answer, _CREATED)
            return "OCI-Subject" in answer.headers

    def get_referrers(self, digest: str) -> bytes | None:
        """See the port."""
        return self._get_document(f"{self._base}/v2/{self._container.api_prefix}/referrers/{digest}")

    def _blob(self, digest: str) -> str:
        return f"{self._registry.prefix}://{self._container.get_blob_url(digest)}"

    def _ask(self, method: str, url: str, **more: Any) -> "Response":
        if not self._is_ready:
            self._log_in()
            self._is_ready = True
        answer = self._send(method, url, **more)
        if answer.status_code == _UNAUTHORISED and self._registry.auth.token is not None:
            # oras would send a token again that has expired, or is for reading only.
            self._registry.auth.token = None
            answer.close()
            answer = self._send(method, url, **more)
        return answer

    def _send(
        self, method: str, url: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> "Response":
        """One request, without oras' own five tries."""
        import oras.provider

        once: Callable[..., Response] = oras.provider.Registry.do_request.__wrapped__
        with self._translate():
            if "stream" not in more:
                return once(self._registry, url, method, headers=dict(headers or {}), **more)
            # Of a streamed answer that asks for a token, oras would leave the connection open.
            if self._has_tokens and self._registry.auth.token is None:
                once(self._registry, url, "HEAD", headers=dict(headers or {}))
            sent = {**(headers or {}), **self._registry.auth.get_auth_header()}
            streamed: Response = self._registry.session.request(method, url, headers=sent, **more)
            return streamed

    def _log_in(self) -> None:
        """Find out how the registry wants to be asked; oras knows tokens, and has to be told of passwords."""
        with self._translate(), self._registry.session.get(f"{self._base}/v2/") as answer:
            if answer.status_code != _UNAUTHORISED:
                self._require(answer, _OK, _NOT_FOUND, _FORBIDDEN)
                return
            scheme = answer.headers.get("WWW-Authenticate", "").partition(" ")[0].lower()
        found = self._credentials
        if scheme == "basic":
            if found is None:
                raise self._refuse("it asks for a user and a password; log in: docker login, or podman login")
            self._registry.session.auth = (found.user, found.password)
            return
        self._has_tokens = True
        if found is not None:
            self._registry.auth.set_basic_auth(found.user, found.password)

    def _read(self, answer: "Response") -> Iterator[bytes]:
        """The bytes as they travel: a compressed answer is not unpacked."""
        with self._translate():
            while chunk := answer.raw.read(_CHUNK_BYTES, decode_content=False):
                yield chunk

    def _location(self, answer: "Response") -> str:
        """Where an upload goes on: the same registry, or else a token would go to another host."""
        url: str = urljoin(answer.url, answer.headers.get("Location", ""))
        if urlsplit(url)[:2] != urlsplit(self._base)[:2]:
            raise self._refuse("it sends uploads to another address")
        return url

    def _require(self, answer: "Response", *accepted: int) -> None:
        code = answer.status_code
        if code in accepted:
            return
        reason = f"it answers {code} {answer.reason}{_words_of(answer)}"
        if is_passing(code):
            raise RegistryLost(self._shown, reason)
        if code in _REDIRECTS:
            reason = f"it leads on without an address ({reason}); expected the content; {CHECK_STORAGE}"
        if code in (_UNAUTHORISED, _FORBIDDEN):
            reason = f"not allowed ({reason}); log in: docker login, or podman login"
        raise self._refuse(reason)

    def _refuse(self, reason: str) -> RegistryRefused:
        return RegistryRefused(self._shown, PROCESS.text(reason))

    @contextmanager
    def _translate(self) -> Iterator[None]:
        """Its exceptions as ours."""
        import requests

        try:
            with as_registry_errors(self._shown):
                yield
        except (requests.exceptions.JSONDecodeError, AttributeError, KeyError, TypeError) as err:
            # oras reads what a registry says about tokens without looking twice
            expected = "WWW-Authenticate: Bearer with a realm, and a token in JSON from there"
            raise self._refuse(f"its login cannot be understood; expected {expected}; {CHECK_HOST}") from err


def _leave_out_auth(session: Any, request: Any, answer: "Response") -> None:
    """Before a redirect is followed: requests would also look into ~/.netrc, and find a password for any host there."""
    if session.should_strip_auth(answer.request.url, request.url):
        request.headers.pop("Authorization", None)


def _words_of(answer: "Response") -> str:
    """The first error that a registry names, in printable characters."""
    import requests

    try:
        text = answer.raw.read(_MAX_ERROR_BYTES, decode_content=False) if answer.raw else b""
        if not text:
            text = answer.content[:_MAX_ERROR_BYTES]
    except (requests.exceptions.RequestException, OSError, RuntimeError, TooLong):
        return ""
    shown = "".join(char if char.isprintable() else " " for char in text.decode(errors="replace"))
    return f": {shown[:200]}" if shown.strip() else ""
