"""A process that runs with live inference lowers its priority, and a thread does so for a while."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.system import priority
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

NICENESS = os.getpriority(os.PRIO_PROCESS, 0)
"""The tests may run under ``nice`` themselves."""

LOWER_A_PROCESS = """
import json, os, sys, threading
from edge_runtime.system.priority import lower_priority
end = threading.Event()
os.nice(int(sys.argv[1]))
threading.Thread(target=end.wait, daemon=True).start()
lower_priority()
later = threading.Thread(target=end.wait, daemon=True)
later.start()
tasks = list(map(int, os.listdir("/proc/self/task")))
print(json.dumps([os.getpriority(os.PRIO_PROCESS, t) for t in tasks]))
"""


@pytest.mark.parametrize("niceness", [0, 10, 17])
def test_every_thread_gets_the_low_priority_and_those_started_later_too(niceness: int):
    command = [sys.executable, "-c", LOWER_A_PROCESS, str(niceness)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=WAIT_S)
    found = json.loads(done.stdout)
    assert len(found) >= 3
    assert set(found) == {min(19, NICENESS + niceness + priority.JOB_NICENESS)}


LOWER_A_THREAD = """
import json, os, sys, threading, time
from edge_runtime.system.priority import low_priority
end = threading.Event()
def niceness():
    while len(os.listdir("/proc/self/task")) > threading.active_count():  # one that was joined is not gone at once
        time.sleep(0.001)
    return {os.getpriority(os.PRIO_PROCESS, int(t)) for t in os.listdir("/proc/self/task")}
start = lambda: threading.Thread(target=end.wait, daemon=True).start()
os.nice(int(sys.argv[1]))
if sys.argv[2] == "unprivileged" and os.geteuid() == 0:
    os.setuid(65534)
start()
with low_priority():
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    start()
    during = sorted(niceness())
print(json.dumps([mine, during, sorted(niceness())]))
"""


def under_nice(levels: list[int]) -> list[int]:
    """The levels as they are for tests that began at ``NICENESS``; 19 is the end of the scale."""
    return sorted({min(19, NICENESS + level) for level in levels})


CAP_SYS_NICE = 1 << 23
CAPABILITIES = int(Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0], 16)


@pytest.mark.parametrize(
    ("niceness", "who", "expected"),
    [
        (0, "root", [10, [0, 10], [0]]),
        (0, "unprivileged", [0, [0], [0]]),  # the way back is closed
        (15, "root", [19, [15, 19], [15]]),
        (19, "root", [19, [19], [19]]),
    ],
)
def test_a_thread_lowers_its_priority_for_a_while_and_those_it_started_are_restored_with_it(
    niceness: int, who: str, expected: list[Any]
):
    if not CAPABILITIES & CAP_SYS_NICE:  # then no user may raise a priority
        expected = [niceness, [niceness], [niceness]]
    command = [sys.executable, "-c", LOWER_A_THREAD, str(niceness), who]
    done = subprocess.run(command, check=True, capture_output=True, timeout=WAIT_S)
    mine, during, after = expected
    assert json.loads(done.stdout) == [under_nice([mine])[0], under_nice(during), under_nice(after)]
