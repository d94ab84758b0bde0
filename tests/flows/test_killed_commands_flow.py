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
            killer.kill_once(["set-config"], 0.1, stage_patches=True)
            killer.kill_once(["commission", "rollback"], 0.3)
        finally:
            box.close()
        log = read_log(box.state / LOG_FILE)
    counts = sum(killer.counts.values(), Counter())
    assert killer.faults == []
    assert (counts["kills"], counts["acted_twice"]) == (3, 0)
    assert counts["said_done"] + counts["said_not_known"] == 3
    assert log.problem is None
    noted = [entry["transaction"] for entry in log.entries]
    assert len(noted) == len(set(noted))
