"""A process on spare time is idle but for its turns, in which it has a low priority; all of its threads are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.system.spare_time import NICENESS_WITHOUT_TURNS, TURN_NICENESS
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

NICENESS = os.getpriority(os.PRIO_PROCESS, 0)
"""The tests may run under ``nice`` themselves."""
CAP_SYS_NICE = 1 << 23
CAPABILITIES = int(Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0], 16)

LIVE = """
import json, os, sys, threading, time
from edge_runtime.system.spare_time import live_on_spare_time
os.nice(int(sys.argv[1]))
if sys.argv[2] == "unprivileged" and os.geteuid() == 0:
    os.setuid(65534)
live_on_spare_time()
end = threading.Event()
later = threading.Thread(target=end.wait, daemon=True)
later.start()
mine = [threading.get_native_id(), later.native_id]
levels = {os.getpriority(os.PRIO_PROCESS, thread) for thread in mine}
seen, end_s = set(), time.monotonic() + float(sys.argv[4])
while len(seen) < int(sys.argv[3]) and time.monotonic() < end_s:
    seen.add(tuple(os.sched_getscheduler(thread) for thread in mine))
    time.sleep(0.01)
others = [t for t in threading.enumerate() if t.native_id not in mine]
print(json.dumps([sorted(levels), sorted(seen), [os.sched_getscheduler(t.native_id) for t in others]]))
"""


def live(niceness: int, who: str, policies: int) -> tuple[list[int], set[tuple[int, ...]], list[int]]:
    """Niceness and policies of two threads until so many pairs of policies were seen, and policies of the others."""
    command = [sys.executable, "-c", LIVE, str(niceness), who, str(policies), str(WAIT_S / 2)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=WAIT_S)
    levels, seen, others = json.loads(done.stdout)
    return levels, {tuple(one) for one in seen}, others


@pytest.mark.skipif(not CAPABILITIES & CAP_SYS_NICE, reason="then no thread may leave SCHED_IDLE")
@pytest.mark.parametrize("niceness", [0, 17])
def test_all_threads_are_idle_but_for_their_turns(niceness: int):
    levels, seen, others = live(niceness, "root", 2)
    assert levels == [min(19, NICENESS + niceness + TURN_NICENESS)]
    assert seen >= {(os.SCHED_IDLE, os.SCHED_IDLE)}
    assert any(os.SCHED_OTHER in one for one in seen)
    assert others == [os.SCHED_OTHER], "the thread that gives the turns wakes up on a full box as well"


def test_without_the_right_to_come_back_the_niceness_is_all():
    levels, seen, others = live(0, "unprivileged", 1)
    assert levels == [min(19, NICENESS + NICENESS_WITHOUT_TURNS)]
    assert seen == {(os.SCHED_OTHER, os.SCHED_OTHER)}
    assert others == []
