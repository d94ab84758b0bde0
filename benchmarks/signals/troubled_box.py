"""A daemon whose sensor is in trouble: its answers, refusals and readiness are compared with what they have to be."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.performance import process_tree
from benchmarks.performance.peers.mqtt_load import broker
from benchmarks.signals import net
from benchmarks.signals.payloads import TIMELESS
from benchmarks.signals.troubled_stream import TAIL, TROUBLES, WINDOWS, Stream, make_stream
from benchmarks.signals.window import LENGTH, RATE_HZ
from edge_runtime.cli.bench.daemon import find_installed_environment
from edge_runtime.cli.free_port import find_free_port
from edge_runtime.inference.specs import PayloadSpec

TOPIC = "edge/bench"
WAIT_S = 60.0
QUIET_S = 1.5
"""Without a further answer for so long nothing more comes."""
STALL_S = 2.0
MESSAGE_S = 0.004
SAME_SCORE = 0.002


@dataclass(slots=True)
class Row:
    """One format with one trouble."""

    name: str
    trouble: str
    cells: dict[str, object]
    faults: list[str] = field(default_factory=list)


class Box:
    """Daemon, sensor and subscriber."""

    def __init__(self, folder: Path, port: int, payload: dict[str, object]) -> None:
        self.bundle = net.make_bundle(folder / "bundles", PayloadSpec())
        self._log, self._http = folder / "log.txt", find_free_port("127.0.0.1", 18000)
        config = {
            "device": "bench", "state_dir": str(folder / "state"), "http": {"port": self._http},
            "mqtt": {"host": "127.0.0.1", "port": port},
            "models": {"shaking": {"bundle": str(self.bundle.parent), "threads": 1, "queue_frames": 256,
                                   "recalibrate": False}},
            "sensors": {"pump": {"path": "mqtt", "model": "shaking", "late_s": 0.5,
                                 "stall_timeout_s": STALL_S, "payload": payload}},
        }  # fmt: skip
        (folder / "box.yaml").write_text(json.dumps(config))
        self.clock_s = time.time()
        """Unix time of the sensor: each stream begins after the one before."""
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(f"{TOPIC}/result/pump", 1), (f"{TOPIC}/rejected/pump", 1)])
        self._client.loop_start()
        command = [sys.executable, "-m", "edge_runtime", "run", str(folder / "box.yaml")]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=find_installed_environment())

    @property
    def log(self) -> str:
        """Its whole log."""
        return self._log.read_text()

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; 0 while nothing listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http}{path}", timeout=10) as answer:
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as err:
            return err.code, err.read()
        except OSError:
            return 0, b""

    def rejected(self) -> Counter[str]:
        """Frames of the stream without a result so far, by reason, as the status says."""
        models = json.loads(self.get("/status")[1])["models"]
        return Counter(models["shaking"]["streams"].get("pump", {}).get("rejected", {}))

    def send(self, at_s: float, data: bytes) -> None:
        """One message with the sender's own time of its last sample."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        text = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds")
        properties.UserProperty = [("captured_at", text)]
        self._client.publish(f"{TOPIC}/signal/pump", data, properties=properties)
        time.sleep(MESSAGE_S)

    def begin_stream(self) -> float:
        """Unix time of the first sample of another stream."""
        self.clock_s += 2 * (WINDOWS + TAIL) * LENGTH / RATE_HZ
        return self.clock_s

    def play(self, stream: Stream) -> list[tuple[str, dict[str, Any]]]:
        """Send a stream; gives what was heard until nothing more comes."""
        self.heard.clear()
        for at_s, data in stream.messages:
            self.send(at_s, data)
        before = -1
        while before != len(self.heard):
            before = len(self.heard)
            time.sleep(QUIET_S)
        return list(self.heard)

    def until(self, condition: Callable[[], bool]) -> bool:
        """Whether it comes true in time."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s and self.process.poll() is None:
            if condition():
                return True
            time.sleep(0.1)
        return False

    def close(self) -> None:
        """End all."""
        self._client.disconnect()
        self._client.loop_stop()
        if self.process.poll() is None:
            process_tree.end(self.process.pid)
        self.process.wait(10)

    def _hear(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        self.heard.append((message.topic.split("/")[2], orjson.loads(message.payload)))


@contextmanager
def _open(name: str) -> Iterator[Box]:
    payload: dict[str, object] = {"format": name, **({} if name in TIMELESS else {"time": "t"})}
    with tempfile.TemporaryDirectory() as temporary, broker(Path(temporary)) as port:
        box = Box(Path(temporary), port, payload)
        try:
            yield box
        finally:
            box.close()


def try_format(name: str, seed: int) -> list[Row]:
    """All troubles of one format, and rubbish at last."""
    with _open(name) as box:
        listens = box.until(lambda: _is_answering(box, name, seed))
        rows = [_try(box, name, trouble, seed) for trouble in TROUBLES] if listens else []
        rows.append(_try_rubbish(box, name, seed))
        ended = ["Traceback in the log"] if "Traceback" in box.log else []
        ended += ["the daemon ended"] if box.process.poll() is not None else []
        rows[-1].faults += [f"{name}: {fault}: {box.log[-800:]}" for fault in ended]
        return rows


def _is_answering(box: Box, name: str, seed: int) -> bool:
    _send_clean(box, name, seed, windows=TAIL + 1)
    return any(kind == "result" for kind, _ in box.heard)


def _send_clean(box: Box, name: str, seed: int, windows: int) -> None:
    stream = make_stream(name, "none", box.begin_stream(), seed)
    per_window = len(stream.messages) // (WINDOWS + TAIL)
    for at_s, data in stream.messages[: windows * per_window]:
        box.send(at_s, data)


def _try(box: Box, name: str, trouble: str, seed: int) -> Row:
    before = box.rejected()
    stream = make_stream(name, trouble, box.begin_stream(), seed + 1)
    heard = box.play(stream)
    counted = box.rejected() - before
    results = [data for kind, data in heard if kind == "result"]
    expected = {number: stream.window(number) for number in range(WINDOWS)}
    wrong, answered = _compare(box.bundle, stream, results, expected)
    missing_windows = counted["missing_values"]
    unread = sum(counted.values()) - missing_windows
    usable = {number for number, window in expected.items() if window is not None}
    row = Row(
        name,
        trouble,
        {
            "windows that can be answered": len(usable),
            "answered": len(answered & set(range(WINDOWS))),
            "wrong": len(wrong),
            "messages that cannot be read": stream.refused,
            "refused, by reason": ", ".join(f"{reason} {count}" for reason, count in sorted(counted.items())) or "-",
        },
    )  # fmt: skip
    at = f"{name}, {trouble}"
    row.faults += [f"{at}: {fault}" for fault in wrong]
    if unread != stream.refused:
        row.faults.append(f"{at}: {unread} messages counted as refused; expected {stream.refused}")
    if usable - answered and name not in TIMELESS:
        row.faults.append(f"{at}: windows {sorted(usable - answered)} have no answer")
    return row


def _compare(
    bundle: Path, stream: Stream, results: list[dict[str, Any]], expected: dict[int, Any]
) -> tuple[list[str], set[int]]:
    """Wrong answers in words, and the numbers of the windows that were answered."""
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"), providers=["CPUExecutionProvider"])
    wrong, answered = list[str](), set[int]()
    for result in results:
        ended_s = datetime.fromisoformat(result["captured_at"]).timestamp() - stream.began_at_s
        number = round((ended_s * RATE_HZ + 1) / LENGTH) - 1
        shift = round(ended_s * RATE_HZ + 1) - (number + 1) * LENGTH
        if number >= WINDOWS or number < 0:
            continue  # of the tail, or of the stream before
        window = expected[number] if shift == 0 else _shifted(stream, number, shift)
        if window is None:
            wrong.append(f"window {number} (shifted by {shift}) was answered, and too much of it is missing")
            continue
        answered.add(number)
        logits = session.run(None, {session.get_inputs()[0].name: window.T[None].copy()})[0][0]
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = result["top"][0]
        if abs(float(scores[best["index"]]) - best["score"]) > SAME_SCORE or best["index"] != scores.argmax():
            wrong.append(f"window {number} (shifted by {shift}): {best}, expected {scores.round(4).tolist()}")
    return wrong, answered


def _shifted(stream: Stream, number: int, shift: int) -> Any:
    """A window that begins elsewhere: after lost messages without times of their own."""
    if shift < 0:
        return None
    return Stream(stream.began_at_s, samples=stream.samples[shift:]).window(number)


def _try_rubbish(box: Box, name: str, seed: int) -> Row:
    """Rubbish alone: not ready; then samples: ready again."""
    rubbish = b"\xff\xfe\x00 no samples"
    began_s = time.monotonic()

    def is_unready() -> bool:
        box.send(time.time(), rubbish)
        return box.get("/readyz")[0] == 503

    def is_ready() -> bool:
        _send_clean(box, name, seed, windows=TAIL + 1)
        return box.get("/readyz")[0] == 200

    unready = box.until(is_unready)
    took_s = time.monotonic() - began_s
    ready = box.until(is_ready)
    cells = {"windows that can be answered": 0, "answered": "-", "wrong": 0,
             "messages that cannot be read": "all",
             "refused, by reason": f"not ready after {took_s:.1f} s" if unready else "ready"}  # fmt: skip
    row = Row(name, "rubbish", cells)
    if not unready:
        row.faults.append(f"{name}: the box says that it is ready while only rubbish comes")
    if not ready:
        row.faults.append(f"{name}: the box is not ready again: {box.get('/readyz')}")
    return row
