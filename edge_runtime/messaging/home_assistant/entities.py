"""The entities of a device, and the templates that read their values from its messages. Pure.

A template is Jinja, rendered by Home Assistant for each message with ``value_json``; ``None`` means *unknown* there.
It looks for no key that may be missing except by ``get``: Home Assistant logs a warning each time. Names in it are
those of the configuration, which have no quotes. The keys of entities end in one word without ``_``, so that no two
are equal.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_runtime.config import CameraConfig, Config
from edge_runtime.inference.specs import RegressionValue
from edge_runtime.messaging.commands.roles import Role, find_least_role
from edge_runtime.messaging.home_assistant.units import find_unit
from edge_runtime.messaging.mqtt.topics import Topics

Component = dict[str, Any]
Task = Literal["classification", "detection", "regression", "anomaly", "raw"]


@dataclass(frozen=True, slots=True)
class OpenModel:
    """What decides about the entities of a model that is open, in addition to the configuration."""

    task: Task
    """What its results hold."""
    is_watched: bool
    """Whether its drift is measured."""
    tries_versions: bool
    """Whether newer versions are tried."""
    values: tuple[RegressionValue, ...] = ()
    """Of a regression: each is an entity."""


PLATFORMS = frozenset({"sensor", "binary_sensor", "button", "event", "update", "image"})

EVENT_TYPES = (
    "drift",
    "recalibrated",
    "refused",
    "proposed",
    "failed",
    "rolled_back",
    "version_active",
    "version_refused",
    "version_waits",
)
_EVENT = (
    "{% set d, event = value_json.data, value_json.event %}"
    "{% if event == 'recalibration' %}{% set kind = {'accepted': 'recalibrated', 'refused': 'refused',"
    " 'proposed': 'proposed', 'failed': 'failed'}.get(d.get('outcome')) %}"
    "{% elif event == 'rollout' %}{% set kind = 'version_waits' if d.get('paused')"
    " else {'active': 'version_active', 'refused': 'version_refused'}.get(d.get('stage')) %}"
    "{% else %}{% set kind = {'drift': 'drift', 'rollback': 'rolled_back'}.get(event) %}{% endif %}"
    "{% if kind %}{{ {'event_type': kind, 'model': d.get('model'), 'at': value_json.at,"
    " 'generation': d.get('generation') or d.get('to') or d.get('bundle'),"
    " 'reason': d.get('reason') or d.get('error') or d.get('reasons', []) | join('; '),"
    " 'report': d.get('report')} | tojson }}{% endif %}"
)
_TOP = "{% set top = value_json.get('top') %}"
_LABEL = _TOP + "{{ top[0].label if top else none }}"
_SCORE = _TOP + "{{ (top[0].score * 100) | round(1) if top and top[0].score is not none else none }}"
_FOUND = "{% set found = value_json.get('detections', []) %}"
_COUNT = _FOUND + "{{ found | length }}"
_LABELS = _FOUND + "{{ {'labels': found | map(attribute='label') | unique | sort | list} | tojson }}"
_VALUE = (
    "{%% set found = value_json.get('values') or [] %%}"
    "{{ found | selectattr('name', 'equalto', %s) | map(attribute='value') | first | default(none) }}"
)
_ANOMALY = "{% set found = value_json.get('anomaly', {}) %}"
_ANOMALOUS = (
    _ANOMALY
    + "{% set one = found.get('is_anomalous') %}{{ none if one is none else 'ON' if one else 'OFF' }}"
)
_ANOMALY_SCORE = _ANOMALY + "{{ found.get('score') }}"
_ANOMALY_MORE = _ANOMALY + "{{ found | tojson }}"
OBJECT_EVENT_TYPES = ("new", "end")
_OBJECT = (
    "{% if value_json.type != 'update' %}{% set one = value_json.after %}{{ {'event_type': value_json.type,"
    " 'label': one.label, 'id': one.id, 'top_score': one.top_score, 'box': one.box, 'frames': one.frames,"
    " 'start_time': one.start_time, 'end_time': one.end_time, 'count': value_json.count} | tojson }}{% endif %}"
)
_OCCUPIED = "{{ 'ON' if value_json.count else 'OFF' }}"
_COUNTED = "{{ {'count': value_json.count} | tojson }}"
_PROBLEM = "{{ 'OFF' if value_json.health.ready else 'ON' }}"
_REASONS = "{{ {'reasons': value_json.health.reasons} | tojson }}"
_UPDATE = "{% set one = MODEL.get('update') %}{{ one | tojson if one else '' }}"
_ALARM = "{% set one = MODEL.get('drift_alarm') %}{{ none if one is none else 'ON' if one else 'OFF' }}"
_COMMAND = '{"model": "%s", %s"transaction": {{ (now().timestamp() * 1000) | int }}}'


def make_components(
    config: Config, models: Mapping[str, OpenModel], topics: Topics, unique: str
) -> dict[str, Component]:
    """All entities by key.

    Args:
        config: In force.
        models: Those that are open; another has no entities, nor have its streams.
        topics: Of the device.
        unique: What the ids of the entities begin with: no other device has it.
    """
    components: dict[str, Component] = {
        "problem": {
            "platform": "binary_sensor",
            "name": "Problem",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": topics.state,
            "value_template": _PROBLEM,
            "json_attributes_topic": topics.state,
            "json_attributes_template": _REASONS,
        },
        "event": {
            "platform": "event",
            "name": "Event",
            "state_topic": topics.event,
            "event_types": list(EVENT_TYPES),
            "value_template": _EVENT,
        },
    }
    for name, section in config.streams.items():
        if section.enabled and section.model in models:
            model = models[section.model]
            components.update(_make_camera(name, model, topics))
            if isinstance(section, CameraConfig):
                components.update(_make_extras(name, section, config, topics, model.task))
    for name in config.models:
        if name in models:
            components.update(_make_model(name, models[name], config, topics))
    return {key: {**one, "unique_id": f"{unique}_{key}"} for key, one in components.items()}


def _make_camera(name: str, model: OpenModel, topics: Topics) -> Iterator[tuple[str, Component]]:
    result = topics.result(name)
    match model.task:
        case "classification":
            yield f"camera_{name}_label", _sensor(f"{name} label", result, _LABEL)
            # Off at first: it changes with every frame, and Home Assistant keeps each change.
            score = _measure(f"{name} score", result, _SCORE, "%")
            yield f"camera_{name}_score", {**score, "enabled_by_default": False}
        case "detection":
            labels = {"json_attributes_topic": result, "json_attributes_template": _LABELS}
            yield f"camera_{name}_count", {**_measure(f"{name} count", result, _COUNT), **labels}
        case "regression":
            for one in model.values:
                yield (
                    f"camera_{name}_{_make_value_key(one.name)}",
                    _make_measure(f"{name} {one.name}", result, one),
                )
        case "anomaly":
            yield f"camera_{name}_anomaly", _make_anomaly(name, result)
            score = _measure(f"{name} anomaly score", result, _ANOMALY_SCORE)
            yield f"camera_{name}_score", {**score, "enabled_by_default": False}
    fps = f"{{{{ value_json.cameras.get('{name}', {{}}).get('fps') }}}}"
    yield f"camera_{name}_fps", _diagnose(_measure(f"{name} frames", topics.figures, fps, "frames/s"))


def _make_value_key(name: str) -> str:
    """A word by the name of a value alone: a value that is put before it, or another order, changes no entity."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if slug and name == slug.replace("-", " "):
        return f"value-{slug}"
    return f"value-{slug}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".replace("--", "-")


