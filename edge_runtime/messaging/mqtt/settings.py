"""How to reach the MQTT broker."""

import ssl
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from edge_runtime.config import MqttConfig, TlsConfig
from edge_runtime.errors import ConfigError, Problem
from edge_runtime.messaging.mqtt.topics import Topics

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Everything the client needs; the configuration has checked the values."""

    host: str
    device: str
    port: int = 1883
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsConfig | None = None
    prefix: str = "edge"
    keepalive_s: int = 15
    """A dead connection is noticed after one to two of these."""
    connect_timeout_s: float = 5.0
    reconnect_min_s: float = 1.0
    reconnect_away_s: float = 3.0
    """The longest pause while nothing answers: the device is back within 5 s after the broker."""
    reconnect_max_s: float = 60.0
    """The longest pause while the broker answers and ends sessions soon after they began."""
    max_inflight: int = 20
    """Unacknowledged messages at a time; a broker that allows fewer is obeyed. 20 is mosquitto's own limit."""
    max_message_bytes: int = 32 * 2**20
    """The largest packet the broker may send here (pictures come this way too)."""
    client_id: str | None = None
    """None connects as the device, with its last will; another client of the device's broker has an id and no will."""

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
        ca, cert, key = self.tls.ca, self.tls.cert, self.tls.key
        context = _load("mqtt.tls.ca", ca, lambda: ssl.create_default_context(cafile=ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _TidySocket
        if cert is not None:
            _load("mqtt.tls.cert", cert, lambda: context.load_cert_chain(cert, key))
        return context


def make_mqtt_settings(device: str, mqtt: MqttConfig) -> MqttSettings:
    """The broker section as what the client takes."""
    return MqttSettings(
        host=mqtt.host,
        device=device,
        port=mqtt.effective_port,
        user=mqtt.user,
        password=mqtt.password_text(),
        tls=mqtt.tls,
        prefix=mqtt.prefix,
        keepalive_s=mqtt.keepalive_s,
        max_inflight=mqtt.inflight,
    )


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            super().do_handshake(block)
            on_failure.pop_all()


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
