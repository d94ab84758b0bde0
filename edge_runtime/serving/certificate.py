"""The certificate and the key of the servers: whether they can be used, until when, and the ones that are there now.

The standard library reads no certificate that it does not verify, so it is made to: the pair shakes hands with itself.
That also proves that it works.
"""

import ssl
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog

from calibration.stats.regular_file import read_whole
from edge_runtime.errors import ExitCode
from edge_runtime.serving.listener import NotListening
from edge_runtime.system.regular_file import Marks, read_marks

LOOK_EVERY_S = 1.0
SOON_S = 14 * 86_400.0
"""Programs that renew certificates do so a month before; one that is left has failed."""
_MOST_BYTES = 2**20
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL: the dates of one that has expired are of interest too."""
log = structlog.get_logger()


class CertificateUnusable(NotListening):
    """The servers cannot use these files; the text says why, and what was expected."""

    exit_code = ExitCode.CONFIG


@dataclass(frozen=True, slots=True)
class Certificate:
    """One that can be used."""

    context: ssl.SSLContext
    begins_at_wall_s: float
    ends_at_wall_s: float
    """POSIX seconds."""
    cert_pem: bytes
    key_pem: bytes = field(repr=False)
    is_key_open: bool
    """Whether every user of the machine may read the key."""


def describe_end(ends_at_wall_s: float, now_wall_s: float) -> str | None:
    """That it has expired, or does so soon; None while it lasts. Both times are POSIX seconds."""
    if ends_at_wall_s > now_wall_s + SOON_S:
        return None
    day = datetime.fromtimestamp(ends_at_wall_s, UTC).strftime("%Y-%m-%d")
    return f"expires on {day}" if ends_at_wall_s > now_wall_s else f"has expired on {day}"


def open_certificate(cert: Path, key: Path) -> Certificate:
    """The pair in these files; one that has expired too, which clients may refuse.

    Raises:
        CertificateUnusable: it cannot be used.
    """
    cert_pem, key_pem = _read(cert, "certificate", b"CERTIFICATE"), _read(key, "key", b"PRIVATE KEY")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password="")  # without one OpenSSL asks at the terminal
        found = _shake_hands(context, cert)
    except (ssl.SSLError, OSError) as err:
        raise CertificateUnusable(_explain(err, cert, key)) from err
    begins_at_s, ends_at_s = (
        float(ssl.cert_time_to_seconds(found[name])) for name in ("notBefore", "notAfter")
    )
    is_key_open = bool(key.stat().st_mode & stat.S_IROTH)
    return Certificate(context, begins_at_s, ends_at_s, cert_pem, key_pem, is_key_open)


def _read(path: Path, what: str, marker: bytes) -> bytes:
    try:
        text = read_whole(path, _MOST_BYTES)
    except OSError as err:
        raise CertificateUnusable(f"the {what} {path} cannot be read ({err.strerror})") from err
    if marker not in text:
        raise CertificateUnusable(f"{path} holds no {what}; expected PEM (-----BEGIN ...)")
    if b"ENCRYPTED" in text:
        raise CertificateUnusable(f"the {what} {path} needs a passphrase; expected one without")
    return text


def _explain(err: OSError, cert: Path, key: Path) -> str:
    if getattr(err, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"the key {key} is not that of the certificate {cert}; expected both from the same order"
    return f"{cert} and {key} cannot be used ({err})"


def _shake_hands(server_context: ssl.SSLContext, cert: Path) -> dict[str, str]:
    """The certificate as a client that trusts it sees it."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    client_context.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(8):  # two for each turn of TLS 1.2, and some
        waiting = [one for one in waiting if not _step(one)]
    found = client.getpeercert()
    assert found is not None  # it has shaken hands
    return {name: str(found[name]) for name in ("notBefore", "notAfter")}


def _step(one: ssl.SSLObject) -> bool:
    try:
        one.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


class CertificateFiles:
    """The certificate that is in the files now. Safe from any thread.

    Args:
        cert: PEM, the own certificate first, then those of the authorities between.
        key: PEM, without a passphrase.
        clock: Monotonic seconds.
    """

    def __init__(self, cert: Path, key: Path, clock: Callable[[], float]) -> None:
        self._cert, self._key, self._clock = cert, key, clock
        self._marks: Marks = ()
        self._certificate: Certificate | None = None
        self._looks_at_s = float("-inf")
        self._lock = threading.Lock()

    def read(self) -> Certificate:
        """The newest pair that can be used: one that was half written waits for its other half.

        Raises:
            CertificateUnusable: there was none yet.
        """
        with self._lock:
            return self._read()

    def find_end(self) -> float | None:
        """When the pair in use expires, POSIX seconds; None where there was none yet."""
        try:
            return self.read().ends_at_wall_s
        except CertificateUnusable:
            return None

    def _read(self) -> Certificate:
        now_s = self._clock()
        if self._certificate is not None and now_s < self._looks_at_s:
            return self._certificate
        self._looks_at_s = now_s + LOOK_EVERY_S
        marks = read_marks(self._cert, self._key)
        if self._certificate is not None and marks == self._marks:
            return self._certificate
        self._marks = marks
        try:
            found = open_certificate(self._cert, self._key)
        except CertificateUnusable as err:
            if self._certificate is None:
                raise
            log.error("the new certificate cannot be used; the one before stays", reason=str(err))
            return self._certificate
        if self._certificate is not None:
            log.info("the new certificate is in use", until_wall_s=found.ends_at_wall_s)
        self._certificate = found
        return found
