"""Two states of one site on a running daemon: both commissioned by command, then night and day come and go."""

import json

import numpy as np
import pytest

from tests.support.command_line import run_command
from tests.support.mosquitto import Mosquitto
from tests.support.small_site import small_bundle, small_camera
from tests.support.waiting import until

pytestmark = pytest.mark.integration


def night(x):
    """Without colour, as an infrared camera: the model answers all the same."""
    return np.repeat(x.mean(1, keepdims=True), 3, axis=1)


def run_cli(*words):
    code, written = run_command(*words)
    assert code == 0, written
    return json.loads(written)["data"]


def recalibration_of(box):
    return ((box.status() or {}).get("models") or {}).get("parts", {}).get("recalibration") or {}


def in_use(box):
    return next(
        (name for name, facts in recalibration_of(box).get("baselines", {}).items() if facts["in_use"]), None
    )


def edits_of(box):
    return sum(event["event"] == "config" and event["data"]["accepted"] for event in box.events())


def switches_of(box):
    facts = [event["data"] for event in reversed(box.events()) if event["event"] == "baseline"]
    return [(fact["from"], fact["to"]) for fact in facts if "from" in fact]


def test_day_and_night_come_and_go_without_an_alarm(box, tmp_path):
    bundle = small_bundle(tmp_path)
    lights = {
        "day": small_camera(tmp_path / "day", fps=40),
        "night": small_camera(tmp_path / "night", drift=night, fps=40),
    }
    with Mosquitto(tmp_path / "broker") as broker:

        def light(name):
            box.write(
                models={"parts": {"bundle": str(bundle.path)}},
                cameras=lights[name],
                mqtt={"host": broker.host, "port": broker.port, "commands": True},
                recalibration={"on_drift": False, "commission": {"frames": 48}},
                drift={"window_frames": 16, "sample_every_s": 0.02},
            )

        light("day")
        box.start()
        assert until(lambda: (recalibration_of(box).get("reservoir") or {}).get("frames", 0) > 5)
        for name in lights:
            edits = edits_of(box)
            light(name)
            if name != "day":  # a baseline of both lights would fit both
                assert until(lambda edits=edits: edits_of(box) > edits), box.events()
            run_cli("send", "commission", "--config", str(box.file), "--name", name, "--expires-days", "90")
            assert until(lambda name=name: in_use(box) == name), box.events()
        assert set(run_cli("baseline", "list", str(box.file), "--json")["baselines"]) == {"day", "night"}
        alarms = recalibration_of(box)["alarms"]
        for name in lights:
            light(name)
            assert until(lambda name=name: in_use(box) == name), box.events()
        assert recalibration_of(box)["alarms"] == alarms
        # The status may know of a switch before its event has been taken down.
        assert until(lambda: switches_of(box)[-2:] == [("night", "day"), ("day", "night")]), box.events()
        assert run_cli("baseline", "expire", str(box.file), "night", "--json")["is_expired"] is True
