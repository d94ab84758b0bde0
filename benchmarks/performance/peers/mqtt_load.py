"""The daemon with pictures and results through a real mosquitto: raw JPEG bytes in, as for the peers.

A stream keeps several pictures under way (``WINDOW``), because a camera does not wait for answers, or one, as the load
on the peers does. Broker and client run on the same two cores, as the peers' client does.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.performance import process_tree
from edge_runtime.cli.bench.daemon import find_installed_environment

WINDOW = 4
LOST_AFTER_S = 2.0
"""A picture without a result for so long makes room for the next one."""
START_TIMEOUT_S, SETTLE_S = 60.0, 0.3
TOPIC = "edge/bench"


class BrokerMissing(Exception):
    """There is no mosquitto here, or it does not start; the text says how to install it."""


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """A mosquitto on a free loopback port, which it gives.

    Raises:
        BrokerMissing: not installed, or it does not start.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    program = shutil.which("mosquitto", path=path)
    if program is None:
        raise BrokerMissing("mosquitto was not found; install the Debian package mosquitto")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    user = ["user root"] if os.getuid() == 0 else []
    lines = [f"listener {port} 127.0.0.1", "set_tcp_nodelay true", "allow_anonymous true", *user, ""]
    (folder / "mosquitto.conf").write_text("\n".join(lines))
    command = [program, "-c", str(folder / "mosquitto.conf")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_port(process, port)
        yield port
    finally:
        if process.poll() is None:
            process_tree.end(process.pid)
        process.wait(10)


def _wait_for_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    end_s = time.perf_counter() + START_TIMEOUT_S
    while process.poll() is None and time.perf_counter() < end_s:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise BrokerMissing(f"mosquitto does not listen on port {port}")


class PictureClient:
    """Publishes pictures and counts results."""

    def __init__(self, port: int, streams: int, window: int) -> None:
        self.results = [0] * streams
        self.call_ms: list[float] = []
        self.first = threading.Event()
        self._sent_at_s: list[list[float]] = [[] for _ in range(streams)]
        self._room = [threading.Semaphore(window) for _ in range(streams)]
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._on_result
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"{TOPIC}/result/+")
        self._client.loop_start()

    def send(self, stream: int, picture: bytes) -> None:
        """One picture, as soon as fewer than the window of its stream are under way."""
        self._room[stream].acquire(timeout=LOST_AFTER_S)
        self._sent_at_s[stream].append(time.perf_counter())
        self._client.publish(f"{TOPIC}/picture/camera-{stream}", picture)

    def knock(self, picture: bytes) -> None:
        """One picture, to see whether the daemon answers; not counted as under way."""
        self._client.publish(f"{TOPIC}/picture/camera-0", picture)

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_result(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        stream = int(message.topic.rpartition("-")[2])
        self.results[stream] += 1
        if self._sent_at_s[stream]:  # else of a knock: it has no place under way to give back
            self.call_ms.append(1000 * (time.perf_counter() - self._sent_at_s[stream].pop(0)))
            self._room[stream].release()
        self.first.set()


def measure(
    config: dict[str, Any],
    pictures: Sequence[bytes],
    streams: int,
    seconds: float,
    folder: Path,
    window: int = WINDOW,
) -> dict[str, Any]:
    """Start broker and daemon, send pictures for so long, end both.

    Args:
        config: The daemon's configuration without cameras and broker; its model is ``bench``.
        pictures: JPEGs.
        streams: Cameras, each with path ``mqtt``.
        seconds: How long.
        folder: For the daemon's state; empty.
        window: Pictures of a stream under way.

    Raises:
        BrokerMissing: no mosquitto.
        TimeoutError: no result came.
    """
    with broker(folder) as port:
        client = PictureClient(port, streams, window)
        cameras = {f"camera-{n}": {"path": "mqtt", "model": "bench"} for n in range(streams)}
        whole = {**config, "mqtt": {"host": "127.0.0.1", "port": port}, "cameras": cameras}
        (folder / "box.yaml").write_text(json.dumps({**whole, "state_dir": str(folder / "state")}))
        began_s = time.perf_counter()
        with (folder / "log.txt").open("wb") as log:
            command = [sys.executable, "-m", "edge_runtime", "run", str(folder / "box.yaml")]
            process = subprocess.Popen(command, stdout=log, stderr=log, env=find_installed_environment())
        try:
            _wait_for_first(client, pictures[0], folder / "log.txt")
            first_result_s = time.perf_counter() - began_s
            return {
                **_load(client, process.pid, pictures, streams, seconds),
                "first_result_s": first_result_s,
            }
        finally:
            client.close()
            process_tree.end(process.pid)
            process.wait(10)


def _wait_for_first(client: PictureClient, picture: bytes, log: Path) -> None:
    """Pictures that come before the daemon listens are lost, so they are sent again."""
    end_s = time.perf_counter() + START_TIMEOUT_S
    while not client.first.wait(0.01):
        if time.perf_counter() > end_s:
            raise TimeoutError(f"no result over MQTT; the daemon's log ends: {log.read_text()[-500:]}")
        client.knock(picture)
    answered = -1
    while answered != sum(client.results):  # until every knock has its answer
        answered = sum(client.results)
        time.sleep(SETTLE_S)


def _load(
    client: PictureClient, pid: int, pictures: Sequence[bytes], streams: int, seconds: float
) -> dict[str, Any]:
    is_over = threading.Event()

    def play(stream: int) -> None:
        number = 0
        while not is_over.is_set():
            client.send(stream, pictures[number % len(pictures)])
            number += 1

    threads = [threading.Thread(target=play, args=(stream,)) for stream in range(streams)]
    for thread in threads:
        thread.start()
    is_over.wait(1.0)
    client.call_ms.clear()
    before, before_s, began_s = sum(client.results), process_tree.cpu_s(pid), time.perf_counter()
    is_over.wait(seconds)
    frames, took_s = sum(client.results) - before, time.perf_counter() - began_s
    used_s, pss_mib, call_ms = (
        process_tree.cpu_s(pid) - before_s,
        process_tree.pss_mib(pid),
        list(client.call_ms),
    )
    is_over.set()
    for thread in threads:
        thread.join()
    return {
        "frames_per_s": frames / took_s,
        "call_ms": call_ms,
        "cpu_ms_per_frame": 1000 * used_s / max(1, frames),
        "pss_mib": pss_mib,
    }
