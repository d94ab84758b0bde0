"""From capture to a subscriber of a real mosquitto, one stream at 30 frames/s: ``benchmarks run arrival``.

What the daemon itself can time ends at its outbox; here a client of the broker compares the moment when a result
came with the ``captured_at`` in it. Broker, daemon and client run on the same box, so they share one clock;
``captured_at`` is cut to whole milliseconds, which makes the figures up to 1 ms too long.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.performance import process_tree
from benchmarks.performance.bare_runs import BUNDLE, Report, bare, pictures_in
from benchmarks.performance.daemon.quiet import daemon_config
from benchmarks.performance.peers.mqtt_load import BrokerMissing, broker
from edge_runtime.cli.bench.daemon import START_TIMEOUT_S, find_installed_environment

FPS = 30.0
SETTLE_S = 1.0


class Subscriber:
    """Notes how old each result is when it comes."""

    def __init__(self, port: int, device: str) -> None:
        self.first = threading.Event()
        self.seen: list[tuple[float, float]] = []
        """Milliseconds from capture to here, and to the outbox as the daemon says."""
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._on_result
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"edge/{device}/result/+", qos=1)
        self._client.loop_start()

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_result(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        self.seen.append(ages_ms(message.payload, time.time()))
        self.first.set()


def ages_ms(payload: bytes | bytearray, now_wall_s: float) -> tuple[float, float]:
    """Milliseconds from capture to ``now_wall_s`` and to the outbox, of a published result."""
    result = orjson.loads(payload)
    captured_wall_s = datetime.fromisoformat(result["captured_at"]).timestamp()
    return 1000 * (now_wall_s - captured_wall_s), float(result["timings_ms"]["total"])


def measure(*, rounds: int, seconds: float, bundle: Path = BUNDLE) -> Report:
    """p50 and p99 to the outbox and to the subscriber, with the bare engine's p50 at the same pace, in turns.

    ``unavailable`` says why there is no broker here.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="arrival-") as name:
        folder = Path(name)
        pictures = pictures_in(folder / "pictures", bundle)
        for number in range(rounds):
            calls_ms = bare(bundle, pictures, seconds, fps=FPS)["call_ms"]
            p50, p99 = np.percentile(calls_ms, (50, 99))
            place = folder / str(number)
            place.mkdir()
            try:
                seen = _arrivals(bundle, pictures, seconds, place)
            except BrokerMissing as err:
                return {"unavailable": str(err)}
            found.append({"bare_p50_ms": float(p50), "bare_p99_ms": float(p99), **summed(seen)})
    return {"fps": FPS, "rounds": found}


def summed(seen: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Percentiles of one round."""
    arrivals, outbox = zip(*seen, strict=True)
    return {
        f"{name}_p{p}_ms": float(np.percentile(values, p))
        for name, values in (("subscriber", arrivals), ("outbox", outbox))
        for p in (50, 99)
    } | {"results": float(len(seen))}


def _arrivals(
    bundle: Path, pictures: Sequence[Path], seconds: float, folder: Path
) -> list[tuple[float, float]]:
    with broker(folder) as port:
        config = daemon_config(bundle, {"path": str(pictures[0].parent), "loop": True, "fps": FPS})
        config |= {"mqtt": {"host": "127.0.0.1", "port": port}, "state_dir": str(folder / "state")}
        (folder / "box.yaml").write_text(json.dumps(config))
        subscriber = Subscriber(port, config["device"])
        with (folder / "log.txt").open("wb") as log:
            command = [sys.executable, "-m", "edge_runtime", "run", str(folder / "box.yaml")]
            process = subprocess.Popen(command, stdout=log, stderr=log, env=find_installed_environment())
        try:
            if not subscriber.first.wait(START_TIMEOUT_S):
                raise TimeoutError(f"no result over MQTT: {(folder / 'log.txt').read_text()[-500:]}")
            time.sleep(SETTLE_S)
            before = len(subscriber.seen)
            time.sleep(seconds)
            return subscriber.seen[before:]
        finally:
            subscriber.close()
            process_tree.end(process.pid)
            process.wait(10)