def _make_measure(name: str, topic: str, value: RegressionValue) -> Component:
    known = find_unit(value.unit)
    quoted = json.dumps(value.name, ensure_ascii=False)
    measure = _measure(name, topic, _VALUE % quoted, known.unit or None)
    return measure if known.device_class is None else {**measure, "device_class": known.device_class}


def _make_anomaly(name: str, topic: str) -> Component:
    return {
        "platform": "binary_sensor",
        "name": f"{name} anomaly",
        "device_class": "problem",
        "state_topic": topic,
        "value_template": _ANOMALOUS,
        "json_attributes_topic": topic,
        "json_attributes_template": _ANOMALY_MORE,
    }


def _make_extras(
    name: str, camera: CameraConfig, config: Config, topics: Topics, task: Task
) -> Iterator[tuple[str, Component]]:
    """What there is only where the camera has it: objects that are followed, and pictures."""
    follows = camera.tracking is not None and task == "detection"
    if follows:
        objects = topics.objects(name)
        yield (
            f"camera_{name}_occupancy",
            {
                "platform": "binary_sensor",
                "name": f"{name} occupancy",
                "device_class": "occupancy",
                "state_topic": objects,
                "value_template": _OCCUPIED,
                "json_attributes_topic": objects,
                "json_attributes_template": _COUNTED,
            },
        )
        yield (
            f"camera_{name}_object",
            {
                "platform": "event",
                "name": f"{name} object",
                "state_topic": objects,
                "event_types": list(OBJECT_EVENT_TYPES),
                "value_template": _OBJECT,
            },
        )
    sends_pictures = follows and camera.tracking is not None and camera.tracking.pictures
    section = None if config.mqtt is None else config.mqtt.home_assistant
    is_shown = section is not None and section.pictures_every_s is not None
    if camera.snapshots and (sends_pictures or is_shown):
        yield (
            f"camera_{name}_picture",
            {
                "platform": "image",
                "name": f"{name} picture",
                "image_topic": topics.snapshot(name),
                "content_type": "image/jpeg",
            },
        )


