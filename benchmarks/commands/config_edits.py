"""Edits of a running daemon's configuration, by hand and by command, valid and broken, mixed at random.

``python -m benchmarks run config-edits --count 1000``. After each edit: is in force what should be, how long did that
take, does a refusal name key and line? Twelve secrets are planted, and all that leaves the daemon is searched
for them: answers, events, results, log lines, pages, and the state directory.
"""

import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import httpx
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.performance.peers.mqtt_load import broker
from edge_runtime.cli.remote import send_command
from edge_runtime.config import Address

WAIT_S = 60.0
LOOK_S = 0.02
PLANTED = [f"planted-secret-{number:02}" for number in range(12)]
TEXT = """\
# the box at the belt
device: bench
state_dir: {state}
http: {{port: {http}}}
log: {{level: debug}}     # much
models:
  parts: {{bundle: demo:efficientnet-lite0, threads: 1}}
cameras:
  # the only one that is open
  belt: {{path: demo:conveyor, model: parts, fps: 2}}
  yard: {{path: "rtsp://viewer:{{EDGE_A}}@127.0.0.1/1?token={{EDGE_B}}", model: parts, enabled: false}}
  gate: {{path: "rtsp://{{EDGE_C}}@127.0.0.1/1", model: parts, enabled: false}}
mqtt: {{host: 127.0.0.1, port: {port}, commands: true, user: box, password_file: {password}}}
commands: {{unsigned: owner}}
"""
_KEYED = re.compile(r"line \d+: [\w.-]+: .+; expected .+")


