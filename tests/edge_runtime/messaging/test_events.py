"""The documented contract of the events: kinds, fields and examples of the reference are those of the code."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from edge_runtime.messaging.encoding import encode_deprecated_event, encode_event
from edge_runtime.messaging.events import (
    ConfigApplied,
    ConfigRefused,
    ConfigUndone,
    DeliveryRecovered,
    DeliveryTrouble,
    Event,
    Fact,
    HealthChanged,
    RecordingBegun,
    RecordingEnded,
    TaskFailed,
)
from tools.document.event_examples import EXAMPLES

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
AT_S = 1795448459.123
OF_THE_DEVICE = (
    ConfigApplied
    | ConfigRefused
    | ConfigUndone
    | DeliveryTrouble
    | DeliveryRecovered
    | HealthChanged
    | RecordingBegun
    | RecordingEnded
)
OUTCOMES = {
    "commissioned": "recorded",
    "recording begun": "begun",
    "recording ended": "ended",
    "delivery trouble": "trouble",
    "delivery recovered": "recovered",
    "commissioning failed": "failed",
    "recalibration failed": "failed",
    "recalibrated": "accepted",
    "recalibration refused": "refused",
    "patch reused": "accepted",
    "patch proposed": "proposed",
    "patch observed": "observed",
    "dry run": "dry_run",
    "dry run failed": "failed",
}


def event_of(name):
    fact = EXAMPLES[name][0]
    return Event(AT_S, fact, None if isinstance(fact, OF_THE_DEVICE) else "parts")


def sent(name):
    return json.loads(encode_event(event_of(name), "belt-3"))


def sections():
    """Examples by section of the page."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        title, body = section.split("\n", 1)
        examples = re.findall(r"```json\n(.*?)```", body, re.DOTALL)
        found[title.strip().strip("`")] = [json.loads(text) for text in examples]
    return found


def test_there_is_an_example_of_every_type():
    assert {type(fact) for fact, _, _ in EXAMPLES.values()} == set(get_args(Fact))


@pytest.mark.parametrize("name", EXAMPLES)
def test_subscribers_get_the_names_and_fields_they_have_always_got(name):
    _, kind, data = EXAMPLES[name]
    about = {} if kind in ("config", "delivery", "health", "recording") else {"model": "parts"}
    outcome = {"outcome": OUTCOMES[name]} if name in OUTCOMES else {}
    assert sent(name) == {
        "event": kind,
        "device": "belt-3",
        "at": "2026-11-23T15:40:59.123Z",
        "data": {**about, **outcome, **data},
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_failed_task_is_published_under_its_old_name_as_well(name):
    fact, _, data = EXAMPLES[name]
    old = encode_deprecated_event(event_of(name), "belt-3")
    if not isinstance(fact, TaskFailed):
        assert old is None
        return
    assert old is not None
    assert json.loads(old) == {
        "event": fact.task,
        "device": "belt-3",
        "at": "2026-11-23T15:40:59.123Z",
        "data": {"model": "parts", **data},
        "deprecated": True,
    }


def test_the_page_has_every_kind():
    assert list(sections()) == sorted({kind for _, kind, _ in EXAMPLES.values()})


@pytest.mark.parametrize("kind", sections())
def test_the_examples_of_the_page_are_what_is_sent(kind):
    names = [name for name, (_, of_kind, _) in EXAMPLES.items() if of_kind == kind]
    assert sections()[kind] == [sent(name) for name in names]
