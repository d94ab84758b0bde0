"""H.264 cameras at 5 frames/s on the daemon and on what their user may write instead: ``benchmarks run camera-pipe``.

A script with ffmpeg pipes, and one with Roboflow's ``inference`` (``--inference-python``; the Makefile installs it).
All play the same 1080p25 H.264 streams over HTTP, run the same model, and publish to the same mosquitto. Processor time
and memory are of the whole tree of processes; broker, cameras and subscriber are outside of it. Needs ``ffmpeg`` and
mosquitto.
"""

import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.performance import process_tree
from benchmarks.performance.bare_runs import BUNDLE, Report
from benchmarks.performance.peers.http_load import free_port, started
from benchmarks.performance.peers.mqtt_load import BrokerMissing, broker
from benchmarks.performance.pipe.network_camera import network_camera
from benchmarks.performance.video_clip import write_clip
from edge_runtime.cli.bench.daemon import find_installed_environment

FPS, CAMERAS = 5.0, (1, 4)
CLIP_S = 8.0
SETTLE_S, START_TIMEOUT_S = 2.0, 60.0
DAEMON, SCRIPT, INFERENCE = "daemon", "ffmpeg pipe, ONNX Runtime, paho", "Roboflow inference"
DEVICE = "bench"
TOPIC = f"edge/{DEVICE}/result"


class ResultCounter:
    """Counts the results of each camera that come to the broker."""

    def __init__(self, port: int) -> None:
        self._counts: dict[str, int] = {}
        self._changed = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"{TOPIC}/+", qos=1)
        self._client.loop_start()

    def total(self) -> int:
        """Of all cameras."""
        with self._changed:
            return sum(self._counts.values())

    def wait_for(self, cameras: int) -> bool:
        """Whether so many cameras gave a result in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._counts) >= cameras, START_TIMEOUT_S)

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self._counts[message.topic] = self._counts.get(message.topic, 0) + 1
            self._changed.notify()


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of running the cameras."""

    name: str
    python: Path
    """Its interpreter."""
    module: str

    def write_order(self, urls: Sequence[str], port: int, folder: Path) -> list[str]:
        """Its configuration in the folder, and the command that starts it."""
        if self.name == DAEMON:
            (folder / "box.yaml").write_text(json.dumps(_config(urls, port, folder)))
            return [str(self.python), "-m", self.module, "run", str(folder / "box.yaml")]
        order = {
            "urls": list(urls),
            "fps": FPS,
            "bundle": str(BUNDLE.resolve()),
            "port": port,
            "topic": TOPIC,
        }
        (folder / "order.json").write_text(json.dumps(order))
        return [str(self.python), "-m", self.module, str(folder / "order.json")]


def measure(
    *, rounds: int, seconds: float, inference_python: Path | None, counts: Sequence[int] = CAMERAS
) -> Report:
    """All contenders in turns, with each number of cameras; ``unavailable`` says what is missing here.

    ``inference_python`` is an interpreter with Roboflow's package; None leaves it out.
    """
    if shutil.which("ffmpeg") is None:
        return {"unavailable": "ffmpeg was not found; install the Debian package ffmpeg"}
    contenders = [
        Contender(DAEMON, Path(sys.executable), "edge_runtime"),
        Contender(SCRIPT, Path(sys.executable), f"{__package__}.script"),
    ]
    if inference_python is not None:
        contenders.append(Contender(INFERENCE, inference_python, f"{__package__}.roboflow_script"))
    with tempfile.TemporaryDirectory(prefix="pipe-") as name:
        folder = Path(name)
        write_clip(folder / "clip.ts", CLIP_S)
        try:
            with broker(folder) as port, network_camera(folder / "clip.ts") as url:
                return {
                    "fps": FPS,
                    "rounds": [
                        {
                            str(count): {
                                one.name: _look(one, [url] * count, port, seconds, folder)
                                for one in contenders
                            }
                            for count in counts
                        }
                        for _ in range(rounds)
                    ],
                }
        except BrokerMissing as err:
            return {"unavailable": str(err)}


def _config(urls: Sequence[str], port: int, folder: Path) -> Report:
    return {
        "device": DEVICE,
        "state_dir": str(folder / "state"),
        "models": {"model": {"bundle": str(BUNDLE.resolve())}},
        "cameras": {f"camera-{n}": {"path": url, "model": "model", "fps": FPS} for n, url in enumerate(urls)},
        "mqtt": {"host": "127.0.0.1", "port": port},
        "http": {"port": free_port()},
        "log": {"level": "error"},
    }


def _look(one: Contender, urls: Sequence[str], port: int, seconds: float, folder: Path) -> dict[str, float]:
    """Start it, look at it for so long, end it."""
    counter = ResultCounter(port)
    with tempfile.TemporaryDirectory(prefix="contender-", dir=folder) as name:
        place = Path(name)
        command, began_s = one.write_order(urls, port, place), time.perf_counter()
        try:
            with started(command, _environment(), place / "log.txt") as process:
                if not counter.wait_for(len(urls)):
                    raise TimeoutError(f"no result over MQTT: {(place / 'log.txt').read_text()[-500:]}")
                first_result_s = time.perf_counter() - began_s
                time.sleep(SETTLE_S)
                return {"first_result_s": first_result_s, **_figures(process.pid, counter, seconds)}
        finally:
            counter.close()


def _environment() -> Mapping[str, str]:
    return find_installed_environment() | {"PYTHONPATH": str(Path(__file__).parents[3])}


def _figures(pid: int, counter: ResultCounter, seconds: float) -> dict[str, float]:
    results, before_s, began_s = counter.total(), process_tree.cpu_s(pid), time.perf_counter()
    time.sleep(seconds)
    took_s = time.perf_counter() - began_s
    return {
        "frames_per_s": (counter.total() - results) / took_s,
        "cores": (process_tree.cpu_s(pid) - before_s) / took_s,
        "pss_mib": process_tree.pss_mib(pid),
    }
