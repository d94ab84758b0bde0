"""A process pauses after its work where no core is free, as long as its allowed share asks for, and never elsewhere."""

import json
import subprocess
import sys

import pytest

from edge_runtime.system.pacing import FREE_CORES, FULL_BOX_SHARE, LEAST_CORES, Usage, pause_s
from tests.support.waiting import WAIT_S


def pause_after(own_s: float, took_s: float, idle_s: float = 0.0, cpus: int = 2) -> float:
    return pause_s(Usage(100.0, 7.0, 50.0), Usage(100.0 + took_s, 7.0 + own_s, 50.0 + idle_s), cpus)


@pytest.mark.parametrize(
    ("cpus", "cores"), [(1, LEAST_CORES), (2, 2 * FULL_BOX_SHARE), (4, 4 * FULL_BOX_SHARE)]
)
def test_work_and_pause_together_have_the_allowed_share_of_a_full_box(cpus: int, cores: float):
    assert 0.1 / (0.2 + pause_after(own_s=0.1, took_s=0.2, cpus=cpus)) == pytest.approx(cores)


def test_work_that_got_less_than_its_share_is_not_followed_by_a_pause():
    assert pause_after(own_s=0.1, took_s=1.0) == 0.0


@pytest.mark.parametrize("own_s", [0.01, 0.1, FREE_CORES])
def test_there_is_no_pause_where_others_leave_a_core_be_it_idle_or_used_by_this_process(own_s: float):
    assert pause_after(own_s, took_s=1.0, idle_s=FREE_CORES - own_s + 0.001, cpus=2) == 0.0
    assert pause_after(own_s=0.5, took_s=1.0, idle_s=FREE_CORES - 0.5 - 0.01, cpus=2) > 0.0


def test_a_clock_that_did_not_move_is_no_error():
    assert pause_after(own_s=0.0, took_s=0.0) == 0.0


WORK = """
import json, os, signal, sys, time
from edge_runtime.system import pacing
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
print(flush=True)
sys.stdin.readline()
began_s, began_cpu_s = time.monotonic(), time.process_time()
pacing.pace_main_thread(float(sys.argv[1]))
while time.process_time() - began_cpu_s < 2.5 * pacing.PIECE_S:
    pass
took_s = time.monotonic() - began_s
print(json.dumps([took_s, signal.getitimer(signal.ITIMER_PROF)[0]]))
"""
HOG = (
    "import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nprint(flush=True)\nwhile True: pass"
)


def work_next_to_a_hog(for_s: float) -> list[float]:
    """On one CPU: seconds that two and a half pieces took, and the time to the next look, 0.0 without one."""
    hog = subprocess.Popen([sys.executable, "-c", HOG], stdout=subprocess.PIPE)
    command = [sys.executable, "-c", WORK, str(for_s)]
    with hog, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        try:
            assert hog.stdout is not None
            assert worker.stdout is not None
            hog.stdout.readline()
            worker.stdout.readline()
            found, _ = worker.communicate(b"\n", timeout=WAIT_S)
        finally:
            hog.kill()
    answer = json.loads(found)
    assert isinstance(answer, list)
    return answer


@pytest.mark.integration
def test_a_loop_that_knows_nothing_of_it_gets_no_more_than_the_least_share_of_a_full_cpu():
    took_s, next_look_s = work_next_to_a_hog(1e6)
    assert took_s >= 2 * 0.1 / LEAST_CORES
    assert next_look_s > 0.0


@pytest.mark.integration
def test_after_the_time_that_was_said_nothing_interrupts_it_any_more():
    assert work_next_to_a_hog(0.0)[1] == 0.0
