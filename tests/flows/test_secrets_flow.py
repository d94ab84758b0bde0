"""Secrets of all kinds in a whole daemon that is made to say as much as it can: none is in anything that leaves it."""

import base64
import json
import re

import httpx
import pytest
from click.testing import CliRunner

from edge_runtime.cli.main import cli
from edge_runtime.cli.remote import send_command
from edge_runtime.config import Address
from edge_runtime.messaging.commands.command_keys import make_pems
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.settings import MqttSettings
from edge_runtime.system.supervised_thread import Crashes
from tests.support.command_line import run_command
from tests.support.daemon_box import Box
from tests.support.mosquitto import Mosquitto
from tests.support.scripted_http import Answer, ScriptedServer
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

MARK = re.compile(rb"needle-\d\d-x")
"""The part of every planted secret that no encoding of a URL, of JSON or of a page changes."""
ENVIRONMENT = {
    "EDGE_MQTT": "mq/tt:needle-01-x w@rd",
    "EDGE_UNUSED": "needle-02-x",
    "EDGE_CAMERA": "#?&/needle-03-x@'\"%41",
    "EDGE_USER": "needle-04-x",
    "EDGE_PATH": "needle-05-x",
    "EDGE_QUERY": "needle-06-x&n=1",
    "EDGE_LOOKS_LIKE": "needle-07-x",
}
CREDENTIALS = "box:needle-10-x"
TOKEN = "needle-26-x.0123456789"
FILES = {
    "password": "needle-08-x\n",
    "key.pem": "-----BEGIN PRIVATE KEY-----\nneedle-09-x\n-----END PRIVATE KEY-----\n",
    "scanner.token": TOKEN,
}
TEXT = """\
# mqtt.password: needle-11-x
device: box
state_dir: {state}
http: {{port: {port}, tokens: {{scanner: {{file: scanner.token}}}}}}
log: {{level: debug}}
models:
  parts: {{bundle: demo:efficientnet-lite0}}
cameras:
  belt: {{path: demo:conveyor, model: parts, fps: 5, snapshots: true, recordings: true}}
  gate:
    path: "rtsp://viewer:{{EDGE_CAMERA}}@127.0.0.1:1/{{EDGE_PATH}}?token={{EDGE_QUERY}}"
    model: parts
    snapshots: true
  yard: {{path: "http://{{EDGE_USER}}@127.0.0.1:1/snap.jpeg", model: parts}}
  roof: {{path: "http://viewer:%2Fneedle-12-x%40@127.0.0.1:1/1?pwd=needle-13-x", model: parts}}
mqtt: {{host: 127.0.0.1, port: {broker}, commands: true, user: box, password: "{{EDGE_MQTT}}"}}
commands: {{unsigned: owner}}
bundles: {{install_from: ["oci://127.0.0.1:{registry}/lines/", "https://files.example/"]}}
"""


def echo(asked):
    """As a registry that wants credentials, and shows them in its refusal."""
    given = asked.headers.get("Authorization", "")
    wanted = {"WWW-Authenticate": 'Basic realm="needle-25-x"'} if not given else {}
    encoded = given.rpartition(" ")[2]
    told = f"{given} is {base64.b64decode(encoded).decode()}" if given else "who are you?"
    body = json.dumps({"errors": [{"code": "DENIED", "message": told}]}).encode()
    return Answer(403 if given else 401, wanted, body)


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A daemon with everything planted; ``said`` is all that it has published, answers too."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    box, box.said = Box(tmp_path), []
    with (
        Mosquitto(tmp_path / "broker", passwords={"box": ENVIRONMENT["EDGE_MQTT"]}) as broker,
        ScriptedServer(echo) as registry,
    ):
        auth = {"username": "box", "password": CREDENTIALS.partition(":")[2]}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: auth}}))
        box.registry = registry
        settings = MqttSettings(broker.host, "listener", broker.port, "box", ENVIRONMENT["EDGE_MQTT"])
        listener = MqttClient(settings, Crashes())
        listener.subscribe("edge/box/#", lambda one: "/request/" in one.topic or box.said.append(one.payload))
        listener.start()
        ports = {"port": box.port, "broker": broker.port, "registry": registry.host.rpartition(":")[2]}
        box.write(TEXT.format(state=box.state, **ports))
        box.show(TOKEN)
        box.start()
        mqtt = {"host": broker.host, "port": broker.port, "user": "box", "password": ENVIRONMENT["EDGE_MQTT"]}
        to = Address.model_validate({"device": "box", "mqtt": mqtt})
        box.send = lambda verb, **given: send_command(to, verb, given, WAIT_S)
        try:
            assert until(lambda: (box.status() or {}).get("broker", {}).get("connected")), box.log()
            yield box
        finally:
            box.process.kill()
            listener.stop()


