"""A patch that waits for a person on a whole daemon: over kill -9, until it is approved over a broker.

Home Assistant looks on, since what it shows of drift needs a drift.
"""

import json

import numpy as np
import pytest

from tests.support.command_line import run_command
from tests.support.home_assistant import HomeAssistant, render
from tests.support.mosquitto import Mosquitto
from tests.support.onnx_nets import hazy
from tests.support.small_site import small_bundle, small_camera
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


def send(box, *words):
    code, written = run_command("send", *words, "--config", box.file)
    return code, json.loads(written)


def recalibration_of(box):
    return ((box.status() or {}).get("models") or {}).get("parts", {}).get("recalibration") or {}


def assert_shown(home):
    """Drift, its alarm, and both events."""
    assert until(lambda: home.values()["model_parts_alarm"] == "ON")
    assert float(home.values()["model_parts_drift"]) > 0
    template = home.components["event"]["value_template"]

    def kinds():
        rendered = [render(template, payload) for payload in tuple(home.events)]
        return {json.loads(text)["event_type"] for text in rendered if text}

    assert until(lambda: kinds() >= {"drift", "proposed"})


def test_a_patch_waits_over_kill_9_and_is_used_once_it_is_approved(box, tmp_path):
    bundle = small_bundle(tmp_path)
    clear, foggy = (small_camera(tmp_path / d.__name__, drift=d, fps=40) for d in (np.copy, hazy))
    with Mosquitto(tmp_path / "broker") as broker:

        def write(cameras):
            box.write(
                models={"parts": {"bundle": str(bundle.path)}},
                cameras=cameras,
                recalibration={
                    "commission": {"frames": 48, "automatic": True},
                    "reference": {"frames": 48},
                    "cooldown_s": 5,
                    "distillation": "off",
                    "autonomy": "propose",
                },
                drift={"window_frames": 16, "sample_every_s": 0.02, "cooldown_s": 600},
                mqtt={
                    "host": broker.host,
                    "port": broker.port,
                    "commands": True,
                    "home_assistant": {"figures_every_s": 1},
                },
            )

        home = HomeAssistant(broker.host, broker.port, "homeassistant/device/edge/box/config")
        write(clear)
        box.start()
        assert until(lambda: recalibration_of(box).get("commissioned"), 2 * WAIT_S), box.log()
        write(foggy)
        assert until(lambda: recalibration_of(box).get("proposal"), 2 * WAIT_S), box.log()
        assert box.status()["models"]["parts"]["generation"] == "small/1"
        assert_shown(home)
        home.close()
        box.process.kill()
        box.wait()
        box.start()
        assert until(lambda: (box.status() or {}).get("first_result_s"))
        assert recalibration_of(box)["proposal"]["patch"] == "p1"
        code, answer = send(box, "approve-patch", "--patch", "p2")
        assert (code, answer["status"]) == (65, "error")
        code, answer = send(box, "approve-patch", "--patch", "p1")
        assert (code, answer["data"]) == (0, {"generation": "small/1+p1"})
        assert box.status()["models"]["parts"]["generation"] == "small/1+p1"
        assert recalibration_of(box)["proposal"] is None
        assert send(box, "reject-patch")[0] == 65
