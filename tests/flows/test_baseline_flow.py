"""Two states of one site on a running daemon: both commissioned by command, then night and day come and go."""

import json
import subprocess
import sys

import pytest

from tests.support.daemon_box import conveyor
from tests.support.mosquitto import Mosquitto
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

SENT = [sys.executable, "-m", "edge_runtime"]


def run_cli(box, *words):
    done = subprocess.run([*SENT, *words], cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["data"]


def recalibration_of(box):
    return ((box.status() or {}).get("models") or {}).get("parts", {}).get("recalibration") or {}


def in_use(box):
    return next(
        (name for name, facts in recalibration_of(box).get("baselines", {}).items() if facts["in_use"]), None
    )


def switches_of(box):
    facts = [event["data"] for event in reversed(box.events()) if event["event"] == "baseline"]
    return [(fact["from"], fact["to"]) for fact in facts if "from" in fact]


def test_day_and_night_come_and_go_without_an_alarm(box, tmp_path):
    with Mosquitto(tmp_path / "broker") as broker:

        def light(drift):
            demo = {"drift": drift, "drift_at_s": 0} if drift else {}
            box.write(
                cameras=conveyor(fps=30, demo=demo),
                mqtt={"host": broker.host, "port": broker.port, "commands": True},
                recalibration={"on_drift": False, "commission": {"frames": 48}},
                drift={"window_frames": 16, "sample_every_s": 0.06},
            )

        light(None)
        box.start()
        assert until(lambda: (recalibration_of(box).get("reservoir") or {}).get("frames", 0) > 5)
        for name, drift in (("day", None), ("night", "grey")):
            light(drift)
            assert until(lambda: box.status()["config_problem"] is None)
            run_cli(
                box, "send", "commission", "--config", str(box.file), "--name", name, "--expires-days", "90"
            )
            assert until(lambda name=name: in_use(box) == name), box.events()
        assert set(run_cli(box, "baseline", "list", str(box.file), "--json")["baselines"]) == {"day", "night"}
        alarms = recalibration_of(box)["alarms"]
        for name, drift in (("day", None), ("night", "grey")):
            light(drift)
            assert until(lambda name=name: in_use(box) == name), box.events()
        assert recalibration_of(box)["alarms"] == alarms
        # The status may know of a switch before its event has been taken down.
        assert until(lambda: switches_of(box)[-2:] == [("night", "day"), ("day", "night")]), box.events()
        assert run_cli(box, "baseline", "expire", str(box.file), "night", "--json")["is_expired"] is True
