"""A child of the daemon: Ctrl-C does not reach it, and its niceness counts against the daemon's threads."""

import os
import subprocess

import pytest

from edge_runtime.system.child_process import environment_without_secrets, start_child
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration


def test_a_child_has_its_own_group_for_signals_and_shares_the_session_for_priorities():
    child = start_child(
        "timeit", ["-n", "1", "pass"], env=environment_without_secrets(), stdout=subprocess.PIPE
    )
    try:
        assert os.getpgid(child.pid) == child.pid
        assert os.getsid(child.pid) == os.getsid(0)
    finally:
        child.communicate(timeout=WAIT_S)
