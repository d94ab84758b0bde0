"""Every file that is written from the types, with its text."""

import json
from pathlib import Path
from typing import Any

from edge_runtime import __version__
from edge_runtime.config import HomeAssistantConfig
from edge_runtime.config.json_schema import schema_text
from edge_runtime.daemon.health import Health
from edge_runtime.daemon.status import DaemonStatus
from edge_runtime.http.openapi import describe as describe_http
from edge_runtime.messaging.asyncapi import DaemonTypes, describe_device
from edge_runtime.messaging.mqtt.topics import Topics
from tools.document.events import make_events_page
from tools.document.http import make_http_page
from tools.document.man import PAGE as MAN_PAGE
from tools.document.man import write_page as make_man_page
from tools.document.pages import (
    make_configuration_page,
    make_exit_codes_page,
    make_first_page,
    make_metrics_page,
)
from tools.document.recordings import describe_recordings, make_recordings_page
from tools.document.since import ROOT, Since
from tools.document.topics import make_commands_page, make_status_page, make_topics_page

REFERENCE = ROOT / "docs" / "reference"
SCHEMA = ROOT / "configs" / "edge-runtime.schema.json"
_TYPES = DaemonTypes(DaemonStatus, Health)
_PAGES = (
    ("topics", "MQTT: topics, and what is in results, rejections, state and figures"),
    ("commands", "Remote commands: verbs, roles, arguments, answers"),
    ("events", "Events: kinds, variants, fields, an example of each"),
    ("status", "All that a device says of itself"),
    ("http", "HTTP: addresses, parameters, statuses, bodies"),
    ("metrics", "Metrics for Prometheus"),
    ("configuration", "Keys of the configuration file"),
    ("exit-codes", "Exit codes of the command line"),
    ("recordings", "Files of a recording"),
)
_DOCUMENTS = (
    ("asyncapi.json", "MQTT of an example device, `belt-3`, as AsyncAPI 3.0"),
    ("openapi.json", "HTTP as OpenAPI 3.1"),
    ("../../configs/edge-runtime.schema.json", "The configuration file as JSON Schema (draft 2020-12)"),
    (
        "recording.schema.json",
        "`recording.json` as JSON Schema, and the lines of the other files under `$defs`",
    ),
    ("since.json", "By release, the names that came with it"),
)


def make_files(since: Since | None = None) -> dict[Path, str]:
    """All texts by path."""
    since = since or Since()
    mqtt, http = _describe(Topics("<prefix>", "<device>"), "<group>"), describe_http(DaemonStatus, Health)
    recording = describe_recordings()
    pages = {
        "topics": make_topics_page(mqtt, since),
        "commands": make_commands_page(mqtt, since),
        "events": make_events_page(mqtt, since),
        "status": make_status_page(mqtt, since),
        "http": make_http_page(http, since),
        "metrics": make_metrics_page(since),
        "configuration": make_configuration_page(since),
        "exit-codes": make_exit_codes_page(since),
        "recordings": make_recordings_page(recording, since),
    }
    files = {REFERENCE / f"{name}.md": text for name, text in pages.items()}
    files[REFERENCE / "README.md"] = make_first_page(_PAGES, _DOCUMENTS)
    files[REFERENCE / "asyncapi.json"] = _to_text(_describe(Topics("edge", "belt-3"), "line-3"))
    files[REFERENCE / "openapi.json"] = _to_text(http)
    files[REFERENCE / "recording.schema.json"] = _to_text(recording)
    files[REFERENCE / "since.json"] = since.render()
    files[SCHEMA] = schema_text()
    files[MAN_PAGE] = make_man_page()
    return files


def _describe(topics: Topics, group: str) -> dict[str, Any]:
    return describe_device(topics, __version__, _TYPES, (group,), HomeAssistantConfig())


def _to_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
