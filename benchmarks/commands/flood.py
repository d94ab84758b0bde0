"""Bad commands by the thousand, and what they cost: ``python -m benchmarks run commands-flood``.

A real daemon answers a camera at full speed and obeys signed commands. An attacker who may publish sends forged,
replayed, expired, misdirected, nested, oversized and wrong-role requests: first all of them as fast as the broker takes
them, then at a steady rate. Meanwhile an operator sends a good one every second. Counted: what was obeyed, frames a
second without and with the flood, memory, and how long the good ones waited.
"""

import json
import random
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import orjson
import paho.mqtt.client as paho
from joserfc.jwk import OKPKey
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.performance.bare_runs import BUNDLE, pictures_in
from benchmarks.performance.peers.mqtt_load import broker
from edge_runtime.cli.bench.bare import MODEL
from edge_runtime.cli.bench.daemon import RunningDaemon, run_daemon
from edge_runtime.messaging.commands.command_keys import sign

DEVICE, ABSENT = "bench", "another"
LOOK_S = 2.0
WAIT_S = 30.0
LARGE_BYTES = (70_000, 1_000_000, 20_000_000)


class Attacker:
    """Makes bad requests; knows the operator's public key and a viewer's private one, and has heard a good command."""

    def __init__(self, viewer: OKPKey, heard: bytes, seed: int) -> None:
        self._viewer, self._heard = viewer, heard
        self._own, self._random = OKPKey.generate_key("Ed25519"), random.Random(seed)

    def requests(self, count: int) -> Iterator[tuple[str, bytes]]:
        """Topics' verbs and payloads, of every kind in turn."""
        kinds = (self._forged, self._wrong_key, self._wrong_role, self._replayed, self._expired, self._elsewhere,
                 self._other_verb, self._nested, self._unsigned, self._garbage)  # fmt: skip
        for number in range(count):
            yield "rollback", kinds[number % len(kinds)](number)

    def large(self) -> Iterator[tuple[str, bytes]]:
        """Some that are far too long."""
        for size in LARGE_BYTES:
            yield "rollback", b"A" * size
            yield "status", b"[" * size

    def _claims(self, number: int, **changes: Any) -> bytes:
        content = {"aud": DEVICE, "exp": time.time() + 60, "jti": f"evil-{number}", "verb": "rollback"}
        return json.dumps({**content, **changes}).encode()

    def _forged(self, number: int) -> bytes:
        _, content, signature = sign(self._claims(number), self._own).split(b".")
        return b".".join((self._heard.split(b".")[0], content, signature))

    def _wrong_key(self, number: int) -> bytes:
        return sign(self._claims(number), self._own)

    def _wrong_role(self, number: int) -> bytes:
        return sign(self._claims(number), self._viewer)

    def _replayed(self, _number: int) -> bytes:
        return self._heard

    def _expired(self, number: int) -> bytes:
        return sign(self._claims(number, exp=time.time() - 5), self._viewer)

    def _elsewhere(self, number: int) -> bytes:
        return sign(self._claims(number, aud="another"), self._viewer)

    def _other_verb(self, number: int) -> bytes:
        return sign(self._claims(number, verb="status"), self._viewer)

    def _nested(self, number: int) -> bytes:
        return sign(
            self._claims(number, arguments={"model": "x"}).replace(b'"x"', b"[" * 900 + b"]" * 900),
            self._viewer,
        )

    def _unsigned(self, number: int) -> bytes:
        return json.dumps({"transaction": f"evil-{number}", "device": DEVICE}).encode()

    def _garbage(self, _number: int) -> bytes:
        return self._random.randbytes(200)


class Operator:
    """Sends a good command every second, and notes how long its answer took."""

    def __init__(self, port: int, key: OKPKey) -> None:
        self._key, self._number, self._sent_s = key, 0, dict[str, float]()
        self.waited_s: list[float] = []
        self.sent, self.refused = 0, 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._on_answer
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"edge/{DEVICE}/response/operator", qos=1)
        self._client.loop_start()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def command(self) -> bytes:
        """Send one now; gives the request."""
        self._number += 1
        name = f"good-{self._number}"
        claims = {"aud": DEVICE, "exp": time.time() + 60, "jti": name, "verb": "baselines"}
        request = sign(json.dumps(claims).encode(), self._key)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = f"edge/{DEVICE}/response/operator"
        self._sent_s[name] = time.monotonic()
        self.sent += 1
        self._client.publish(f"edge/{DEVICE}/request/baselines", request, qos=1, properties=properties)
        return request

    def start(self) -> None:
        """Begin with one a second."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the answer to the last one."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        deadline_s = time.monotonic() + WAIT_S
        while self._sent_s and time.monotonic() < deadline_s:
            time.sleep(0.05)
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self) -> None:
        while not self._stopping.wait(1.0):
            self.command()

    def _on_answer(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        answer = orjson.loads(message.payload)
        sent_s = self._sent_s.pop(answer.get("transaction"), None)
        if sent_s is not None:
            self.waited_s.append(time.monotonic() - sent_s)
            self.refused += answer["status"] != "ok"


def _publish(device: str, port: int, requests: Sequence[tuple[str, bytes]], rate: float | None) -> float:
    """Send them all to a device, at so many a second; gives the seconds that took."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.max_inflight_messages_set(100)
    client.connect("127.0.0.1", port)
    client.loop_start()
    began_s = time.monotonic()
    for number, (verb, payload) in enumerate(requests):
        if rate is not None:
            time.sleep(max(0.0, began_s + number / rate - time.monotonic()))
        sent = client.publish(f"edge/{device}/request/{verb}", payload, qos=1)
    sent.wait_for_publish(WAIT_S)
    took_s = time.monotonic() - began_s
    client.disconnect()
    client.loop_stop()
    return took_s


