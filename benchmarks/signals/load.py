"""A sensor and a subscriber of a real mosquitto: windows at a steady pace, and how long each result takes."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

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


class Sensor:
    """Publishes windows of one stream at QoS 0, as sensors do, and hears its results."""

    def __init__(self, port: int, topic: str) -> None:
        self._topic = topic
        self.first = threading.Event()
        self._heard: list[tuple[int, float]] = []
        self._listener, self._client = self._connect(port), self._connect(port)
        self._listener.on_message = self._hear
        self._listener.subscribe(f"{topic}/result/pump", qos=1)

    def knock(self, payload: bytes) -> None:
        """One window, to see whether somebody answers."""
        self._client.publish(f"{self._topic}/signal/pump", payload)

    def play(self, payloads: Sequence[bytes], per_s: float, seconds: float) -> Load:
        """Windows at this pace for so long; results that come within ``SETTLE_S`` after the last one count."""
        time.sleep(SETTLE_S / 2)
        first_seq = max((seq for seq, _ in self._heard), default=-1) + 1
        self._heard.clear()
        sent_at_s: list[float] = []
        began_s = time.perf_counter()
        while (past_s := time.perf_counter() - began_s) < seconds:
            for _ in range(int(past_s * per_s) - len(sent_at_s)):
                sent_at_s.append(time.perf_counter())
                self.knock(payloads[len(sent_at_s) % len(payloads)])
            time.sleep(TICK_S)
        in_time = len(self._heard)
        took_s = time.perf_counter() - began_s
        time.sleep(SETTLE_S)
        heard = [(seq - first_seq, at_s) for seq, at_s in self._heard]
        calls = tuple(
            1000 * (at_s - sent_at_s[index]) for index, at_s in heard if 0 <= index < len(sent_at_s)
        )
        return Load(len(sent_at_s), len(heard), in_time / took_s, calls)

    def close(self) -> None:
        """Leave the broker."""
        for client in (self._client, self._listener):
            client.disconnect()
            client.loop_stop()

    @staticmethod
    def _connect(port: int) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.connect("127.0.0.1", port)
        client.loop_start()
        return client

    def _hear(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        self._heard.append((int(orjson.loads(message.payload)["seq"]), time.perf_counter()))
        self.first.set()
