"""How to reach the MQTT broker: one frozen value that checks itself."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge_runtime.config import MqttConfig
from edge_runtime.errors import ConfigError, Problem
from edge_runtime.messaging.mqtt.topics import Topics

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files of an encrypted connection; the broker's name is always verified, there is no insecure switch."""

    ca: Path | None = None
    """PEM with the authorities to trust; None trusts those of the system."""
    cert: Path | None = None
    """PEM with this device's certificate, for brokers that want one; needs ``key``."""
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Everything the client needs.

    Raises:
        ConfigError: some values cannot work; all of them are listed.
    """

    host: str
    device: str
    port: int = 1883
    user: str | None = None
    password: str | None = None
    tls: TlsSettings | None = None
    prefix: str = "edge"
    keepalive_s: int = 15
    """A dead connection is noticed after one to two of these."""
    connect_timeout_s: float = 5.0
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 30.0
    max_inflight: int = 20
    """Unacknowledged messages at a time; a broker that allows fewer is obeyed. 20 is mosquitto's own limit."""
    max_message_bytes: int = 32 * 2**20
    """The largest packet the broker may send here (pictures come this way too)."""
    client_id: str | None = None
    """None connects as the device, with its last will; another client of the device's broker has an id and no will."""

    def __post_init__(self) -> None:
        checks = (
            (
                "mqtt.host",
                bool(self.host) and not any(c.isspace() or c == "\0" for c in self.host),
                "a host name",
            ),
            ("mqtt.port", 1 <= self.port <= 65_535, "1-65535"),
            ("mqtt.keepalive_s", 1 <= self.keepalive_s <= 65_535, "1-65535 seconds"),
            ("mqtt.connect_timeout_s", 0 < self.connect_timeout_s <= 300, "0-300 seconds"),
            (
                "mqtt.reconnect_min_s",
                0 < self.reconnect_min_s <= self.reconnect_max_s,
                "0 < min <= max seconds",
            ),
            ("mqtt.max_inflight", 1 <= self.max_inflight <= 65_535, "1-65535 messages"),
            ("mqtt.max_message_bytes", 1024 <= self.max_message_bytes <= 268_435_455, "1024-268435455 bytes"),
            ("mqtt.user", self.password is None or self.user is not None, "a user name with the password"),
        )
        problems = tuple(
            Problem(where, None, f"{getattr(self, where.removeprefix('mqtt.'))!r}", expected)
            for where, is_good, expected in checks
            if not is_good
        )
        if problems:
            raise ConfigError("MQTT settings", problems)
        Topics(self.prefix, self.device)

    def __repr__(self) -> str:
        return f"MqttSettings({self.user or 'anonymous'}@{self.host}:{self.port}, {self.topics.root})"

    @property
    def topics(self) -> Topics:
        """The topics of this device."""
        return Topics(self.prefix, self.device)

    def tls_context(self) -> ssl.SSLContext | None:
        """A fresh context, so that renewed certificates are used at the next connection; None without TLS.

        Raises:
            ConfigError: a file is missing or cannot be used.
        """
        if self.tls is None:
            return None
        ca_file = self.tls_file("ca")
        context = _load("mqtt.tls.ca", self.tls.ca, lambda: ssl.create_default_context(cafile=ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _TidySocket
        cert = self.tls.cert
        if cert is not None:
            _load("mqtt.tls.cert", cert, lambda: context.load_cert_chain(cert, self.tls_file("key")))
        elif self.tls.key is not None:
            raise ConfigError(
                "MQTT settings", (Problem("mqtt.tls.cert", None, "missing", "the key's certificate"),)
            )
        return context

    def tls_file(self, which: str) -> str | None:
        """Path of one of the TLS files as text; None when it is not set."""
        path: Path | None = getattr(self.tls, which)
        return None if path is None else str(path)


def make_mqtt_settings(device: str, mqtt: MqttConfig) -> MqttSettings:
    """The broker section as what the client takes.

    Raises:
        ConfigError: a value cannot be used.
    """
    tls = None if mqtt.tls is None else TlsSettings(ca=mqtt.tls.ca, cert=mqtt.tls.cert, key=mqtt.tls.key)
    return MqttSettings(
        host=mqtt.host,
        device=device,
        port=mqtt.effective_port,
        user=mqtt.user,
        password=mqtt.password_text(),
        tls=tls,
        prefix=mqtt.prefix,
        keepalive_s=mqtt.keepalive_s,
        max_inflight=mqtt.inflight,
    )


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _load(where: str, path: Path | None, load: Callable[[], _T]) -> _T:
    """Call ``load``; its errors become a :class:`ConfigError`."""
    try:
        return load()
    except ssl.SSLError as err:
        found = f"{path}: not usable ({err.reason or err})"
    except (OSError, ValueError) as err:
        found = f"{path}: {getattr(err, 'strerror', None) or err}"
    expected = "readable PEM files that belong together, the key without a passphrase"
    raise ConfigError("MQTT settings", (Problem(where, None, found, expected),))
