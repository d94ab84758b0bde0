"""A sensor and a subscriber of a real mosquitto: windows at a steady pace, and how long each result takes."""

import multiprocessing
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Event

TICK_S = 0.001
SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """What came of the windows of one run."""

    sent: int
    results: int
    per_s: float
    """Results a second while windows were sent."""
    call_ms: tuple[float, ...]
    """From the publish of a window to its result, of each that was answered."""

    def quantile_ms(self, share: float) -> float:
        """Of the time from window to result; infinite without one."""
        return float(np.quantile(self.call_ms, share)) if self.call_ms else float("inf")


def _make_client() -> paho.Client:
    """A client whose packets leave at once: else the kernel holds some back for 20 ms, which no contender takes."""

    def send_at_once(_client: paho.Client, _data: object, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.on_socket_open = send_at_once
    return client


class Sensor:
    """Publishes windows of one stream at QoS 0, as sensors do; another process hears its results.

    In one process both would wait for each other's interpreter lock, for 15 ms and more.
    """

    def __init__(self, port: int, topic: str) -> None:
        self._topic = topic
        context = multiprocessing.get_context("spawn")
        self.first = context.Event()
        """Set once there was a result."""
        self._ours, theirs = context.Pipe()
        self._listener = context.Process(target=_listen, args=(port, topic, theirs, self.first), daemon=True)
        self._listener.start()
        self._ours.recv()  # it listens
        self._client = _make_client()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(self, payload: bytes) -> None:
        """One window."""
        self._client.publish(f"{self._topic}/signal/pump", payload)

    def play(self, payloads: Sequence[bytes], per_s: float, seconds: float) -> Load:
        """Windows at this pace for so long; results that come within ``SETTLE_S`` after the last one count."""
        time.sleep(SETTLE_S / 2)
        first_seq = max((seq for seq, _ in self._take_heard()), default=-1) + 1
        sent_at_s: list[float] = []
        began_s = time.perf_counter()
        while (past_s := time.perf_counter() - began_s) < seconds:
            for _ in range(int(past_s * per_s) - len(sent_at_s)):
                sent_at_s.append(time.perf_counter())
                self.send(payloads[len(sent_at_s) % len(payloads)])
            time.sleep(TICK_S)
        ended_s = time.perf_counter()
        time.sleep(SETTLE_S)
        heard = [(seq - first_seq, at_s) for seq, at_s in self._take_heard()]
        calls = tuple(
            1000 * (at_s - sent_at_s[index]) for index, at_s in heard if 0 <= index < len(sent_at_s)
        )
        in_time = sum(at_s <= ended_s for _, at_s in heard)
        return Load(len(sent_at_s), len(heard), in_time / (ended_s - began_s), calls)

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()
        self._listener.terminate()
        self._listener.join()

    def _take_heard(self) -> list[tuple[int, float]]:
        """Number and time of each result since the last call."""
        self._ours.send(None)
        return list(self._ours.recv())


def _listen(port: int, topic: str, asked: "Connection", first: "Event") -> None:
    """Note the results, and give them when they are asked for."""
    heard: list[tuple[int, float]] = []

    def hear(_client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        heard.append((int(orjson.loads(message.payload)["seq"]), time.perf_counter()))
        if not first.is_set():
            first.set()

    client = _make_client()
    client.on_message = hear
    client.on_subscribe = lambda *_: asked.send(None)
    client.connect("127.0.0.1", port)
    client.subscribe(f"{topic}/result/pump", qos=1)
    client.loop_start()
    while True:
        asked.recv()
        taken = heard[:]
        del heard[: len(taken)]
        asked.send(taken)
