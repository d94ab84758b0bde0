"""A whole daemon that is killed -9 while signed commands run, over a real broker."""

from collections import Counter

import pytest

from benchmarks.commands.killed import Killer
from benchmarks.commands.killed_box import Box
from edge_runtime.messaging.commands.command_log import LOG_FILE, read_log
from tests.support.mosquitto import Mosquitto

pytestmark = pytest.mark.integration


def test_a_command_that_a_kill_cut_short_never_acts_twice(tmp_path):
    with Mosquitto(tmp_path / "broker") as broker:
        box = Box(tmp_path, broker.port)
        try:
            box.start()
            killer = Killer(box, seed=1)
            killer.measure("commission")  # without a baseline no patch stays
            killer.kill_once(["set-config", "commission"], 0.2, stage_patches=True)
            killer.kill_once(["rollback"], 0.1)
        finally:
            box.close()
        log = read_log(box.state / LOG_FILE)
    counts = sum(killer.counts.values(), Counter())
    assert killer.faults == []
    assert (counts["commands"], counts["acted_twice"]) == (3, 0)
    assert counts["said_done"] + counts["said_not_known"] == 3
    assert log.problem is None
    noted = [entry["transaction"] for entry in log.entries]
    assert len(noted) == len(set(noted))