def _make_model(
    name: str, model: OpenModel, config: Config, topics: Topics
) -> Iterator[tuple[str, Component]]:
    may_command = why_no_buttons(config) is None
    generation = f"{{{{ value_json.models.get('{name}') }}}}"
    yield f"model_{name}_generation", _diagnose(_sensor(f"{name} generation", topics.state, generation))
    for share in ("p50", "p99"):
        value = _of_model(f"{{{{ MODEL.get('latency_{share}_ms') }}}}", name)
        latency = _measure(f"{name} latency {share}", topics.figures, value, "ms")
        yield f"model_{name}_{share}", _diagnose({**latency, "device_class": "duration"})
    if model.is_watched:
        score = _of_model("{{ MODEL.get('drift_score') }}", name)
        yield f"model_{name}_drift", _measure(f"{name} drift", topics.figures, score)
        yield (
            f"model_{name}_alarm",
            {
                "platform": "binary_sensor",
                "name": f"{name} drift alarm",
                "device_class": "problem",
                "state_topic": topics.figures,
                "value_template": _of_model(_ALARM, name),
            },
        )
        if may_command and config.recalibration.enabled:
            yield from _make_corrections(name, config, topics)
    if model.tries_versions:
        yield from _make_versions(name, topics, may_command=may_command)


def _make_corrections(name: str, config: Config, topics: Topics) -> Iterator[tuple[str, Component]]:
    verbs = {"recalibrate": "recalibrate", "rollback": "roll back"}
    if config.recalibration.autonomy == "propose":
        verbs |= {"approve-patch": "approve patch", "reject-patch": "reject patch"}
    for verb, text in verbs.items():
        yield f"model_{name}_{verb}", _button(f"{name} {text}", topics.request(verb), name)


def _make_versions(name: str, topics: Topics, *, may_command: bool) -> Iterator[tuple[str, Component]]:
    update: Component = {
        "platform": "update",
        "name": f"{name} version",
        "title": name,
        "state_topic": topics.figures,
        "value_template": _of_model(_UPDATE, name),
    }
    if may_command:
        install = json.dumps({"model": name, "action": "promote"})
        update |= {"command_topic": topics.request("rollout"), "payload_install": install}
        yield (
            f"model_{name}_abort",
            _button(f"{name} abort update", topics.request("rollout"), name, '"action": "abort", '),
        )
    yield f"model_{name}_update", update


def why_no_buttons(config: Config) -> str | None:
    """Why the box obeys no change without a signature, and Home Assistant signs nothing; None where it does."""
    role = config.commands.unsigned_role
    if config.mqtt is None or not config.mqtt.commands:
        return "mqtt.commands is not true"
    needed = find_least_role("recalibrate")
    if role is not None and Role.of(role) >= needed:
        return None
    return f"commands.unsigned is not {needed}, and Home Assistant signs nothing"


def _of_model(template: str, name: str) -> str:
    """``MODEL`` in it becomes the figures of the model."""
    return template.replace("MODEL", f"value_json.models.get('{name}', {{}})")


def _sensor(name: str, topic: str, template: str) -> Component:
    return {"platform": "sensor", "name": name, "state_topic": topic, "value_template": template}


def _measure(name: str, topic: str, template: str, unit: str | None = None) -> Component:
    """A sensor of numbers, of which Home Assistant keeps statistics."""
    units = {} if unit is None else {"unit_of_measurement": unit}
    return {**_sensor(name, topic, template), "state_class": "measurement", **units}


def _diagnose(component: Component) -> Component:
    return {**component, "entity_category": "diagnostic"}


def _button(name: str, topic: str, model: str, arguments: str = "") -> Component:
    """The time of the press is the transaction: a copy of the message is not obeyed a second time."""
    command = _COMMAND % (model, arguments)
    return {"platform": "button", "name": name, "command_topic": topic, "command_template": command}