def refuse_everything(box):
    """Edits and commands with a secret in them, each of which is refused."""
    folder, text = box.folder, box.file.read_text()
    (folder / "private.pem").write_bytes(make_pems()[1])
    edits = [
        {"set": {"mqtt.password": "needle-14-x"}},
        {"set": {"mqtt.pasword": "needle-15-x"}},
        {"set": {"cameras.gate.path": "rtsp://u:needle-16-x@127.0.0.1/1"}},
        {"set": {"cameras.gate.path": "foo://{EDGE_LOOKS_LIKE}@127.0.0.1/1"}},
        {"set": {"cameras.belt.fps": "{EDGE_UNUSED}"}},
        {"set": {"device": "needle-02-x"}},
        {"set": {"mqtt.tls": dict.fromkeys(("ca", "cert", "key"), str(folder / "key.pem"))}},
        {"set": {"commands.keys.eve": {"file": str(folder / "private.pem"), "role": "owner"}}},
        {"set": {"http.tokens.eve": {"file": str(folder / "key.pem")}}},
        {"text": text.replace("user: box,", "user: box, passwort: needle-17-x,")},
        {"text": f"{text}\nx: {{password: needle-18-x\n"},
        {"text": f"{text}\n y: 1\n  secret: needle-19-x\n"},
    ]  # fmt: skip
    answers = [box.send("set-config", **edit) for edit in edits]
    answers += [
        box.send("install", **{"from": f"oci://{box.registry.host}/lines/parts:4"}),
        box.send("install", **{"from": "https://u:needle-24-x@files.example/a.tar"}),
    ]
    assert any(asked.headers.get("Authorization") for asked in box.registry.asked), "the registry was told"
    answers += [box.send("rollback", password="needle-20-x"), box.send("logs", lines="needle-21-x")]
    assert [answer for answer in answers if answer["status"] != "error"] == []
    return answers


def ask_everything(box):
    """What every verb says that only asks, and pictures of a good camera and a broken one."""
    asked = ("status", "get-config", "config-history", "baselines", "rollout", "recalibrate", "rollback")
    password = str(box.folder / "password")
    dry = {"set": {"mqtt.password_file": password}, "remove": ["mqtt.password"], "dry_run": True}
    return [
        *(box.send(verb) for verb in asked),
        *(box.send("snapshot", camera=name) for name in ("belt", "gate", "roof")),
        box.send("set-config", **dry),
        box.send("logs", lines=500),
    ]


def test_no_secret_is_in_anything_that_leaves(box):
    broken = ("gate", "yard", "roof")
    assert until(lambda: all(box.status()["cameras"][name]["problem"] for name in broken)), box.status()
    answers = ask_everything(box) + refuse_everything(box)
    picture = next(answer["data"] for answer in answers if "jpeg" in answer.get("data", ()))
    assert (picture["camera"], base64.b64decode(picture["jpeg"])[:3]) == ("belt", b"\xff\xd8\xff")
    box.write(box.file.read_text() + "x: {password: needle-22-x}\n")
    assert until(lambda: box.status()["config_problem"])
    paths = (
        "/",
        "/status",
        "/events",
        "/log?most=500",
        "/trends",
        "/live?camera=belt",
        "/results",
        "/readyz",
        "/healthz",
        "/asyncapi.json",
        "/metrics",
        "/no?token=needle-23-x",
    )
    pages = [box.get(path).content for path in paths]
    for told in (TOKEN, "needle-27-x.0123456789"):
        headers = {"Authorization": f"Bearer {told}", "X-More": told}
        answer = httpx.post(f"http://127.0.0.1:{box.port}/predict/{told}", headers=headers, timeout=WAIT_S)
        pages += [answer.content, str(answer.headers).encode()]
    answers.append(box.send("get-config"))
    commands = (["command-log"], ["config", "history"], ["config", "diff"])
    recording = ["record", str(box.file), "--out", str(box.folder / "recording"), "--frames", "2"]
    assert run_command(*recording)[0] == 0
    printed = [CliRunner().invoke(cli, [*one, str(box.file)]).output.encode() for one in commands]
    box.process.terminate()
    assert box.wait() == 0
    folders = (box.state, box.folder / "recording")
    kept = [path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()]
    left = [*pages, *printed, *box.said, json.dumps(answers).encode(), box.log().encode(), *kept]
    assert sum(map(len, left)) > 20_000
    body = (box.folder / "private.pem").read_bytes().splitlines()[1]
    leaked = {match for text in left for match in MARK.findall(text)} | {
        body for text in left if body in text
    }
    assert leaked == set()
