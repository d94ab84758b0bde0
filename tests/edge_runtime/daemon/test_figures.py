"""The figures of cameras and models: what a second has, what is not known, and how far a version is."""

import re
from dataclasses import replace

import jsonschema
import orjson
import pytest

from edge_runtime.config import RolloutConfig
from edge_runtime.daemon.figures import Rates, describe_figures, describe_update
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.messaging.home_assistant.contract import FIGURES
from tests.support.home_assistant import check
from tests.support.model_status import status, versions
from tests.support.paths import ROOT

PLAN = RolloutConfig.model_validate({"shadow": {"frames": 100}, "canary": {"frames": 50}, "watch_s": 200})
NO_SHADOW = RolloutConfig.model_validate({"shadow": {"frames": 0}, "canary": {"frames": 50}, "watch_s": 200})


def test_a_rate_needs_two_looks():
    rates = Rates()
    assert rates.update({"belt": 10}, 100.0) == {"belt": None}
    assert rates.update({"belt": 35, "gate": 7}, 102.0) == {"belt": 12.5, "gate": None}
    assert rates.update({"gate": 7}, 104.0) == {"gate": 0.0}
    assert rates.update({"belt": 40, "gate": 2}, 106.0) == {"belt": None, "gate": 0.0}


@pytest.mark.parametrize("plan", [None, PLAN])
def test_the_message_is_as_described_to_machines(plan):
    message = orjson.loads(
        encode_object(describe_figures({"parts": status()}, {"parts": plan}, {"belt": 12.5}))
    )
    jsonschema.Draft202012Validator(FIGURES).validate(message)
    parts = message["models"]["parts"]
    assert (parts["latency_p50_ms"], parts["latency_p99_ms"]) == (12.5, 31.0)
    assert parts["drift_score"] is parts["drift_alarm"] is None
    assert ("update" in parts) is (plan is not None)
    assert message["cameras"] == {"belt": {"fps": 12.5}}


@pytest.mark.parametrize(
    ("found", "plan", "wanted"),
    [
        (versions(), PLAN, ("4", "4", False, None)),
        (versions("staged"), PLAN, ("4", "5", True, 0)),
        (versions("shadow"), PLAN, ("4", "5", True, 0)),
        (versions("shadow", frames=50), PLAN, ("4", "5", True, 16)),
        (versions("canary", frames=25), PLAN, ("4", "5", True, 50)),
        (versions("canary", frames=25), NO_SHADOW, ("4", "5", True, 25)),
        (versions("watched", stage_s=100.0), PLAN, ("4", "5", True, 83)),
        (versions("watched", stage_s=900.0), PLAN, ("4", "5", True, 100)),
        (versions("canary", frames=50, paused="promote: ask"), PLAN, ("4", "5", False, None)),
    ],
)
def test_versions_are_in_words_that_home_assistant_takes(found, plan, wanted):
    update = describe_update(found, plan)
    check(update, "update_state")
    assert tuple(update.values()) == wanted


def test_the_message_on_the_page_is_as_described():
    page = (ROOT / "docs" / "home-assistant.md").read_text(encoding="utf-8")
    message = orjson.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])
    jsonschema.Draft202012Validator(FIGURES).validate(message)
    check(message["models"]["parts"]["update"], "update_state")


def test_a_version_that_is_promoted_at_a_time_says_when():
    waits = replace(versions("canary", paused="passed", frames=9), promotes_at="2026-12-01T03:00:00.000Z")
    told = describe_update(waits, PLAN)
    assert "2026-12-01T03:00" in told["release_summary"]
    check(told, "update_state")
    model = FIGURES["properties"]["models"]["additionalProperties"]
    jsonschema.Draft202012Validator(model["properties"]["update"]).validate(told)
