"""The AsyncAPI document: valid by the specification's own schema, and true of what the device sends and takes."""

import gzip
import json

import jsonschema
import orjson
import pytest
from click.testing import CliRunner

from edge_runtime.cli.main import cli
from edge_runtime.config import HomeAssistantConfig
from edge_runtime.daemon.health import Health
from edge_runtime.daemon.status import DaemonStatus
from edge_runtime.datatypes import Detection, Label, Origin, Rejected, RejectReason, Result, Timings
from edge_runtime.messaging.asyncapi import DaemonTypes, describe_device
from edge_runtime.messaging.commands.callers import Callers
from edge_runtime.messaging.commands.later import Later
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy
from edge_runtime.messaging.commands.request import ARGUMENTS
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.messaging.commands.verb_texts import VERB_TEXTS
from edge_runtime.messaging.encoding import (
    encode_deprecated_event,
    encode_event,
    encode_rejection,
    encode_result,
)
from edge_runtime.messaging.event_forms import OF_DEVICE
from edge_runtime.messaging.events import Commissioned, Event
from edge_runtime.messaging.mqtt.topics import Topics, progress_topic
from edge_runtime.recalibration.baselines.commands import describe_baseline
from edge_runtime.recalibration.follower import TaskEnd, describe_end
from tests.support.baselines import two_tap_baseline
from tests.support.document_schemas import DocumentSchemas
from tests.support.paths import ROOT
from tests.support.used_transactions import UsedInMemory
from tools.document.event_examples import EXAMPLES

SCHEMA = json.loads(gzip.decompress((ROOT / "tests/data/asyncapi-3.0.0.schema.json.gz").read_bytes()))
"""Of the AsyncAPI Initiative, package @asyncapi/specs 6.11.1 (Apache-2.0), ``3.0.0-without-$id.json``."""
TOPICS = Topics("plant/edge", "belt-3")
TYPES = DaemonTypes(DaemonStatus, Health)
DOCUMENT = describe_device(TOPICS, "1.2.3", TYPES, ("line-3",), HomeAssistantConfig())
TIMINGS = Timings(1.0, 1.0, 1.0, 1.0, 4.0)


SCHEMAS = DocumentSchemas(DOCUMENT)


def payload_of(message):
    return SCHEMAS.validator(DOCUMENT["components"]["messages"][message]["payload"])


def result(**answers):
    return Result("belt-3", "belt", 7, 1_795_448_459.0, "parts", "parts/4", TIMINGS, **answers)


def test_the_document_is_valid_by_the_schema_of_the_specification():
    jsonschema.Draft7Validator(SCHEMA).validate(DOCUMENT)


def test_a_document_with_a_slip_is_not_valid():
    slip = {**DOCUMENT, "operations": {"x": {"action": "answer", "channel": {"$ref": "#/channels/result"}}}}
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(slip)


def test_every_reference_leads_somewhere():
    references = []

    def walk(value):
        if isinstance(value, dict):
            references.extend(found for key, found in value.items() if key == "$ref")
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(DOCUMENT)
    assert references
    for reference in set(references):
        found = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]


def test_every_verb_has_its_words_and_no_other():
    assert VERB_TEXTS.keys() == ARGUMENTS.keys()


@pytest.mark.parametrize("verb", ARGUMENTS)
def test_every_verb_has_its_topics_and_is_answered(verb):
    operation = DOCUMENT["operations"][f"receive-{verb}"]
    assert operation["action"] == "receive"
    assert DOCUMENT["channels"][f"request-{verb}"]["address"] == TOPICS.request(verb)
    assert DOCUMENT["channels"][f"response-{verb}"]["address"] == TOPICS.response(verb)
    assert DOCUMENT["channels"][f"group-line-3-{verb}"]["address"] == TOPICS.group_request("line-3", verb)
    assert operation["reply"]["channel"] == {"$ref": f"#/channels/response-{verb}"}


def test_requests_are_what_the_device_takes():
    recalibrate = payload_of("request-recalibrate")
    recalibrate.validate({"model": "parts", "transaction": "one", "expires_at": "2026-11-23T15:20:59Z"})
    recalibrate.validate("e30.e30.e30")
    for wrong in ({"modell": "parts"}, {"model": 7}, "not a token", []):
        assert not recalibrate.is_valid(wrong)
    assert not payload_of("request-remove").is_valid({})


