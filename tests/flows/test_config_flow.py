"""Edits of the configuration of a running daemon, by hand and over a real broker, mixed."""

import threading

import pytest

from edge_runtime.cli.remote import send_command
from edge_runtime.cli.upload import ChunkedFile
from edge_runtime.config import Address
from edge_runtime.errors import NoAnswer
from tests.support.daemon_box import Box
from tests.support.install_bench import Archive
from tests.support.listener import Listener
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
  belt: {{path: demo:conveyor, model: parts, fps: 2}}   # slow enough
mqtt: {{host: 127.0.0.1, port: {broker}, commands: true}}
commands: {{unsigned: owner}}
"""


@pytest.fixture
def box(tmp_path, broker):
    box = Box(tmp_path)
    listener = Listener(broker)
    box.write(TEXT.format(state=box.state, port=box.port, broker=broker.port))
    box.start()
    to = Address.model_validate({"device": "box", "mqtt": {"host": "127.0.0.1", "port": broker.port}})
    box.to = to
    box.send = lambda verb, timeout_s=WAIT_S, **given: send_command(to, verb, given, timeout_s)
    try:
        assert until(lambda: (box.status() or {}).get("broker", {}).get("connected")), box.log()
        yield box
    finally:
        box.process.terminate()
        assert box.wait() == 0
    listener.close()


def hears(box):
    try:
        return box.send("status", timeout_s=2.0)["status"] == "ok"
    except NoAnswer:  # it has not subscribed yet
        return False


def test_edits_by_hand_and_by_command_follow_each_other(box, tmp_path):
    before = box.file.read_text()
    answer = box.send("set-config", set={"cameras.belt.fps": 3})
    assert answer["data"]["changed"] == {"cameras.belt.fps": "reopen_camera"}
    assert box.file.read_text() == before.replace("fps: 2", "fps: 3")
    shown = box.send("get-config")["data"]
    assert (shown["in_force"], shown["problem"]) == (True, None)

    box.write(box.file.read_text().replace("fps: 3", "fps: soon"))
    assert until(lambda: not box.send("get-config")["data"]["in_force"])
    assert until(lambda: box.send("get-config")["data"]["problem"])
    refused = box.send("set-config", set={"log.level": "loud"})
    assert refused["status"] == "error"
    assert "log.level" in refused["error"]
    mended = box.send("set-config", set={"cameras.belt.fps": 4})
    assert mended["data"]["outcome"] == "in_force"
    assert box.send("get-config")["data"]["problem"] is None

    assert box.send("undo-config")["data"]["changed"] == {"cameras.belt.fps": "reopen_camera"}
    assert box.file.read_text() == before.replace("fps: 2", "fps: 3")
    assert box.status()["config"]["by"] == "unsigned"
    rows = box.send("config-history")["data"]["entries"]
    assert [row["by"] for row in rows] == ["start", "unsigned", "unsigned", "unsigned"]

    gone = box.send("set-config", set={"models.parts.bundle": "gone"})
    assert gone["status"] == "error"
    assert "bundle: demo:efficientnet-lite0" in box.file.read_text()
    # A model that takes its time to open keeps no other command from its answer.
    opening = threading.Thread(
        target=box.send, args=("set-config",), kwargs={"set": {"models.parts.threads": 1}}
    )
    opening.start()
    assert until(lambda: box.send("status")["data"]["broker"]["commands"]["under_way"] == 1)
    assert box.send("get-config")["data"]["in_force"]
    opening.join(WAIT_S)
    assert "threads: 1" in box.file.read_text()

    allowed = box.send("set-config", set={"bundles.install_chunks": True})
    assert allowed["data"]["changed"] == {"bundles.install_chunks": "live"}
    upload = ChunkedFile(Archive(tmp_path / "made").path, 2**16)
    named = {"chunks": upload.names, "size_bytes": upload.size_bytes}
    installed = send_command(box.to, "install", named, WAIT_S, upload=upload)
    assert (installed["data"]["bundle"], installed["data"]["models"]) == ("photos/1", [])
    assert (box.state / "bundles" / "photos" / "1" / "bundle.yaml").exists()

    reached = box.send(
        "set-config", set={"mqtt.keepalive_s": 20}
    )  # answered over the connection that is left
    assert reached["data"]["changed"] == {"mqtt.keepalive_s": "reconnect"}
    assert until(lambda: box.log().count("connected to the broker") >= 2)
    assert until(lambda: hears(box))
    assert box.send("set-config", remove=["mqtt.keepalive_s"])["data"]["outcome"] == "in_force"
