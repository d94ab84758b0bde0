"""A subscriber that keeps everything, and at its end checks it against the AsyncAPI document."""

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_runtime.messaging.mqtt.topics import Topics
from tests.support.mqtt_contract import MqttContract


class Listener:
    """Of some devices, and all else that the broker has."""

    def __init__(self, broker, *devices, groups=()):
        self._devices, self._groups = devices or ("box",), groups
        self.heard, self.client = [], paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_message = lambda _, __, message: self.heard.append(message)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()

    def on(self, topic):
        """Messages of a whole topic."""
        return [message for message in list(self.heard) if message.topic == topic]

    def of(self, topic):
        """Payloads of a topic of the device ``box``."""
        return [message.payload for message in self.on(f"edge/box/{topic}")]

    def stop(self):
        """Hear no more; without a check, since the messages may be those of another version."""
        self.client.disconnect()
        self.client.loop_stop()

    def close(self):
        """Fail where a message of a device, or one to a group, is not as the documents say."""
        self.stop()
        for device in self._devices:
            check_messages(self.heard, device, self._groups)


def check_messages(messages, device="box", groups=()):
    """Fail where one of a device is not as its document says."""
    contract = MqttContract(Topics("edge", device), groups)
    for message in messages:
        if message.topic.startswith((f"edge/{device}/", "edge/groups/")):
            contract.check(message.topic, message.payload)
