"""What Home Assistant is told: taken by its schema, and every template reads the messages that the box really sends."""

import json

import jsonschema
import orjson
import pytest

from edge_runtime.config import parse_config
from edge_runtime.datatypes import Anomaly, Detection, Label, Result, Timings, Value
from edge_runtime.inference.specs import RegressionValue
from edge_runtime.inference.tracking.life import ObjectChange, ObjectState
from edge_runtime.messaging.commands.request import check_arguments
from edge_runtime.messaging.encoding import encode_event, encode_result
from edge_runtime.messaging.events import Event
from edge_runtime.messaging.home_assistant.discovery import (
    describe_device,
    discovery_topic,
    find_components,
    mark_removed,
)
from edge_runtime.messaging.home_assistant.entities import (
    EVENT_TYPES,
    PLATFORMS,
    OpenModel,
    why_no_buttons,
)
from edge_runtime.messaging.home_assistant.units import find_unit
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.messaging.object_events import encode_object_event
from tests.support.home_assistant import check, press, render
from tools.document.event_examples import EXAMPLES

YAML = """
device: belt-3
models:
  parts: {bundle: parts, rollout: {}}
  people_1: {bundle: people}
  raw: {bundle: raw, recalibrate: false}
cameras:
  belt: {path: rtsp://cam/1, model: parts}
  gate: {path: rtsp://cam/2, model: people_1}
  oven: {path: rtsp://cam/3, model: raw}
  idle: {path: rtsp://cam/4, model: parts, enabled: false}
mqtt: {host: broker, home_assistant: {}}
"""
OPEN = {
    "parts": OpenModel("classification", is_watched=True, tries_versions=True),
    "people_1": OpenModel("detection", is_watched=True, tries_versions=False),
    "raw": OpenModel("raw", is_watched=False, tries_versions=False),
}
TOPICS = Topics("plant/edge", "belt-3")
COMMANDS = YAML.replace("host: broker", "host: broker, commands: true")
BUTTONS = {f"model_{name}_{verb}" for name in ("parts", "people_1") for verb in ("recalibrate", "rollback")}
TIMINGS = Timings(1.0, 1.0, 1.0, 1.0, 4.0)


def describe(text=YAML, models=OPEN):
    return describe_device(parse_config(text, "box.yaml", {}), models, TOPICS)


def components(text=YAML):
    return describe(text)["components"]


def of_platform(found, platform):
    return {key for key, one in found.items() if one["platform"] == platform}


def result(**answers):
    return encode_result(Result("belt-3", "belt", 7, 1_795_448_459.0, "m", "m/4", TIMINGS, **answers))


@pytest.mark.parametrize("text", [YAML, COMMANDS, COMMANDS + "recalibration: {autonomy: propose}\n"])
def test_it_is_taken_by_the_schema(text):
    message = describe(text)
    check(message)
    check(mark_removed(message, {"camera_gone_label": "sensor"}))
    ids = [one["unique_id"] for one in message["components"].values()]
    assert len(set(ids)) == len(ids)
    assert all(one.startswith("plant_edge_belt-3_") for one in ids)
    assert {one["platform"] for one in message["components"].values()} <= PLATFORMS
    assert message["availability_topic"] == TOPICS.availability


@pytest.mark.parametrize("slip", [{"unique_id": None}, {"value_tmplate": "x"}, {"device_class": "warm"}])
def test_a_slip_is_not_taken_by_the_schema(slip):
    message = describe()
    message["components"]["problem"] |= slip
    with pytest.raises(jsonschema.ValidationError):
        check(message)


def test_the_topic_has_the_device_as_a_level_by_itself():
    topic = discovery_topic("ha/discovery", TOPICS)
    assert topic == "ha/discovery/device/plant_edge/belt-3/config"
    check(topic, "discovery_topic")


def test_each_camera_has_entities_by_the_task_of_its_model():
    cameras = {key for key in components() if key.startswith("camera_")}
    assert cameras == {
        "camera_belt_label",
        "camera_belt_score",
        "camera_belt_fps",
        "camera_gate_count",
        "camera_gate_fps",
        "camera_oven_fps",
    }


