"""Five boxes on one broker get a version from a registry, by ``examples/fleet_rollout.py``."""

import shutil
import subprocess
import sys
from contextlib import ExitStack

import pytest
from click.testing import CliRunner

from edge_runtime.cli.main import cli
from tests.support.bundle_builds import replace_file
from tests.support.bundle_store import make_bundle
from tests.support.daemon_box import Box
from tests.support.docker_registry import DockerRegistry
from tests.support.listener import Listener
from tests.support.mosquitto import Mosquitto
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

NAMES = [f"belt-{number}" for number in range(1, 6)]
QUICK = {
    "shadow": {"frames": 8, "cpu": 1},
    "canary": {"frames": 4, "share": 0.5},
    "watch_s": 0.5,
    "limits": {"latency_ratio": 1000},
}


class FleetUnderTest:
    """Five daemons with a tiny net, a broker, a registry, and an owner."""

    def __init__(self, folder, stack):
        self._folder, self.boxes = folder, {}
        self._broker = stack.enter_context(Mosquitto(folder / "broker"))
        self.listener = Listener(self._broker, *NAMES, groups=("line-3",))
        self._registry = stack.enter_context(DockerRegistry(folder / "registry"))
        self._run_cli("keys", "make", folder / "anna", "--for", "commands")
        for name in NAMES:
            self.boxes[name] = self._make_box(name, stack)
        first, *others = self.boxes.values()
        self._start([first])
        for box in others:  # what one box has found out of a model, the others need not try again
            shutil.copytree(first.state / "cache", box.state / "cache")
        self._start(others)

    def _make_box(self, name, stack):
        box = Box(self._folder / name)
        make_bundle(box.state / "bundles" / "photos" / "1")
        box.write(
            device=name,
            models={"parts": {"bundle": "photos", "rollout": QUICK, "recalibrate": False, "threads": 1}},
            cameras={"belt": {"path": "demo:conveyor", "model": "parts", "fps": 4}},
            drift={"sample_every_s": 60},
            mqtt={"host": self._broker.host, "port": self._broker.port, "commands": True},
            commands={
                "keys": {"anna": {"file": str(self._folder / "anna.pub"), "role": "owner"}},
                "groups": ["line-3"],
            },
            bundles={"install_from": [self._registry.reference("acme/")]},
        )
        stack.callback(stop, box)
        return box

    @staticmethod
    def _start(boxes):
        for box in boxes:
            box.start()
        for box in boxes:
            assert until(lambda box=box: box.is_ready() and box.status()["broker"]["connected"]), box.log()

    @staticmethod
    def _run_cli(*words):
        done = CliRunner().invoke(cli, [str(word) for word in words], standalone_mode=False)
        assert not done.exception, repr(done.exception)

    def publish(self, version, *, is_wrong=False):
        """Push a version; a wrong one calls every class by the name of the next."""
        folder = make_bundle(self._folder / "made" / str(version), version=version)
        if is_wrong:
            names = (folder / "labels.txt").read_text().splitlines()
            replace_file(folder, "labels.txt", "\n".join([*names[1:], names[0]]).encode())
        self._run_cli("bundle", "push", folder, self._registry.reference(f"acme/photos:{version}"))

    def roll_out(self, version, *boxes):
        """Exit code, and the lines about the boxes."""
        command = [
            sys.executable, str(ROOT / "examples" / "fleet_rollout.py"), "--broker", self._broker.host,
            "--port", str(self._broker.port), "--key", str(self._folder / "anna"), "--group", "line-3",
            "--model", "parts", "--version", str(version),
            "--from", self._registry.reference(f"acme/photos:{version}"), *boxes,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, cwd=self._folder)
        return done.returncode, dict(line.split(": ", 1) for line in done.stdout.splitlines())

    def rollouts(self):
        """What each box says of its versions."""
        found = [box.status()["models"]["parts"]["rollout"] for box in self.boxes.values()]
        return [(one["active"], list(one["refused"])) for one in found]

    def installed(self):
        """Which versions each box has on its disk."""
        roots = [box.state / "bundles" / "photos" for box in self.boxes.values()]
        return [sorted(path.name for path in root.iterdir() if path.name.isdigit()) for root in roots]


def stop(box):
    if box.process is not None and box.process.poll() is None:
        box.process.kill()
        box.process.wait(WAIT_S)


def test_a_fleet_takes_what_its_canary_takes_and_nothing_else(tmp_path):
    with ExitStack() as stack:
        fleet = FleetUnderTest(tmp_path, stack)
        fleet.publish(2)
        fleet.publish(3, is_wrong=True)
        code, said = fleet.roll_out(2, *NAMES, "belt-6")  # the last one is not there
        assert (code, said) == (2, {**dict.fromkeys(NAMES, "active"), "belt-6": "does not answer"})
        assert fleet.rollouts() == [(2, [])] * 5
        code, said = fleet.roll_out(3, *NAMES)
        assert (code, list(said)) == (1, ["belt-1", "stopped"])
        assert said["belt-1"].startswith("refused: ")
        assert fleet.rollouts() == [(2, ["3"]), *[(2, [])] * 4]
        assert fleet.installed() == [["1", "2", "3"], *[["1", "2"]] * 4]
        assert fleet.roll_out(2, *NAMES) == (0, dict.fromkeys(NAMES, "active"))  # they have it
        fleet.listener.close()
