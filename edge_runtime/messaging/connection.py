"""The parts that depend on the broker settings, replaced as one: client, command listener, delivery channels.

An edit of the section ``mqtt`` makes a new connection. The outboxes stay, so no waiting row is lost.
"""

from dataclasses import dataclass

from edge_runtime.messaging.commands.listener import ANSWER_EXPIRY_S, CommandListener
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
    response_prefixes: tuple[str, ...] = ()
    """First levels of topics outside of the device's own that answers may go to."""

    @property
    def is_commandable(self) -> bool:
        """Whether commands come in now."""
        client = self.client
        return self.commands is not None and client is not None and client.is_subscribed(self.topics.requests)

    def may_answer(self, topic: str) -> bool:
        """Whether an answer may go to this response topic."""
        return self.topics.allows_response_to(topic, self.response_prefixes)

    def answer(self, topic: str, payload: bytes, correlation: bytes | None) -> bool:
        """Send an answer to who asked; False when it was not sent. Bounded in bytes, never waits, kept nowhere."""
        return self.client is not None and self.client.publish(
            topic, payload, expiry_s=ANSWER_EXPIRY_S, correlation=correlation, is_light=True
        )

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