FOLLOWED = YAML.replace("model: people_1}", "model: people_1, snapshots: true, tracking: {pictures: true}}")


def test_a_camera_whose_objects_are_followed_has_entities_for_them():
    more = {key: one["platform"] for key, one in components(FOLLOWED).items() if key not in components()}
    assert more == {
        "camera_gate_occupancy": "binary_sensor",
        "camera_gate_object": "event",
        "camera_gate_picture": "image",
    }
    check(describe(FOLLOWED))


@pytest.mark.parametrize(
    ("camera", "section", "has_picture"),
    [
        ("snapshots: true", "{}", True),
        ("snapshots: false", "{}", False),
        ("snapshots: true", "{pictures_every_s: null}", False),
        ("snapshots: true, tracking: {}", "{pictures_every_s: null}", False),
        ("snapshots: true, tracking: {pictures: true}", "{pictures_every_s: null}", True),
    ],
)
def test_there_is_a_picture_where_one_may_leave_and_is_sent(camera, section, has_picture):
    text = YAML.replace("model: people_1}", f"model: people_1, {camera}}}")
    found = components(text.replace("home_assistant: {}", f"home_assistant: {section}"))
    assert of_platform(found, "image") == ({"camera_gate_picture"} if has_picture else set())
    if has_picture:
        assert found["camera_gate_picture"]["image_topic"] == TOPICS.snapshot("gate")


def test_objects_become_events_and_occupancy():
    state = ObjectState("belt-3/gate/000000128/4", "person", 0.8, 0.9, (1.0, 2.0, 3.0, 4.0), 9, 100.0, 110.0)
    found = components(FOLLOWED)
    event, occupancy = found["camera_gate_object"], found["camera_gate_occupancy"]
    seen = []
    for kind, count in (("new", {"person": 1}), ("update", {"person": 1}), ("end", {})):
        change = ObjectChange(kind, None if kind == "new" else state, state)
        payload = encode_object_event(change, "belt-3", "gate", "people_1", count)
        seen.append((render(event["value_template"], payload), render(occupancy["value_template"], payload)))
        assert json.loads(render(occupancy["json_attributes_template"], payload)) == {"count": count}
    assert [one for _, one in seen] == ["ON", "ON", "OFF"]
    new, nothing, end = (one for one, _ in seen)
    assert nothing == ""
    assert (json.loads(new)["event_type"], json.loads(end)["event_type"]) == ("new", "end")
    assert (json.loads(end)["label"], json.loads(end)["end_time"]) == ("person", 110.0)
    assert {json.loads(one)["event_type"] for one in (new, end)} <= set(event["event_types"])


def test_a_model_that_is_not_open_has_no_entities():
    found = describe(models={"parts": OPEN["parts"]})["components"]
    assert not {key for key in found if "people_1" in key or "gate" in key}


def test_a_model_whose_versions_are_not_tried_has_no_update():
    pinned = {**OPEN, "parts": OpenModel("classification", is_watched=True, tries_versions=False)}
    found = describe(COMMANDS, models=pinned)["components"]
    assert not {"model_parts_update", "model_parts_abort"} & found.keys()


def test_only_a_watched_model_has_entities_for_drift():
    drift = {key for key in components() if key.endswith(("_drift", "_alarm"))}
    assert drift == {f"model_{name}_{end}" for name in ("parts", "people_1") for end in ("drift", "alarm")}


@pytest.mark.parametrize(
    ("more", "has_buttons"),
    [
        ("", True),  # nobody has a key, so everybody is an operator
        ("commands: {keys: {anna: {file: anna.pub}}}\n", False),
        ("commands: {keys: {anna: {file: anna.pub}}, unsigned: viewer}\n", False),
        ("commands: {keys: {anna: {file: anna.pub}}, unsigned: operator}\n", True),
        ("commands: {unsigned: viewer}\n", False),
    ],
)
def test_there_are_buttons_only_where_an_unsigned_command_is_obeyed(more, has_buttons, tmp_path):
    key = tmp_path / "anna.pub"
    key.touch()
    found = components(COMMANDS + more.replace("anna.pub", str(key)))
    assert of_platform(found, "button") == ({*BUTTONS, "model_parts_abort"} if has_buttons else set())
    config = parse_config(COMMANDS + more.replace("anna.pub", str(key)), "box.yaml", {})
    assert (why_no_buttons(config) is None) is has_buttons
    assert ("command_topic" in found["model_parts_update"]) is has_buttons


