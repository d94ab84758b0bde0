"""Addresses that bundles are installed from by command, or pictures loaded, and the prefixes that allow them.

Pure text. An address is compared by its parts, and only plain ones are understood: no user, no query, no escapes, no
``..``, no empty level. Whatever two readers could understand differently is refused.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address

MAX_LENGTH = 512
_ADDRESS = re.compile(r"(?P<scheme>oci|https|http)://(?P<host>[^/]+)(?P<path>/.*)?", re.DOTALL)
_HOST = re.compile(
    r"(?P<name>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_LEVEL = re.compile(r"(?!\.\.?$)[A-Za-z0-9._+=,~-]+")
_HTTPS_PORT, _MAX_PORT = "443", 65535


class BadAddress(ValueError):
    """The text is no plain address; says what is wrong, without the text, which may hold a password."""


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """Where a bundle lies, or the beginning of that."""

    scheme: str
    host: str
    """Small letters; with its port, unless that is the one of https."""
    levels: tuple[str, ...]
    """Of the path."""

    def allows(self, other: "SourceAddress") -> bool:
        """Whether another address is this one, or lies below it."""
        is_same_place = (self.scheme, self.host) == (other.scheme, other.host)
        return is_same_place and other.levels[: len(self.levels)] == self.levels

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        return _is_loopback(self.host)

    def __str__(self) -> str:
        return "/".join([f"{self.scheme}://{self.host}", *self.levels])


def parse_prefix(text: str) -> SourceAddress:
    """An entry of ``bundles.install_from``, such as ``oci://registry.example/lines/``.

    Raises:
        BadAddress: it is none.
    """
    return _parse(text)


def parse_file_address(text: str) -> SourceAddress:
    """The address of an archive, ``https://HOST[:PORT]/.../FILE``; ``http`` only on this machine.

    Raises:
        BadAddress: it is none.
    """
    found = _parse(text)
    if found.scheme == "oci" or not found.levels or text.endswith("/"):
        raise BadAddress("the address of no file; expected https://HOST/FILE")
    return found


def _parse(text: str) -> SourceAddress:
    match = _ADDRESS.fullmatch(text) if len(text) <= MAX_LENGTH and text.isascii() else None
    if match is None:
        raise BadAddress("another form; expected oci://HOST/NAME or https://HOST/PATH")
    scheme, host = match["scheme"], match["host"].lower()
    if "@" in host:
        raise BadAddress("a user or a password; expected none")
    parts = _HOST.fullmatch(host)
    if parts is None or int(parts["port"] or 1) > _MAX_PORT:
        raise BadAddress("a wrong host; expected HOST or HOST:PORT")
    if scheme == "http" and not _is_loopback(host):
        raise BadAddress("http, which anybody on the way can change; expected https")
    if scheme == "https" and parts["port"] == _HTTPS_PORT:
        host = parts["name"]
    path = (match["path"] or "").removeprefix("/").removesuffix("/")
    levels = tuple(path.split("/")) if path else ()
    if not all(_LEVEL.fullmatch(level) for level in levels):
        raise BadAddress("a path that is not plain; expected levels of letters, digits and . _ ~ + = , -")
    return SourceAddress(scheme, host, levels)


def _is_loopback(host: str) -> bool:
    found = _HOST.fullmatch(host)
    name = found["name"].strip("[]") if found else ""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
