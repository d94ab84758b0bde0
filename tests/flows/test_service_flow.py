"""The daemon under something that plays systemd: READY after the self-test, a fed watchdog, STOPPING, exit 0."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.support.mosquitto import free_port
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration


class Systemd:
    """The notification socket of a service manager."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(WAIT_S)
        self.heard = []

    def drain(self):
        """Take what is under way."""
        self.socket.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while True:
                self.socket.recv(4096)

    def hear_until(self, word):
        """Take messages up to a new one with this word; the watchdog's come for ever."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            self.heard.append(self.socket.recv(4096).decode())
            if word in self.heard[-1]:
                return
        raise AssertionError(f"{word!r} is not among {self.heard}")


def start(folder, systemd, text=None, **environment):
    config = folder / "box.yaml"
    config.write_text(
        text
        or json.dumps(
            {
                "device": "box",
                "state_dir": str(folder / "state"),
                "models": {"parts": {"bundle": "demo:efficientnet-lite0"}},
                "cameras": {"belt": {"path": "demo:conveyor", "model": "parts", "fps": 10}},
                "http": {"port": free_port()},
            }
        )
    )
    environment = {**os.environ, "NOTIFY_SOCKET": systemd.path, **environment}
    command = [sys.executable, "-m", "edge_runtime", "run", str(config)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def is_ready(message):
    """The status line that ``systemctl status`` shows; notes follow the verdict."""
    return message.startswith("STATUS=ready;")


@pytest.fixture
def systemd(tmp_path):
    systemd = Systemd(tmp_path)
    yield systemd
    systemd.socket.close()


def test_says_ready_feeds_the_watchdog_and_says_that_it_stops(tmp_path, systemd):
    daemon = start(tmp_path, systemd, WATCHDOG_USEC="2000000")
    try:
        systemd.hear_until("READY=1")
        assert systemd.heard[0].startswith("EXTEND_TIMEOUT_USEC=")
        assert not any("WATCHDOG" in message for message in systemd.heard)
        for _ in range(2):
            systemd.hear_until("WATCHDOG=1")
        if not any(is_ready(message) for message in systemd.heard):  # sent once, somewhere between the others
            systemd.hear_until("STATUS=ready;")
        assert "'commission'" in next(filter(is_ready, systemd.heard))
        daemon.send_signal(signal.SIGTERM)
        systemd.hear_until("STOPPING=1")
        assert daemon.wait(WAIT_S) == 0
    finally:
        daemon.kill()


def test_a_daemon_that_is_stopped_does_not_feed_the_watchdog(tmp_path, systemd):
    daemon = start(tmp_path, systemd, WATCHDOG_USEC="1000000")
    try:
        systemd.hear_until("WATCHDOG=1")
        daemon.send_signal(signal.SIGSTOP)
        systemd.drain()
        systemd.socket.settimeout(2)
        with pytest.raises(TimeoutError):
            systemd.socket.recv(4096)
    finally:
        daemon.kill()
        daemon.wait(WAIT_S)


def test_with_a_broken_file_the_service_is_up_and_not_ready_and_mended_by_hand_it_serves(tmp_path, systemd):
    """No restart helps, and nobody may be there."""
    port = free_port()
    broken = f"device: box\nstate_dir: {tmp_path}/state\nhttp: {{port: {port}}}\nmodels: {{parts: {{bundle: /gone}}}}\n"
    broken += "cameras: {belt: {path: 'demo:conveyor', model: parts, fps: 2}}\n"
    daemon = start(tmp_path, systemd, broken, WATCHDOG_USEC="2000000")
    try:
        systemd.hear_until("READY=1")
        systemd.hear_until("STATUS=not ready; configuration: safe mode: ")
        assert "/gone" in systemd.heard[-1]
        for _ in range(2):
            systemd.hear_until("WATCHDOG=1")
        (tmp_path / "box.yaml").write_text(broken.replace("/gone", "demo:efficientnet-lite0"))
        systemd.hear_until("STATUS=ready;")
        assert daemon.poll() is None
    finally:
        daemon.kill()
        daemon.wait(WAIT_S)