def test_without_commands_there_are_no_buttons_but_versions_are_shown():
    found = components()
    assert of_platform(found, "button") == set()
    assert of_platform(found, "update") == {"model_parts_update"}


def test_where_nothing_is_patched_there_is_no_button_for_it():
    found = components(COMMANDS + "recalibration: {enabled: false}\n")
    assert of_platform(found, "button") == {"model_parts_abort"}


def test_where_a_person_decides_there_are_buttons_for_both_answers():
    found = components(COMMANDS + "recalibration: {autonomy: propose}\n")
    more = {f"model_{name}_{verb}-patch" for name in ("parts", "people_1") for verb in ("approve", "reject")}
    assert of_platform(found, "button") == {*BUTTONS, *more, "model_parts_abort"}


def test_what_buttons_and_updates_send_is_what_the_box_takes():
    found = components(COMMANDS + "recalibration: {autonomy: propose}\n")
    for key in of_platform(found, "button"):
        verb, payload = found[key]["command_topic"].rpartition("/")[2], json.loads(press(found[key]))
        given = check_arguments(verb, payload)
        assert given.model in OPEN
        assert isinstance(given.transaction, int)
    update = found["model_parts_update"]
    given = check_arguments("rollout", json.loads(update["payload_install"]))
    assert (given.model, given.action) == ("parts", "promote")


def test_results_become_states():
    found = components()
    top = result(top=(Label(3, "bolt", 0.9312), Label(1, "nut", 0.05)))
    boxes = [Detection(1, name, 0.8, (1.0, 2.0, 3.0, 4.0)) for name in ("person", "dog", "person")]
    people, nobody = result(detections=tuple(boxes)), result(detections=())
    assert render(found["camera_belt_label"]["value_template"], top) == "bolt"
    assert render(found["camera_belt_score"]["value_template"], top) == "93.1"
    unknown = result(top=(Label(3, "bolt", float("nan")),))
    assert render(found["camera_belt_score"]["value_template"], unknown) == "None"
    count = found["camera_gate_count"]
    assert [render(count["value_template"], one) for one in (people, nobody)] == ["3", "0"]
    labels = [json.loads(render(count["json_attributes_template"], one)) for one in (people, nobody)]
    assert labels == [{"labels": ["dog", "person"]}, {"labels": []}]


@pytest.mark.parametrize("name", EXAMPLES)
def test_events_become_events_or_nothing(name):
    payload = encode_event(Event(1_795_448_459.0, EXAMPLES[name][0], "parts"), "belt-3")
    event, data = orjson.loads(payload)["event"], orjson.loads(payload)["data"]
    rendered = render(components()["event"]["value_template"], payload)
    kinds = {"accepted": "recalibrated", "refused": "refused", "proposed": "proposed", "failed": "failed"}
    versions = {"active": "version_active", "refused": "version_refused"}
    match event:
        case "recalibration":
            wanted = kinds.get(data["outcome"])
        case "rollout":
            wanted = "version_waits" if data["paused"] else versions.get(data["stage"])
        case _:
            wanted = {"drift": "drift", "rollback": "rolled_back"}.get(event)
    if wanted is None:
        assert rendered == ""
        return
    found = json.loads(rendered)
    assert wanted in EVENT_TYPES
    assert (found["event_type"], found["model"]) == (wanted, "parts")
    assert set(found) == {"event_type", "model", "at", "generation", "reason", "report"}


def test_an_entity_that_is_gone_is_marked_once():
    before = describe()
    text = YAML.replace("  oven: {path: rtsp://cam/3, model: raw}\n", "")
    known = find_components(orjson.dumps(before))
    assert known.keys() == before["components"].keys()
    marked = mark_removed(describe(text), known)
    assert marked["components"]["camera_oven_fps"] == {"platform": "sensor"}
    assert find_components(orjson.dumps(marked)).keys() == describe(text)["components"].keys()


