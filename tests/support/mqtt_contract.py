"""Whether messages are ones that the AsyncAPI document of a device has: their topics, and what is in them."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from edge_runtime.config import HomeAssistantConfig
from edge_runtime.daemon.health import Health
from edge_runtime.daemon.status import DaemonStatus
from edge_runtime.messaging.asyncapi import DaemonTypes, describe_device
from edge_runtime.messaging.mqtt.topics import Topics
from tests.support.document_schemas import DocumentSchemas, form_of

TYPES = DaemonTypes(DaemonStatus, Health)
_MOST_OF_A_FORM = 3
"""Messages of one channel and form that are looked at: the later ones are like them, and each takes a millisecond."""


@dataclass(frozen=True)
class _Described:
    """What a document says; to make it takes 0.4 s of CPU."""

    messages: dict[str, Any]
    payloads: dict[str, Draft202012Validator]
    channels: list[tuple[re.Pattern[str], str]]

    @staticmethod
    @cache
    def of(topics: Topics, groups: tuple[str, ...]) -> "_Described":
        document = describe_device(topics, "1", TYPES, groups, HomeAssistantConfig())
        schemas, messages = DocumentSchemas(document), document["components"]["messages"]
        payloads = {
            name: schemas.validator(message["payload"])
            for name, message in messages.items()
            if "payload" in message and not name.startswith("request-")
        }
        whole_first = sorted(document["channels"].values(), key=lambda channel: "{" in channel["address"])
        channels = [(_match_address(one["address"]), next(iter(one["messages"]))) for one in whole_first]
        return _Described(messages, payloads, channels)


class MqttContract:
    """Of one device."""

    def __init__(self, topics: Topics, groups: tuple[str, ...] = ()) -> None:
        self._root, found = topics.root, _Described.of(topics, groups)
        self._messages, self._payloads, self._channels = found.messages, found.payloads, found.channels
        self._seen: Counter[tuple[str, frozenset[str]]] = Counter()

    def check(self, topic: str, payload: bytes) -> None:
        """Fail unless the topic is there and the payload is as described.

        Topics below ``response/`` that a caller has named may have an answer, a result or a rejection. Of what others
        send only the topic is looked at: a test may send what the device refuses.
        """
        name = next((name for address, name in self._channels if address.fullmatch(topic)), None)
        if name is None and topic.startswith(f"{self._root}/response/"):
            self._check_named_by_caller(payload)
            return
        assert name is not None, f"{topic} is not in the document"
        if not payload or name not in self._payloads:
            return
        value = _read(payload, self._messages[name])
        about = name, form_of(value)
        self._seen[about] += 1
        if self._seen[about] <= _MOST_OF_A_FORM:
            self._payloads[name].validate(value)

    def _check_named_by_caller(self, payload: bytes) -> None:
        names = [name for name in self._payloads if name.startswith("response-")]
        value, found = orjson.loads(payload), ("result", "rejected", "progress", *names)
        assert any(self._payloads[name].is_valid(value) for name in found), payload[:1000]


def _match_address(address: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{[a-z]+\\}", "[^/]+", re.escape(address)))


def _read(payload: bytes, message: dict[str, Any]) -> Any:
    """Plain text and tokens are text."""
    if message.get("contentType") == "text/plain" or payload[:1] not in b"{[":
        return payload.decode()
    return orjson.loads(payload)
