"""The discovery message of a device: one retained JSON object that names every entity. Pure.

Source: Home Assistant core, ``components/mqtt/discovery.py`` and ``schemas.py`` (device discovery, since 2024.12).
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from edge_runtime import __version__
from edge_runtime.config import Config
from edge_runtime.messaging.home_assistant.entities import PLATFORMS, Component, OpenModel, make_components
from edge_runtime.messaging.mqtt.topics import Topics

_ORIGIN = {"name": "edge-runtime", "sw_version": __version__}
MAX_FOUND_BYTES = 2**20
"""A longer message in the broker is none of ours."""


def discovery_topic(discovery_prefix: str, topics: Topics) -> str:
    """Where the device describes itself: the first levels of its own topics are the node, its name is the object.

    A node may have letters, digits, ``_`` and ``-`` only. The name of the device is a level by itself, so that a
    broker's rules can let each box write its own.
    """
    return f"{discovery_prefix}/device/{_make_node(topics)}/{topics.device}/config"


def describe_device(config: Config, models: Mapping[str, OpenModel], topics: Topics) -> dict[str, Any]:
    """The message of the device that a configuration describes.

    Args:
        config: In force.
        models: Those that are open; another has no entities, nor have its cameras.
        topics: Of the device.
    """
    device: dict[str, Any] = {
        **_identify(topics),
        "name": topics.device,
        "manufacturer": "edge-runtime",
        "model": "edge inference box",
        "sw_version": __version__,
    }
    if (address := _find_page(config)) is not None:
        device["configuration_url"] = address
    return {
        "device": device,
        "origin": _ORIGIN,
        "availability_topic": topics.availability,
        "qos": 1,
        "components": make_components(config, models, topics, f"{_make_node(topics)}_{topics.device}"),
    }


def find_components(found: bytes) -> dict[str, str]:
    """The platforms of the entities, by key, of a message that the device has sent earlier.

    Empty for what is no such message. Entities that are marked as removed are left out, and those of other platforms
    than ours: Home Assistant would refuse a message with one that it does not know.
    """
    if not 0 < len(found) <= MAX_FOUND_BYTES:
        return {}
    try:
        message = orjson.loads(found)
    except orjson.JSONDecodeError:
        return {}
    components = message.get("components") if isinstance(message, dict) else None
    if not isinstance(components, dict):
        return {}
    return {
        key: one["platform"]
        for key, one in components.items()
        if isinstance(one, dict) and len(one) > 1 and str(one.get("platform")) in PLATFORMS
    }


def mark_removed(message: dict[str, Any], before: Mapping[str, str]) -> dict[str, Any]:
    """The message with an empty platform for each entity that was there before and is not any more: it is deleted."""
    components: dict[str, Component] = message["components"]
    return {**message, "components": {**_mark(before), **components}}


def describe_removed(topics: Topics, before: Mapping[str, str]) -> dict[str, Any]:
    """The message in which all entities are marked as removed.

    It goes before an empty one: after that alone Home Assistant 2025.1 keeps the entities of a topic with a node.
    """
    return {"device": _identify(topics), "origin": _ORIGIN, "components": _mark(before)}


def _mark(before: Mapping[str, str]) -> dict[str, Component]:
    return {key: {"platform": platform} for key, platform in before.items()}


def _identify(topics: Topics) -> dict[str, Any]:
    return {"identifiers": [topics.root]}


def _make_node(topics: Topics) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", topics.prefix)


def _find_page(config: Config) -> str | None:
    """The address of the status page where others reach it, and the configuration names the address."""
    http = config.http
    if not http.enabled or http.is_loopback or http.host in ("0.0.0.0", "::"):  # noqa: S104 - not listened on here
        return None
    host = f"[{http.host}]" if ":" in http.host else http.host
    scheme = "http" if http.tls is None else "https"
    return f"{scheme}://{host}:{http.port}/"