@pytest.mark.parametrize(
    "found",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"components": 7}',
        b'{"components": {"a": 7, "b": {"platform": "warp", "x": 1}, "c": {"platform": ["sensor"], "x": 1}}}',
        b" " * (2**20 + 1),
    ],
)
def test_what_is_no_message_of_ours_names_no_entities(found):
    assert find_components(found) == {}


def test_the_page_is_linked_where_others_reach_it():
    remote = "http: {host: 10.0.0.7, port: 80, allow_remote: true}\n"
    message = describe(YAML + remote)
    check(message)
    assert message["device"]["configuration_url"] == "http://10.0.0.7:80/"
    for other in (remote.replace("10.0.0.7", "0.0.0.0"), ""):
        assert "configuration_url" not in describe(YAML + other)["device"]


NUMBERS = YAML.replace("model: raw}", "model: pump}").replace("raw: {bundle", "pump: {bundle")


def of_pump(task, *values):
    opened = OpenModel(task, is_watched=False, tries_versions=False, values=values)
    message = describe(NUMBERS, {"pump": opened})
    check(message)
    return {key: one for key, one in message["components"].items() if key.startswith("camera_oven")}


def test_each_value_of_a_regression_is_an_entity_with_its_unit():
    found = of_pump(
        "regression",
        RegressionValue(name="heat", unit="degC"),
        RegressionValue(name="wear"),
        RegressionValue(name="flow", unit="l/h"),
    )
    heat, wear, flow = (found[f"camera_oven_value-{name}"] for name in ("heat", "wear", "flow"))
    assert (heat["unit_of_measurement"], heat["device_class"]) == ("°C", "temperature")
    assert not {"unit_of_measurement", "device_class"} & wear.keys()
    assert flow["unit_of_measurement"] == "l/h"
    sent = result(values=(Value("heat", 81.5, "degC"), Value("wear", 0.25)))
    assert [render(one["value_template"], sent) for one in (heat, wear, flow)] == ["81.5", "0.25", "None"]


ODD_NAMES = ["heat", "Heat", "days left", "days-left", "ÖL", "温度", 'it\'s "{{ 1 }}" %} \\ 😀', "a.b"]


def test_an_entity_of_a_value_follows_its_name_and_not_its_place():
    found = of_pump("regression", *(RegressionValue(name=name) for name in ODD_NAMES))
    again = of_pump("regression", *(RegressionValue(name=name) for name in ["new", *reversed(ODD_NAMES)]))
    measures = {key: one for key, one in found.items() if "_value" in key}
    assert len(measures) == len(ODD_NAMES)
    sent = result(values=tuple(Value(name, float(i)) for i, name in reversed(list(enumerate(ODD_NAMES)))))
    for i, (key, one) in enumerate(measures.items()):
        assert again[key] == one
        assert key.isascii()
        assert render(one["value_template"], sent) == str(float(i))
    sent = result(values=(Value("other", 1.0),))
    assert {render(one["value_template"], sent) for one in measures.values()} == {"None"}


@pytest.mark.parametrize(("threshold", "state"), [(None, "None"), (1.0, "ON"), (3.0, "OFF")])
def test_an_anomaly_is_a_binary_sensor(threshold, state):
    found, sent = of_pump("anomaly"), result(anomaly=Anomaly(2.0, threshold))
    anomaly = found["camera_oven_anomaly"]
    assert render(anomaly["value_template"], sent) == state
    assert json.loads(render(anomaly["json_attributes_template"], sent))["threshold"] == threshold
    assert render(found["camera_oven_score"]["value_template"], sent) == "2.0"


@pytest.mark.parametrize(
    ("unit", "known"),
    [("mm/s", ("mm/s", "speed")), ("A", ("A", "current")), ("rpm", ("rpm", None)), ("", ("", None))],
)
def test_units_have_the_class_that_home_assistant_knows(unit, known):
    assert find_unit(unit) == known