class Box:
    """A daemon with its broker; hears all that it publishes."""

    def __init__(self, folder: Path, port: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            http = int(server.getsockname()[1])
        self.file, self.log, self.state = folder / "box.yaml", folder / "log.txt", folder / "state"
        (folder / "password").write_text(PLANTED[3])
        self.file.write_text(
            TEXT.format(state=self.state, http=http, port=port, password=folder / "password")
        )
        self._url, self.published = f"http://127.0.0.1:{http}", list[bytes]()
        self._to = Address.model_validate({"device": "bench", "mqtt": {"host": "127.0.0.1", "port": port}})
        self._listener = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._listener.on_message = self._hear
        self._listener.connect("127.0.0.1", port)
        self._listener.subscribe("edge/#", 1)
        self._listener.loop_start()
        secrets = dict(
            zip(("EDGE_A", "EDGE_B", "EDGE_C", "EDGE_D", "EDGE_E"), PLANTED[:3] + PLANTED[4:6], strict=True)
        )
        with self.log.open("wb") as out:
            command = [sys.executable, "-m", "edge_runtime", "run", str(self.file)]
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **secrets})

    def _hear(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        if "/request/" not in message.topic:
            self.published.append(bytes(message.payload))

    def get(self, path: str) -> httpx.Response:
        """A page."""
        return httpx.get(self._url + path, timeout=WAIT_S)

    def status(self) -> dict[str, Any]:
        """Of now; empty before it listens."""
        try:
            return dict(self.get("/status").json())
        except httpx.TransportError:
            return {}

    def send(self, verb: str, **given: Any) -> dict[str, Any]:
        """The answer to a command; one that is refused as a flood is sent again."""
        while True:
            answer = send_command(self._to, verb, given, WAIT_S)
            if "too many commands" not in answer.get("error", ""):
                return answer
            time.sleep(0.2)

    def wait(self, condition: Callable[[dict[str, Any]], bool]) -> float:
        """Seconds until the status is so.

        Raises:
            TimeoutError: it never was.
        """
        began_s = time.monotonic()
        while time.monotonic() < began_s + WAIT_S:
            if (status := self.status()) and condition(status):
                return time.monotonic() - began_s
            time.sleep(LOOK_S)
        raise TimeoutError(self.log.read_text()[-3000:])

    def stop(self) -> int:
        """End it; the exit code."""
        self.process.terminate()
        self._listener.loop_stop()
        return self.process.wait(WAIT_S)


class Editor:
    """Makes edits, and notes what became of them."""

    def __init__(self, box: Box, seed: int) -> None:
        self._box, self._random = box, random.Random(seed)
        self._good = box.file.read_text()
        self._fps, self._problem = 2, ""
        self.applied_s = dict[str, list[float]](hand=[], command=[])
        self.refused, self.faults = dict.fromkeys(("hand", "command"), 0), list[str]()

    def edit(self) -> None:
        """One, of any kind."""
        kinds = (self._good_by_hand, self._bad_by_hand, self._good_by_command, self._bad_by_command)
        self._random.choices(kinds, (1, 1, 2, 2))[0]()
        status = self._box.status()
        kept = self._box.send("get-config")["data"]
        if kept["in_force"] != (kept["problem"] is None) or f"fps: {self._fps}" not in self._good:
            self.faults.append(f"in force: {kept}")
        if status["config_problem"] != kept["problem"]:
            self.faults.append("two problems")

    def _next(self) -> str:
        before, self._fps = self._fps, self._fps % 9 + 1
        return self._good.replace(f"fps: {before}", f"fps: {self._fps}")

    def _good_by_hand(self) -> None:
        number, self._good = self._number(), self._next()
        self._write(self._good)
        self.applied_s["hand"].append(
            self._box.wait(lambda now: now["config"]["number"] > number and now["config_problem"] is None)
        )

    def _bad_by_hand(self) -> None:
        number, broken = self._number(), self._break(self._good)
        self._write(broken)
        self._box.wait(
            lambda now: (now["config_problem"] or "") not in ("", self._problem)
        )  # each has its tag
        self._problem = self._box.status()["config_problem"]
        self._judge("hand", self._problem, number)

    def _good_by_command(self) -> None:
        began_s, number = time.monotonic(), self._number()
        wanted = self._next()
        if self._box.file.read_text() == self._good:
            answer = self._box.send("set-config", set={"cameras.belt.fps": self._fps})
        else:
            answer = self._box.send("set-config", text=wanted)
        self._good, self._problem = wanted, ""
        self.applied_s["command"].append(time.monotonic() - began_s)
        if answer["status"] != "ok" or self._number() != number + 1 or self._box.file.read_text() != wanted:
            self.faults.append(f"by command: {answer}")

    def _bad_by_command(self) -> None:
        number, before = self._number(), self._box.file.read_bytes()
        bad: dict[str, Any] = self._random.choice(
            [
                {"set": {"cameras.belt.fps": self._random.choice(["soon", -1, 0, 999, True, [1]])}},
                {"set": {"cameras.belt.fsp": 3}},
                {"set": {"models.parts.threads": "many"}},
                {"set": {"cameras.belt.model": "prats"}},
                {"set": {"log.level": "loud"}},
                {"set": {"mqtt.port": 99999}},
                {"set": {"models.parts.bundle": "gone"}},
                {"set": {"cameras.belt.path": ""}},
            ]
        )
        if before.decode() != self._good:  # only a whole text can be put in the place of one that is no YAML
            bad = {"text": self._break(self._good)}
        answer = self._box.send("set-config", **bad)
        self._judge("command", answer.get("error", "(accepted)"), number)
        if self._box.file.read_bytes() != before:
            self.faults.append(f"written: {bad}")

    def _judge(self, way: str, problem: str, number: int) -> None:
        self.refused[way] += 1
        if not _KEYED.search(problem) and "alias" not in problem and "gone" not in problem:
            self.faults.append(f"no key and line: {problem}")
        if self._number() != number:
            self.faults.append(f"not refused: {problem}")

    def _break(self, text: str) -> str:
        tag = self._random.randrange(10**6)  # another text each time
        return self._random.choice(
            [
                text.replace(f"fps: {self._fps}", f"fps: soon-{tag}"),
                text.replace("threads: 1", f"threads: many-{tag}"),
                text.replace("model: parts", f"model: prats-{tag}", 1),
                text.replace("level: debug", f"level: loud-{tag}"),
                text.replace("demo:conveyor", f"demo:other-{tag}:x"),
                text.replace("cameras:", f"cameras:\n  bad: *alias-{tag}", 1),
            ]
        )

    def _number(self) -> int:
        return int(self._box.status()["config"]["number"])

    def _write(self, text: str) -> None:
        temporary = self._box.file.with_suffix(".new")
        temporary.write_text(text)
        if self._random.random() < 0.5:
            temporary.replace(self._box.file)
        else:
            self._box.file.write_text(text)


def _send_secrets(box: Box) -> list[str]:
    """Commands with secrets in them, all of which must be refused; the texts of those that were not."""
    broken = box.file.read_text() + f"\nmqtt: {{password: {PLANTED[11]}\n"
    tries: list[dict[str, Any]] = [
        {"set": {"mqtt.password": PLANTED[6]}},
        {"set": {"cameras.gate.path": f"rtsp://u:{PLANTED[7]}@h/1"}},
        {"set": {"cameras.gate.path": f"http://h/1?token={PLANTED[8]}"}},
        {"set": {"device": PLANTED[4]}},
        {"set": {"mqtt.pasword": PLANTED[9]}},
        {"text": box.file.read_text().replace("user: box", f"user: box, password: {PLANTED[10]}")},
        {"text": broken},
    ]
    return [str(one) for one in tries if box.send("set-config", **one)["status"] != "error"]


@click.command()
@click.option("--count", type=click.IntRange(1), default=100, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(count: int, seed: int) -> None:
    """Edit a running daemon's configuration at random and print what became of it, as JSON."""
    with tempfile.TemporaryDirectory(prefix="edits-") as name, broker(Path(name)) as port:
        box = Box(Path(name), port)
        try:
            box.wait(lambda now: bool(now["config"]) and now["broker"]["connected"])
            started = box.process.pid, box.status()["uptime_s"]
            editor = Editor(box, seed)
            for _ in range(count):
                editor.edit()
            accepted = _send_secrets(box)
            box.file.write_text(box.file.read_text() + f"\nx: {{password: {PLANTED[11]}\n")
            box.wait(lambda now: now["config_problem"] is not None)
            pages = [box.get(path).content for path in ("/status", "/events", "/results", "/", "/readyz")]
            answers = [box.send(verb) for verb in ("get-config", "config-history", "status")]
            is_same = box.status()["uptime_s"] > started[1] and box.process.poll() is None
        finally:
            code = box.stop()
        kept = [file.read_bytes() for file in box.state.rglob("*") if file.is_file()]
        left = b"\n".join([*pages, json.dumps(answers).encode(), *box.published, box.log.read_bytes(), *kept])
    leaked = [secret for secret in PLANTED if secret.encode() in left]
    took = {
        way: {"edits": len(one), "median_s": statistics.median(one), "most_s": max(one)}
        for way, one in editor.applied_s.items()
        if one
    }
    found = {
        "edits": count, "applied": took, "refused": editor.refused, "faults": editor.faults[:20],
        "faults_in_all": len(editor.faults), "restarted": not is_same, "exit_code": code,
        "secrets_accepted": accepted, "secrets_leaked": leaked, "searched_mib": len(left) / 2**20,
    }  # fmt: skip
    click.echo(json.dumps(found, indent=2))
    raise SystemExit(1 if editor.faults or leaked or accepted or not is_same else 0)