@pytest.mark.parametrize("name", EXAMPLES)
def test_events_are_as_described(name):
    fact = EXAMPLES[name][0]
    event = Event(1_795_448_459.0, fact, None if isinstance(fact, OF_DEVICE) else "parts")
    payload_of("event").validate(orjson.loads(encode_event(event, "belt-3")))
    old = encode_deprecated_event(event, "belt-3")
    if old is not None:
        payload_of("event").validate(orjson.loads(old))


@pytest.mark.parametrize(
    "answers",
    [
        {"top": (Label(3, "bolt", 0.93),)},
        {"detections": (Detection(1, "person", 0.8, (1.0, 2.0, 3.0, 4.0)),)},
    ],
)
def test_results_are_as_described(answers):
    payload_of("result").validate(orjson.loads(encode_result(result(**answers))))


def test_rejections_are_as_described():
    rejected = Rejected("belt", 7, RejectReason.TRUNCATED, "ends early", None, Origin(name="a.jpg"))
    payload_of("rejected").validate(orjson.loads(encode_rejection(rejected, "belt-3", "parts", 2)))


def test_chunks_and_the_answer_to_install_are_as_described():
    operation = DOCUMENT["operations"]["receive-upload"]
    assert operation["action"] == "receive"
    assert DOCUMENT["channels"]["upload"]["address"].format(chunk="x") == TOPICS.upload("x")
    installed = {"bundle": "p/4", "outcome": "installed", "sha256": "0" * 64}
    answer = payload_of("response-install")
    answer.validate(
        {
            "status": "ok",
            "data": {**installed, "models": [{"model": "p", "taken": "never"}]},
            "transaction": None,
        }
    )
    assert not answer.is_valid({"status": "ok", "data": installed, "transaction": None})


BEGUN = {
    "commission": {"begun": "commission", "frames_wanted": 64},
    "recalibrate": {"begun": "recalibrate", "frames_wanted": 64, "reference": "live"},
}


@pytest.mark.parametrize(
    "end",
    [fact for fact, _, _ in EXAMPLES.values() if isinstance(fact, TaskEnd)],
    ids=lambda end: type(end).__name__,
)
def test_the_end_of_a_task_is_as_described(end):
    is_commissioning = isinstance(end, Commissioned) or getattr(end, "task", None) == "commission"
    verb = "commission" if is_commissioning else "recalibrate"
    answer, data = payload_of(f"response-{verb}"), {**BEGUN[verb], **describe_end(end)}
    answer.validate({"status": "ok", "data": data, "transaction": None})
    assert not answer.is_valid({"status": "ok", "data": {**data, "outcome": "other"}, "transaction": None})


def test_a_baseline_is_as_described():
    data = describe_baseline(two_tap_baseline(), now_wall_s=0.0)
    payload_of("response-approve").validate({"status": "ok", "data": data, "transaction": None})


def test_what_is_for_home_assistant_is_there_only_with_it():
    names = {"figures", "discovery", "home-assistant"}
    without = describe_device(TOPICS, "1.2.3", TYPES, ("line-3",))
    assert DOCUMENT["channels"].keys() - without["channels"].keys() == names
    addresses = [DOCUMENT["channels"][name]["address"] for name in ("figures", "discovery", "home-assistant")]
    assert addresses[0] == TOPICS.figures
    assert addresses[1:] == ["homeassistant/device/plant_edge/belt-3/config", "homeassistant/status"]
    assert DOCUMENT["operations"]["receive-home-assistant"]["action"] == "receive"


def test_progress_is_as_described():
    handlers = {"restart": lambda _: Later(lambda _: {"restarting": True})}
    handler = CommandHandler(handlers, CommandPolicy(True, Callers(unsigned=Role.OWNER)), UsedInMemory())
    begun = handler.answer("restart", b'{"transaction": 7}', is_retained=False, now_s=0.0, now_wall_s=0.0)
    payload_of("progress").validate(orjson.loads(begun.encode_progress({"phase": "opening"})))
    payload_of("response-restart").validate(orjson.loads(begun.settle({"restarting": True}, 0.0).payload))
    address = DOCUMENT["channels"]["progress"]["address"]
    assert address.format(verb="restart") == progress_topic(TOPICS.response("restart"))


def test_the_command_line_prints_it(tmp_path):
    config = tmp_path / "box.yaml"
    config.write_text(
        "device: belt-3\nmodels: {parts: {bundle: p}}\ncameras: {c: {path: pictures, model: parts}}\n"
    )
    done = CliRunner().invoke(cli, ["asyncapi", str(config)], standalone_mode=False)
    assert orjson.loads(done.output)["info"]["title"] == "edge-runtime on belt-3"
