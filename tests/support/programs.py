"""Programs that the tests talk to. A missing one is a failure with the command that installs it, never a skip."""

import os
import shutil
import socket
import subprocess
import time

from tests.support.waiting import WAIT_S

DEBIAN_PACKAGES = {
    "mosquitto": "mosquitto",
    "mosquitto_passwd": "mosquitto",
    "docker-registry": "docker-registry",
    "chromium": "chromium",
    "systemd-analyze": "systemd",
    "prometheus": "prometheus",
    "promtool": "prometheus",
}


def find_program(name: str, *others: str) -> str:
    """Path of a program, or of one that does as well; some are not on an ordinary user's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = next((found for one in (name, *others) if (found := shutil.which(one, path=path))), None)
    if found is None:
        command = f"apt-get install -y --no-install-recommends {DEBIAN_PACKAGES[name]}"
        raise RuntimeError(f"{name} is needed by these tests and was not found; install it: {command}")
    return found


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int, timeout_s: float) -> bool:
    """Whether a server on a loopback port takes connections in time, and has not ended before."""
    end_s = time.monotonic() + timeout_s
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > end_s:
            return False
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
    return True


def kill(process: subprocess.Popen[bytes] | None) -> None:
    """SIGKILL, and wait for the end; nothing where there is no process or it has ended."""
    if process is not None:
        process.kill()
        process.wait(WAIT_S)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False
