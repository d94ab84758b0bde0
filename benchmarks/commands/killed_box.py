"""A daemon that is killed and started again, and a caller who signs and hears all its answers and events."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import paho.mqtt.client as paho
from joserfc.jwk import OKPKey
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.performance.bare_runs import BUNDLE
from edge_runtime.cli.bench.daemon import find_installed_environment
from edge_runtime.messaging.commands.command_keys import sign

DEVICE, MODEL = "bench", "parts"
WAIT_S = 60.0
TEXT = """\
device: {device}
state_dir: {state}
http: {{enabled: false}}
models: {{{model}: {{bundle: "{bundle}", threads: 1}}}}
cameras: {{belt: {{path: demo:conveyor, model: {model}, fps: 10}}}}
mqtt: {{host: 127.0.0.1, port: {port}, commands: true}}
commands: {{keys: {{olga: {{file: {key}, role: owner}}}}, unsigned: viewer}}
recalibration: {{on_drift: false, commission: {{frames: 16}}, min_frames: 16, reference: {{frames: 16}}}}
drift: {{sample_every_s: 0.05}}
"""


class Box:
    """A daemon that can be killed and started again, and a caller who signs."""

    def __init__(self, folder: Path, port: int) -> None:
        self.file, self.state = folder / "box.yaml", folder / "state"
        self._log, self._key = folder / "log.txt", OKPKey.generate_key("Ed25519")
        key = folder / "olga.pub"
        key.write_bytes(self._key.as_pem(private=False))
        given = {"device": DEVICE, "state": self.state, "model": MODEL, "bundle": BUNDLE.resolve()}
        self.file.write_text(TEXT.format(**given, port=port, key=key))
        self._heard, self._changed = list[tuple[str, dict[str, Any]]](), threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(f"edge/{DEVICE}/response/#", 1), (f"edge/{DEVICE}/event", 1)])
        self._client.loop_start()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers commands.

        Raises:
            TimeoutError: it does not.
        """
        command = [sys.executable, "-m", "edge_runtime", "run", str(self.file)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=find_installed_environment()
            )
        number = 0
        while not self.hears(lambda topic, _: topic.endswith("/status"), 0.2, since=len(self._heard)):
            number += 1
            if number * 0.2 > WAIT_S or self._process.poll() is not None:
                raise TimeoutError(self._log.read_text()[-3000:])
            self._client.publish(f"edge/{DEVICE}/request/status", b"{}", qos=1)

    def kill(self) -> None:
        """-9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(WAIT_S)

    def close(self) -> None:
        """End both."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._client.disconnect()
        self._client.loop_stop()

    def make(self, verb: str, transaction: str, arguments: dict[str, Any]) -> bytes:
        """A signed request."""
        claims = {"aud": DEVICE, "exp": time.time() + 900, "jti": transaction, "verb": verb}
        return sign(orjson.dumps({**claims, "arguments": arguments}), self._key)

    def send(self, verb: str, request: bytes) -> None:
        """Hand it to the broker, which has it when this returns."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = f"edge/{DEVICE}/response/olga"
        topic = f"edge/{DEVICE}/request/{verb}"
        self._client.publish(topic, request, qos=1, properties=properties).wait_for_publish(WAIT_S)

    def answers(self, transaction: str) -> list[dict[str, Any]]:
        """All that came for a transaction until now; how far it is is no answer."""
        with self._changed:
            found = [message for _, message in self._heard if message.get("transaction") == transaction]
        return [message for message in found if message["status"] != "progress"]

    def events(self, kind: str) -> int:
        """How many of these came."""
        with self._changed:
            return sum(message.get("event") == kind for _, message in self._heard)

    def hears(
        self, wanted: Callable[[str, dict[str, Any]], bool], timeout_s: float = WAIT_S, since: int = 0
    ) -> bool:
        """Whether such a message came, or comes in time."""
        with self._changed:
            return self._changed.wait_for(lambda: any(wanted(*one) for one in self._heard[since:]), timeout_s)

    def _hear(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self._heard.append((message.topic, orjson.loads(message.payload)))
            self._changed.notify_all()


def wait_until(condition: Callable[[], bool], timeout_s: float = WAIT_S) -> bool:
    """Whether it holds in time; looked at often."""
    end_s = time.monotonic() + timeout_s
    while not (holds := condition()) and time.monotonic() < end_s:
        time.sleep(0.01)
    return holds
