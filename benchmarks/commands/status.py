"""What the command ``status`` costs: ``python -m benchmarks run commands-status``.

A real daemon whose cameras are watched folders: each has played its pictures and gives nothing more, so that what the
processor does is done for the requests. They come one after the other over a real broker, as many a second as are
carried out and not answered with the answer of another.
"""

import json
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import orjson
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.performance.bare_runs import BUNDLE, pictures_in
from benchmarks.performance.peers.mqtt_load import broker
from edge_runtime.cli.bench.bare import MODEL
from edge_runtime.cli.bench.daemon import run_daemon

DEVICE = "bench"
EVERY_S = 0.2
"""The box carries out five a second."""
WAIT_S = 30.0


class Asker:
    """Sends requests for the status, one at a time."""

    def __init__(self, port: int) -> None:
        self._came, self._answer = threading.Event(), b""
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"edge/{DEVICE}/response/status", qos=1)
        self._client.loop_start()

    def ask(self) -> tuple[float, bytes]:
        """Milliseconds from the request to the answer, and the answer.

        Raises:
            TimeoutError: there is none.
        """
        self._came.clear()
        began_s = time.perf_counter()
        self._client.publish(f"edge/{DEVICE}/request/status", b"{}", qos=1)
        if not self._came.wait(WAIT_S):
            raise TimeoutError(f"no answer within {WAIT_S:g} s")
        return 1000 * (time.perf_counter() - began_s), self._answer

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _hear(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        self._answer = bytes(message.payload)
        self._came.set()


def measure(cameras: int, count: int, folder: Path, port: int) -> dict[str, Any]:
    """The figures of so many requests to a box with so many cameras."""
    config = _configure(cameras, folder, port)
    with run_daemon(config, folder / "daemon") as running:
        asker = Asker(port)
        _wait_for_silence(asker, len(list((folder / "cameras").rglob("*.jpg"))))
        idle_share = running.idle_share(count * EVERY_S / 4)
        before_s, began_s = running.cpu_s(), time.perf_counter()
        asked = [_ask_in_turn(asker, began_s, number) for number in range(count)]
        took_s, used_s = time.perf_counter() - began_s, running.cpu_s() - before_s
        asker.close()
    times_ms = sorted(one for one, _ in asked)
    return {
        "requests": count,
        "median_ms": statistics.median(times_ms),
        "p99_ms": times_ms[min(count - 1, round(0.99 * count))],
        "cpu_ms_per_status": 1000 * (used_s - idle_share * took_s) / count,
        "idle_share_of_a_core": idle_share,
        "answer_bytes": max(len(answer) for _, answer in asked),
    }


def _configure(cameras: int, folder: Path, port: int) -> dict[str, Any]:
    pictures = pictures_in(folder / "pictures")
    paths = {f"camera-{number}": folder / "cameras" / str(number) for number in range(cameras)}
    for path in paths.values():
        path.mkdir(parents=True)
        for picture in pictures:
            os.link(picture, path / picture.name)
    with socket.create_server(("127.0.0.1", 0)) as server:
        http_port = int(server.getsockname()[1])
    return {
        "device": DEVICE,
        "models": {MODEL: {"bundle": str(BUNDLE.resolve()), "threads": 1}},
        "cameras": {name: {"path": str(path), "model": MODEL, "watch": True} for name, path in paths.items()},
        "mqtt": {"host": "127.0.0.1", "port": port, "commands": True},
        "http": {"port": http_port},
        "log": {"level": "error"},
    }


def _wait_for_silence(asker: Asker, pictures: int) -> None:
    """Until every picture is answered."""
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        streams = orjson.loads(asker.ask()[1])["data"]["models"][MODEL]["streams"]
        if sum(one["results"] for one in streams.values()) >= pictures:
            return
        time.sleep(EVERY_S)
    raise TimeoutError(f"not every picture was answered: {streams}")


def _ask_in_turn(asker: Asker, began_s: float, number: int) -> tuple[float, bytes]:
    time.sleep(max(0.0, began_s + number * EVERY_S - time.perf_counter()))
    return asker.ask()


@click.command()
@click.option("--cameras", multiple=True, type=click.IntRange(1, 64), default=(1, 4, 16), show_default=True)
@click.option("--count", type=click.IntRange(10), default=200, show_default=True)
def main(cameras: Sequence[int], count: int) -> None:
    """Ask a running daemon for its status and print what that costs, as JSON."""
    found = {}
    for number in cameras:
        with tempfile.TemporaryDirectory(prefix="status-") as name, broker(Path(name)) as port:
            found[f"{number} cameras"] = measure(number, count, Path(name), port)
    click.echo(json.dumps(found, indent=2))
