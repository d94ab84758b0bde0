"""The other two machines: the hub with broker and registry, set up as docs/operations.md says, and the box."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.commands.remote.machines import WAIT_S, Machine, Unusable
from benchmarks.commands.remote.office import ROLES, Office
from benchmarks.commands.remote.page import block
from benchmarks.performance.bare_runs import BUNDLE
from benchmarks.rollout.faults import Fault
from benchmarks.rollout.versions import put_version

NAME = BUNDLE.parent.name
DEVICE, BOX_ADDRESS = "belt-3", "10.77.1.2"
REGISTRY_HOST = "broker.example:5000"
REGISTRY = f"{REGISTRY_HOST}/acme/{NAME}"
_TYPIST = 'mosquitto_passwd() { command mosquitto_passwd -b "$1" "$2" "$2-$SECRET"; }\n'
"""Types the passwords that the page's commands ask for."""
_ROLLOUT = {
    "shadow": {"frames": 20, "cpu": 1},
    "canary": {"frames": 20, "share": 0.5},
    "watch_s": 3.0,
    "limits": {"latency_ratio": 100},
}


class Hub:
    """Broker and registry."""

    def __init__(self, machine: Machine, secret: str) -> None:
        """Start both; the password of each user is ``USER-SECRET``."""
        self._machine, self._secret = machine, secret
        folder = machine.folder / "mosquitto"
        (folder / "conf.d").mkdir(parents=True)
        machine.mount(folder, "/etc/mosquitto")
        (folder / "acl").write_text(block("operations.md", "pattern readwrite"))
        (folder / "conf.d" / "edge.conf").write_text(block("operations.md", "acl_file"))
        make = _TYPIST + block("operations.md", "openssl req -x509")
        machine.do("bash", "-euc", make, env={"SECRET": secret})
        machine.start("mosquitto", "-v", "-c", "/etc/mosquitto/conf.d/edge.conf")
        self.ca = folder / "ca.pem"
        registry = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(machine.folder / "storage")}},
            "http": {
                "addr": "0.0.0.0:5000",
                "tls": {"certificate": str(folder / "server.pem"), "key": str(folder / "server.key")},
            },
        }
        (machine.folder / "registry.json").write_text(json.dumps(registry))
        machine.start("docker-registry", "serve", str(machine.folder / "registry.json"))

    def password(self, user: str) -> str:
        """Of a user of the broker."""
        return f"{user}-{self._secret}"

    def publish_version(self, number: int) -> str:
        """Push a version of the demo's bundle, as its publisher does; gives its reference."""
        reference = f"oci://{REGISTRY}:{number}"
        self._bundle("push", str(self._make(number)), reference)
        return reference

    def pack_version(self, number: int) -> Path:
        """Another version as an archive."""
        archive = self._machine.folder / f"{NAME}-{number}.tar"
        self._bundle("pack", str(self._make(number)), str(archive))
        return archive

    def _make(self, number: int) -> Path:
        root = self._machine.folder / NAME
        root.mkdir(exist_ok=True)
        return put_version(BUNDLE, root, number, Fault.NONE)

    def _bundle(self, *words: str) -> None:
        self._machine.do(sys.executable, "-m", "edge_runtime", "bundle", *words, env=_ours(self.ca))


class EdgeBox:
    """The daemon on its machine, whose name is the device's, with the section ``mqtt`` of docs/operations.md."""

    def __init__(self, machine: Machine, hub: Hub, office: Office) -> None:
        """Start it and wait until it answers frames."""
        self._machine = machine
        self._file, folder = machine.folder / "box.yaml", machine.folder
        for name in filter(None, ROLES):
            (folder / f"{name}.pub").write_bytes(office.public_key(name))
        (folder / "ca.pem").write_bytes(hub.ca.read_bytes())
        root = folder / "state" / "bundles" / NAME
        root.mkdir(parents=True)
        put_version(BUNDLE, root, 1, Fault.NONE)
        config = yaml.safe_load(block("operations.md", "EDGE_MQTT_PASSWORD"))
        config |= {
            "device": DEVICE,
            "state_dir": str(folder / "state"),
            "models": {"parts": {"bundle": NAME, "version": "latest", "rollout": _ROLLOUT, "threads": 1}},
            "cameras": {"belt": {"path": "demo:conveyor", "model": "parts", "fps": 10}},
            "recalibration": {
                "on_drift": False,
                "commission": {"frames": 64},
                "reference": {"frames": 48},
            },
            "bundles": {"install_from": [f"oci://{REGISTRY_HOST}/acme/"], "install_chunks": True},
            "drift": {"window_frames": 16, "sample_every_s": 0.1},
            "commands": {
                "keys": {name: {"file": f"{name}.pub", "role": role} for name, role in ROLES.items() if role},
                "groups": ["line-3"],
            },
        }
        self._file.write_text(yaml.safe_dump(config))
        environment = {"EDGE_MQTT_PASSWORD": hub.password(config["mqtt"]["user"]), **_ours(hub.ca)}
        machine.start(sys.executable, "-m", "edge_runtime", "run", str(self._file), env=environment)
        self.wait(lambda now: now["broker"]["connected"] and now["models"]["parts"]["batches"] > 0)

    def status(self) -> dict[str, Any]:
        """What the box itself says, without the broker; empty before it listens."""
        done = self._machine.run("curl", "-s", "http://127.0.0.1:8080/status")
        found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return found

    def changes(self) -> int:
        """How many commands were carried out that change something, by the box's account of who did what."""
        path = self._machine.folder / "state" / "commands.log"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return sum(json.loads(line).get("outcome") == "ok" for line in lines)

    def wait(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The first status that is so.

        Raises:
            Unusable: there was none in time.
        """
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            if (now := self.status()) and now["models"] and condition(now):
                return now
            time.sleep(0.2)
        log = self._machine.log_of(sys.executable).read_text(errors="replace")
        raise Unusable(f"the box did not come to what was waited for; its log ends: {log[-3000:]}")


def _ours(ca: Path) -> dict[str, str]:
    """For programs of ours: their source, and the authority that signed the registry's certificate."""
    return {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "REQUESTS_CA_BUNDLE": str(ca),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
