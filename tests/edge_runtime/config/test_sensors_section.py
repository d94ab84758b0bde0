import json
from typing import get_args

import pytest

from edge_runtime.config import Effect, PayloadConfig, SensorConfig, changes, parse_config
from edge_runtime.errors import ConfigError
from edge_runtime.inference.specs import PayloadSpec
from edge_runtime.system.sensor_address import SensorKind

PUMP = {"path": "mqtt", "model": "m"}


def parse(sensors=None, cameras=None, **more):
    keys = {"device": "box", "models": {"m": {"bundle": "b"}}, "mqtt": {"host": "broker"}, **more}
    sections = {"sensors": sensors, "cameras": cameras}
    keys |= {name: section for name, section in sections.items() if section is not None}
    return parse_config(json.dumps(keys), "test", {}, check_files=False)


def where(err):
    return {problem.where for problem in err.value.problems}


def test_a_box_needs_no_camera_where_it_has_a_sensor():
    config = parse({"pump": PUMP})
    assert (list(config.streams), config.cameras, config.section_of("pump")) == (["pump"], {}, "sensors")
    pump = config.sensors["pump"]
    assert (pump.address.kind, pump.is_over_mqtt, pump.is_idle_allowed) == (SensorKind.MQTT, True, False)


def test_a_box_without_any_stream_is_refused():
    with pytest.raises(ConfigError) as err:
        parse()
    assert where(err) == {"cameras"}


@pytest.mark.parametrize(
    ("sensor", "key"),
    [
        ({"path": ""}, "path"),
        ({"path": "rtsp://camera/1"}, "path"),
        ({"path": "/dev/video0"}, "path"),
        ({"path": "a.csv", "topic": "x"}, "topic"),
        ({"topic": "plant/+/accel"}, "topic"),
        ({"topic": "plant/#"}, "topic"),
        ({"topic": "$SYS/x"}, "topic"),
        ({"topic": ""}, "topic"),
        ({"loop": True}, "loop"),
        ({"path": "-", "watch": True}, "watch"),
        ({"path": "/srv/x", "watch": True, "loop": True}, "watch"),
        ({"model": "n"}, "model"),
        ({"payload": {"format": "xml"}}, "payload.format"),
        ({"fps": 10}, "fps"),
        ({"hop": 0}, "hop"),
    ],
)
def test_wrong_keys_are_named(sensor, key):
    with pytest.raises(ConfigError) as err:
        parse({"pump": {**PUMP, **sensor}})
    assert where(err) == {f"sensors.pump.{key}"}


def test_names_are_unique_over_cameras_and_sensors():
    with pytest.raises(ConfigError) as err:
        parse({"pump": PUMP}, {"pump": {"path": "demo:conveyor", "model": "m"}})
    assert where(err) == {"sensors"}


def test_standard_input_has_one_reader():
    with pytest.raises(ConfigError) as err:
        parse({"a": {**PUMP, "path": "-"}, "b": {**PUMP, "path": "-"}})
    assert where(err) == {"sensors.b.path"}


def test_a_sensor_over_mqtt_needs_a_broker():
    with pytest.raises(ConfigError) as err:
        parse({"pump": PUMP}, mqtt=None)
    assert where(err) == {"sensors.pump.path"}


def test_an_edit_of_a_sensor_opens_it_again_and_its_priority_counts_at_once():
    old = parse({"pump": PUMP, "fan": PUMP})
    new = parse({"pump": {**PUMP, "late_s": 1.0}, "fan": {**PUMP, "priority": "high"}})
    found = changes(old, new)
    assert found == {"sensors.pump.late_s": Effect.REOPEN_SENSOR, "sensors.fan.priority": Effect.LIVE}
    assert found.streams == {"pump"}


def test_a_canary_may_be_a_sensor():
    model = {"bundle": "b", "rollout": {"canary": {"streams": ["pump"]}}}
    assert parse({"pump": PUMP, "fan": PUMP}, models={"m": model}).models["m"].rollout is not None


@pytest.mark.parametrize("key", sorted(PayloadSpec.model_fields))
def test_a_payload_may_say_what_that_of_a_bundle_may(key):
    def choices(kind):
        found = {one for part in get_args(kind) for one in choices(part)}
        return found or {kind}

    of_bundle = choices(PayloadSpec.model_fields[key].annotation) - {type(None)}
    of_stream = choices(PayloadConfig.model_fields[key].annotation) - {type(None)}
    assert {one for one in of_bundle if isinstance(one, str)} == {
        one for one in of_stream if isinstance(one, str)
    }
    assert PayloadConfig.model_fields.keys() == PayloadSpec.model_fields.keys()


def test_each_key_has_a_meaning():
    properties = SensorConfig.model_json_schema()["properties"]
    assert all(one.get("description") for one in properties.values())
