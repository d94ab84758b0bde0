"""The daemon's connection to the outside: broker client, command link and delivery channels, replaceable as one.

An edit of the section ``mqtt`` makes a new uplink beside the old one; the outboxes stay, so nothing that waits is
lost.
"""

from dataclasses import dataclass

from edge_runtime.messaging.commands.listener import CommandListener
from edge_runtime.messaging.delivery import Channel
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.topics import Topics


@dataclass(frozen=True, slots=True)
class BrokerConnection:
    """Everything that hangs on one set of broker settings."""

    topics: Topics
    client: MqttClient | None
    """None without a broker."""
    commands: CommandListener | None
    channels: tuple[Channel, ...]

    def start(self) -> None:
        """Begin to connect and to deliver."""
        if self.client is not None:
            self.client.start()
        for channel in self.channels:
            channel.publisher.start()

    def stop(self, drain_s: float) -> None:
        """Obey no more, deliver for at most ``drain_s``, say goodbye; what is left stays in the outboxes."""
        if self.commands is not None:
            self.commands.stop()
        for channel in self.channels:
            channel.outbox.flush(drain_s)
            channel.publisher.stop(drain_s)
        if self.client is not None:
            self.client.stop()
