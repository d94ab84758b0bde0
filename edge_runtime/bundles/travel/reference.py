"""The name of a bundle in a registry: ``oci://HOST[:PORT]/NAME:VERSION``, or pinned ``oci://HOST/NAME@sha256:...``."""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from edge_runtime.errors import BadReference
from edge_runtime.system.redaction import redact_url

SCHEME = "oci://"
MAX_LENGTH = 512
_HOST = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_PORT = 65535
# Without an @: what stands before one is hidden as a password.
_EXPECTED = "oci://HOST[:PORT]/NAME:VERSION, or an at sign and sha256:HASH in place of :VERSION"


@dataclass(frozen=True, slots=True)
class Reference:
    """A bundle in a registry; at least one of ``tag`` and ``digest`` is there, and the digest decides."""

    host: str
    """With its port, where one was given."""
    repository: str
    tag: str | None
    digest: str | None

    @property
    def name(self) -> str:
        """The last part of the repository, which is the bundle's name."""
        return self.repository.rpartition("/")[2]

    @property
    def version(self) -> int | None:
        """The version that the tag says; None where it is a word."""
        tag = self.tag or ""
        return int(tag) if re.fullmatch(r"[1-9][0-9]{0,8}", tag) else None

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine."""
        match = _HOST.fullmatch(self.host)
        name = match["name"].strip("[]") if match else ""
        if name == "localhost":
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return False

    def pin(self, digest: str) -> str:
        """The full text with a digest, which always names the same bytes."""
        return f"{SCHEME}{self.host}/{self.repository}@{digest}"

    def __str__(self) -> str:
        """For messages. Without an @, which the log would take for the end of a password."""
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f" ({self.digest})"
        return f"{SCHEME}{self.host}/{self.repository}{tag}{digest}"


def is_reference(text: str) -> bool:
    """Whether a text names a bundle in a registry, rightly or not."""
    return text.startswith(SCHEME)


def parse_reference(text: str) -> Reference:
    """Read a reference.

    Raises:
        BadReference: it is none; a password in it is not shown.
    """
    rest = text.removeprefix(SCHEME)
    host, slash, path = rest.partition("/")
    if "@" in host:
        expected = "no user and password: they belong into ~/.docker/config.json"
        raise BadReference(redact_url(f"{SCHEME}{host}/..."), "credentials", expected)
    if not is_reference(text) or len(text) > MAX_LENGTH or not slash:
        raise BadReference(redact_url(text[:MAX_LENGTH]), "another form", _EXPECTED)
    path, at, digest = path.partition("@")
    repository, colon, tag = path.partition(":")
    match = _HOST.fullmatch(host)
    wrong = [
        (match is None or not 1 <= int(match["port"] or 1) <= _MAX_PORT, "host"),
        (not _REPOSITORY.fullmatch(repository), "name"),
        (bool(colon) and not _TAG.fullmatch(tag), "version"),
        (bool(at) and not _DIGEST.fullmatch(digest), "digest"),
        (not colon and not at, "version: none is given"),
    ]
    if part := next((name for is_wrong, name in wrong if is_wrong), None):
        raise BadReference(redact_url(text), f"a wrong {part}" if ":" not in part else part, _EXPECTED)
    return Reference(host, repository, tag or None, digest or None)
