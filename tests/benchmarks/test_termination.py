"""A benchmark that is ended by SIGTERM leaves no process behind."""

import signal
import subprocess
import sys

import psutil
import pytest

from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

SCRIPT = """
import subprocess, sys, types
from pathlib import Path
import benchmarks.__main__ as command
from benchmarks.performance.peers.mqtt_load import broker

def main():
    with broker(Path(sys.argv[1])):
        nap = "import subprocess; subprocess.run(['sleep', '600'])"
        subprocess.run([sys.executable, "-c", nap])

sys.modules["benchmarks.nap"] = types.SimpleNamespace(main=main)
command.BENCHMARKS["home-assistant"] = command.Benchmark("", "nap")
command.main(["run", "home-assistant", sys.argv[1]])
"""


def test_sigterm_ends_all_that_a_benchmark_has_started(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT)
    try:
        started = []

        def are_there():
            started[:] = psutil.Process(process.pid).children(recursive=True)
            return {"mosquitto", "sleep"} <= {one.name() for one in started}

        assert until(are_there)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 128 + signal.SIGTERM
        assert until(lambda: not any(one.is_running() for one in started))
    finally:
        for one in (*started, process):
            if one.is_running() if isinstance(one, psutil.Process) else one.poll() is None:
                one.kill()
        process.wait(WAIT_S)
