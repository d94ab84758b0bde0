"""The parts that depend on the broker settings, replaced as one: client, command listener, delivery channels.

An edit of the section ``mqtt`` makes a new connection. The outboxes stay, so no waiting row is lost.
"""

from dataclasses import dataclass

from edge_runtime.messaging.commands.listener import CommandListener
from edge_runtime.messaging.delivery import Channel
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.topics import Topics


@dataclass(frozen=True, slots=True)
class BrokerConnection:
    """Client, command listener and channels for one version of the broker settings."""

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
        """End the commands, deliver for about ``drain_s`` seconds a channel, disconnect; other rows stay queued."""
        if self.commands is not None:
            self.commands.stop()
        for channel in self.channels:
            channel.publisher.stop(drain_s)
        if self.client is not None:
            self.client.stop()
