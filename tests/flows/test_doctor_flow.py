"""A doctor next to a running daemon: it knows it, finds no problem with it, and does not disturb it."""

import subprocess
import sys

import orjson
import pytest

from edge_runtime.system.state_lock import find_holder
from tests.support.daemon_box import conveyor
from tests.support.mosquitto import Mosquitto
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


def test_a_daemon_that_runs_is_not_disturbed(box, tmp_path):
    with Mosquitto(tmp_path / "broker") as broker:
        box.write(cameras=conveyor(), mqtt={"host": broker.host, "port": broker.port, "commands": True})
        box.start()
        assert until(box.is_ready), box.log()
        holder = find_holder(box.state)
        command = [sys.executable, "-m", "edge_runtime", "doctor", str(box.file), "--json"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S)
        findings = orjson.loads(ended.stdout)["findings"]
        assert box.is_ready()
        assert box.process.poll() is None
        assert broker.log.count("Client edge/box closed") == broker.log.count("already connected") == 0
    by_id = {one["id"]: one for one in findings}
    assert ended.returncode == 0
    assert by_id["port"]["level"] == by_id["broker"]["level"] == by_id["state"]["level"] == "ok"
    assert holder in (box.process.pid, None)  # None where /proc/locks shows nothing