def _obeyed(folder: Path) -> int:
    log = folder / "state" / "commands.log"
    return len(log.read_bytes().splitlines()) if log.exists() else 0


def _flood(
    running: RunningDaemon, port: int, requests: Sequence[tuple[str, bytes]], rate: float | None, key: OKPKey
) -> dict[str, float]:
    """Flood this device and, before and after, another one: sender and broker take processor time as well."""
    before, memory_mib, _ = _during_flood(running, port, ABSENT, requests, rate)
    operator = Operator(port, key)
    operator.start()
    during, most_mib, took_s = _during_flood(running, port, DEVICE, requests, rate)
    operator.stop()
    after, memory_after_mib, _ = _during_flood(running, port, ABSENT, requests, rate)
    without = (before + after) / 2
    return {
        "requests": len(requests),
        "a_second": len(requests) / took_s,
        "frames_per_s_without": without,
        "frames_per_s_with": during,
        "lost_share": 1 - during / without,
        "memory_growth_mib": memory_after_mib - memory_mib,
        "most_memory_growth_mib": most_mib - memory_mib,
        "good_sent": operator.sent,
        "good_unanswered": operator.sent - len(operator.waited_s),
        "good_refused": operator.refused,
        "good_waited_most_s": max(operator.waited_s, default=float("nan")),
    }


def _during_flood(
    running: RunningDaemon, port: int, device: str, requests: Sequence[tuple[str, bytes]], rate: float | None
) -> tuple[float, float, float]:
    """Frames a second, the most memory, and how long the flood took."""
    sender = threading.Thread(target=_publish, args=(device, port, requests, rate))
    began_s, looks = time.monotonic(), list[dict[str, Any]]()
    sender.start()
    while sender.is_alive() or not looks:
        looks.append(running.look(LOOK_S))
    frames_per_s = statistics.mean(one["frames_per_s"] for one in looks)
    return frames_per_s, max(one["pss_mib"] for one in looks), time.monotonic() - began_s


@click.command()
@click.option("--count", type=click.IntRange(10), default=10_000, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(1), default=1000.0, show_default=True, help="Requests a second."
)
@click.option("--seconds", type=click.FloatRange(1), default=30.0, show_default=True, help="Of that rate.")
@click.option("--fps", type=click.FloatRange(1), help="Of the camera; without: as fast as it can.")
def main(count: int, rate: float, seconds: float, fps: float | None) -> None:
    """Send bad commands to a running daemon and print what they cost, as JSON."""
    with tempfile.TemporaryDirectory(prefix="flood-") as name, broker(Path(name)) as port:
        folder = Path(name)
        keys = {who: OKPKey.generate_key("Ed25519") for who in ("viewer", "operator")}
        for who, key in keys.items():
            (folder / f"{who}.pub").write_bytes(key.as_pem(private=False))
        pictures = pictures_in(folder / "pictures")
        camera = {"path": str(pictures[0].parent), "model": MODEL, "loop": True, "fps": fps}
        with socket.create_server(("127.0.0.1", 0)) as server:
            http_port = int(server.getsockname()[1])
        config = {
            "device": DEVICE,
            "models": {MODEL: {"bundle": str(BUNDLE.resolve()), "max_age_ms": None, "threads": 1}},
            "cameras": {"camera": camera},
            "mqtt": {"host": "127.0.0.1", "port": port, "commands": True},
            "commands": {"keys": {who: {"file": str(folder / f"{who}.pub"), "role": who} for who in keys}},
            "http": {"port": http_port},
            "log": {"level": "error"},
        }
        with run_daemon(config, folder / "daemon") as running:
            operator = Operator(port, keys["operator"])
            heard = operator.command()
            operator.stop()
            attacker = Attacker(keys["viewer"], heard, seed=0)
            everything = [*attacker.requests(count), *attacker.large()]
            found: dict[str, Any] = {
                "all at once": _flood(running, port, everything, None, keys["operator"]),
                "at a rate": _flood(
                    running, port, list(attacker.requests(round(rate * seconds))), rate, keys["operator"]
                ),
            }
            found["changes_obeyed"] = _obeyed(folder / "daemon")
    click.echo(json.dumps(found, indent=2))
    raise SystemExit(1 if found["changes_obeyed"] else 0)
