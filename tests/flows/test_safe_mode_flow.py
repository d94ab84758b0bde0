"""A box whose file is broken at the start, and what mends it from afar, over a real broker."""

import pytest

from edge_runtime.cli.remote import send_command
from edge_runtime.config import Address
from edge_runtime.errors import NoAnswer
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

TEXT = """\
# the box at the belt
device: box
state_dir: {state}
http: {{port: {port}}}
models:
  parts: {{bundle: demo:efficientnet-lite0}}
cameras:
  belt: {{path: demo:conveyor, model: parts, fps: soon}}
  gate: {{path: demo:conveyor, model: pats, fps: 2}}
mqtt: {{host: 127.0.0.1, port: {broker}, commands: true}}
commands: {{unsigned: owner}}
"""


def answers(send):
    try:
        return send("status", timeout_s=2.0)["status"]
    except NoAnswer:  # it has not subscribed yet
        return None


def test_a_broken_file_is_mended_by_command_and_without_a_restart_also_after_a_kill(box, broker):
    to = Address.model_validate({"device": "box", "mqtt": {"host": "127.0.0.1", "port": broker.port}})

    def send(verb, timeout_s=WAIT_S, **given):
        return send_command(to, verb, given, timeout_s)

    broken = TEXT.format(state=box.state, port=box.port, broker=broker.port)
    unknown = broken.replace("unsigned: owner", "unsigned: everybody")
    box.write(unknown)
    box.start("--safe-mode")
    assert until(lambda: answers(send)), box.log()
    assert send("get-config")["status"] == "error"  # nobody may command: who may cannot be read
    assert send("set-config", text=broken)["status"] == "error"
    assert box.file.read_text() == unknown
    box.process.kill()
    box.wait()

    box.write(broken)
    box.start("--safe-mode")
    assert until(lambda: answers(send) == "ok"), box.log()
    assert box.get("/healthz").status_code == 200
    assert [
        part in box.get("/readyz").json()["reasons"][0] for part in ("safe mode", "cameras.belt.fps")
    ] == [True] * 2
    status, shown = send("status")["data"], send("get-config")["data"]
    assert (status["safe_mode"], status["health"]["ready"], status["models"]) == (True, False, {})
    assert (shown["text"], shown["in_force"]) == (broken, False)
    assert [
        key in shown["problem"] for key in ("line 8: cameras.belt.fps", "line 9: cameras.gate.model")
    ] == [True] * 2
    assert send("recalibrate")["status"] == "error"
    partly = send("set-config", set={"cameras.belt.fps": 2})
    assert (partly["status"], "cameras.gate.model" in partly["error"]) == ("error", True)

    mended = send("set-config", set={"cameras.belt.fps": 2, "cameras.gate.model": "parts"})["data"]
    assert (mended["outcome"], mended["after_restart"]) == ("in_force", [])
    assert box.file.read_text() == broken.replace("soon", "2").replace("pats", "parts")
    assert until(lambda: box.status()["cameras"] and box.get("/results").json()["results"])
    assert until(box.is_ready)
    assert box.status()["safe_mode"] is False
    assert [event["data"].get("safe_mode") for event in box.events() if event["event"] == "config"] == [
        None,
        True,
    ]
    box.process.terminate()
    assert box.wait() == 0
