"""Home Assistant as far as a device sees it: its schema, its templates, and a client that follows discovery."""

import json
import threading
from datetime import UTC, datetime

import jsonschema
import paho.mqtt.client as paho
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.listener import check_messages
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S

SCHEMA = json.loads((ROOT / "tests/data/home_assistant.schema.json").read_text())
_TEMPLATES = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
"""Home Assistant's kind; it only logs what is undefined, which must not be the rule."""


def check(payload, name=None):
    """Raise ValidationError for what Home Assistant would not take as a message, or as one of ``$defs``."""
    schema = SCHEMA if name is None else {**SCHEMA["$defs"][name], "$defs": SCHEMA["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(payload)


def render(template, payload):
    """What Home Assistant makes of a message."""
    return _TEMPLATES.from_string(template).render(value_json=json.loads(payload))


def press(button):
    """The message that a press of the button sends."""
    template = _TEMPLATES.from_string(button["command_template"])
    return template.render(value="PRESS", now=lambda: datetime.now(UTC))


class HomeAssistant:
    """Follows the discovery messages of one topic; see ``values``."""

    def __init__(self, host, port, topic):
        self.port, self.topic, self.discovered, self.messages, self.events = port, topic, [], {}, []
        self._heard = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = self._hear
        self.client.connect(host, port)
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.loop_start()
        self.client.subscribe("#", 1)
        assert subscribed.wait(WAIT_S)

    def _hear(self, _client, _data, message):
        self._heard.append(message)
        if message.topic == self.topic:
            self.discovered.append(message.payload)
        else:
            self.messages[message.topic] = message.payload
            if message.topic.endswith("/event"):
                self.events.append(message.payload)

    @property
    def components(self):
        """Entities of the newest message; removed ones have a platform only."""
        return (
            json.loads(self.discovered[-1])["components"] if self.discovered and self.discovered[-1] else {}
        )

    def values(self):
        """By key, the state of each entity that has had a message."""
        return {
            key: render(one["value_template"], self.messages[one["state_topic"]])
            for key, one in self.components.items()
            if one.get("state_topic") in self.messages
        }

    def press(self, key):
        button = self.components[key]
        self.publish(button["command_topic"], press(button))

    def publish(self, topic, payload, **options):
        self.client.publish(topic, payload, qos=1, **options).wait_for_publish(WAIT_S)

    def close(self):
        """Fail where a message of the device is not as its document says."""
        self.client.disconnect()
        self.client.loop_stop()
        check_messages(self._heard)
