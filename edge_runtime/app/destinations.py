"""From the configuration to where results go and commands come from. Called by ``app``, the daemon's wiring."""

from typing import Any

from edge_runtime.command_link import CommandLink
from edge_runtime.commands import CommandDesk, CommandPolicy
from edge_runtime.config import Config, MqttConfig
from edge_runtime.daemon import Daemon
from edge_runtime.delivery import Channel
from edge_runtime.http import HttpServer
from edge_runtime.mqtt import MqttClient
from edge_runtime.mqtt_settings import MqttSettings, TlsSettings
from edge_runtime.outbox import Outbox, OutboxLimits
from edge_runtime.publisher import Publisher
from edge_runtime.sink import FileSink, MqttSink
from edge_runtime.topics import Topics


def open_channels(config: Config, mqtt: MqttClient | None) -> list[Channel]:
    """One durable channel per destination: the broker, the local file, or both."""
    limits = OutboxLimits(max_bytes=config.outbox.max_mib * 2**20, max_age_s=config.outbox.max_age_h * 3600)
    channels = []
    if mqtt is not None:
        outbox = Outbox(config.state_dir / "outbox.db", limits)
        channels.append(Channel("mqtt", outbox, Publisher(outbox, MqttSink(mqtt))))
    path = config.sink_path()
    if path is not None:
        max_mib = config.sink.max_mib if config.sink is not None else 64
        outbox = Outbox(config.state_dir / "outbox-file.db", limits)
        sink = FileSink(path, max_bytes=max_mib * 2**20 // 3)  # the file and two rotated ones
        channels.append(Channel("file", outbox, Publisher(outbox, sink)))
    return channels


def mqtt_settings(device: str, mqtt: MqttConfig) -> MqttSettings:
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


def open_commands(
    config: Config, daemon: Daemon, mqtt: MqttClient | None, topics: Topics
) -> CommandLink | None:
    """The command link; None without a broker."""
    if mqtt is None:
        return None
    handlers = {
        "status": lambda _: daemon.status(),
        "rollback": lambda asked: daemon.request("rollback", asked.model),
        "recalibrate": lambda asked: daemon.request("recalibrate", asked.model, asked.stream),
        "commission": lambda asked: daemon.request("commission", asked.model, asked.stream, asked.frames),
    }
    is_enabled = config.mqtt is not None and config.mqtt.commands
    return CommandLink(mqtt, CommandDesk(handlers, CommandPolicy(is_enabled=is_enabled)), topics)


def open_http(config: Config, daemon: Daemon) -> HttpServer | None:
    """The HTTP server, already listening; None when it is turned off.

    Raises:
        HttpUnavailable: the port is taken.
    """
    if not config.http.enabled:
        return None

    def application() -> Any:
        from edge_runtime.http.api import build_app

        delivery = daemon.delivery
        names = {} if config.http.is_loopback else {"allowed_hosts": ["*"]}
        return build_app(
            daemon.status,
            daemon.health,
            delivery.recent_results,
            recent_events=delivery.recent_events,
            **names,
        )

    server = HttpServer(config.http.host, config.http.port, application)
    server.start()
    return server
