"""The topics and payloads that there are with Home Assistant only, for the AsyncAPI document. Pure."""

from edge_runtime.config import HomeAssistantConfig
from edge_runtime.messaging.home_assistant.discovery import discovery_topic
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.messaging.type_schemas import Schema

_NUMBER: Schema = {"type": ["number", "null"]}
_UPDATE: Schema = {
    "type": "object",
    "properties": {
        "installed_version": {"type": "string"},
        "latest_version": {"type": "string"},
        "in_progress": {"type": "boolean"},
        "update_percentage": {"type": ["integer", "null"], "minimum": 0, "maximum": 100},
        "release_summary": {"type": "string", "description": "Only where it is promoted at a time."},
    },
    "required": ["installed_version", "latest_version", "in_progress", "update_percentage"],
    "additionalProperties": False,
}
FIGURES: Schema = {
    "type": "object",
    "properties": {
        "cameras": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"fps": {**_NUMBER, "description": "Results a second."}},
                "required": ["fps"],
            },
        },
        "models": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "latency_p50_ms": {**_NUMBER, "description": "From capture to result."},
                    "latency_p99_ms": _NUMBER,
                    "drift_score": {**_NUMBER, "description": "Null without a baseline."},
                    "drift_alarm": {"type": ["boolean", "null"]},
                    "update": {**_UPDATE, "description": "Only with rollout."},
                },
                "required": ["latency_p50_ms", "latency_p99_ms", "drift_score", "drift_alarm"],
            },
        },
    },
    "required": ["cameras", "models"],
}


def make_topics(topics: Topics, section: HomeAssistantConfig) -> dict[str, tuple[str, str]]:
    """By name of the message, its topic and what it is for."""
    address = discovery_topic(section.discovery_prefix, topics)
    return {
        "figures": (topics.figures, "Every few seconds: how the cameras and models do."),
        "discovery": (address, "Retained: the entities of the device, for Home Assistant."),
        "home-assistant": (section.status_topic, "Its birth message, after which discovery is sent again."),
    }


def make_messages() -> dict[str, Schema]:
    """The messages of these topics by name."""
    return {
        "figures": {"summary": "Null is not known.", "payload": FIGURES},
        "discovery": {
            "summary": "By Home Assistant's MQTT device discovery; an empty message removes the device.",
            "payload": {"type": "object"},
        },
        "home-assistant": {
            "summary": "Plain text.",
            "payload": {"enum": ["online", "offline"]},
            "contentType": "text/plain",
        },
    }
