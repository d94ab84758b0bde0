"""Signed commands over a real broker: by ``edge-runtime send``, and by the stock tools that docs/commands.md shows."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from functools import partial

import pytest
from click.testing import CliRunner

from edge_runtime.cli.main import cli
from edge_runtime.cli.remote import send_command
from edge_runtime.config import Address
from edge_runtime.messaging.commands.callers import Caller, Callers
from edge_runtime.messaging.commands.command_keys import load_command_key, load_signing_key, sign
from edge_runtime.messaging.commands.listener import CommandListener
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.messaging.commands.used_file import UsedFile
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.settings import MqttSettings
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.system.supervised_thread import Crashes
from tests.support.mosquitto import Mosquitto
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:python|sh)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MAKE_KEY, SHELL, PYTHON = (
    next(block for block in BLOCKS if mark in block)
    for mark in ("openssl genpkey", "openssl pkeyutl", "import paho")
)
TO_FILE = re.search(r"`(\| jq [^`]*\.jpeg[^`]*)`", PAGE)[1]
PICTURE = bytes(range(256))


class Box:
    """A device ``belt-3`` of the group ``line-3`` that obeys one operator's key only."""

    def __init__(self, broker, folder):
        make = ["keys", "make", str(folder / "anna"), "--for", "commands"]
        assert CliRunner().invoke(cli, make, standalone_mode=False).return_value == 0
        self.broker, self.folder, self.done = broker, folder, []
        self.key_file, self.key = folder / "anna", load_command_key(folder / "anna.pub")
        signers = {self.key.id: Caller("anna", Role.OPERATOR, self.key)}
        callers = Callers(device="belt-3", groups=frozenset({"line-3"}), signers=signers, unsigned=None)
        picture = {"jpeg": base64.b64encode(PICTURE).decode()}
        handlers = {"status": self._obey, "rollback": self._obey, "snapshot": lambda _: picture}
        used = UsedFile(folder / "commands.used")
        self.client = MqttClient(MqttSettings(broker.host, "belt-3", broker.port), Crashes())
        self.commands = CommandListener(
            self.client,
            partial(CommandHandler, handlers, CommandPolicy(True, callers), used),
            Topics("edge", "belt-3"),
            Crashes(),
            groups=["line-3"],
        )
        self.client.start()
        assert until(lambda: self.client.connects)

    def _obey(self, request):
        self.done.append(request.arguments)
        return {"model": getattr(request.arguments, "model", None)}

    def send(self, verb, *, key=None, **arguments):
        mqtt = {"host": "127.0.0.1", "port": self.broker.port}
        to = Address.model_validate({"device": "belt-3", "mqtt": mqtt})
        return send_command(to, verb, arguments, WAIT_S, key=key)

    def run(self, *command, **variables):
        return subprocess.run(
            [*map(str, command)],
            check=True,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            cwd=self.folder,
            env={**os.environ, **variables},
        ).stdout

    def close(self):
        self.commands.stop()
        self.client.stop()


@pytest.fixture
def box(tmp_path):
    with Mosquitto(tmp_path / "broker") as broker:
        box = Box(broker, tmp_path)
        yield box
        box.close()


def test_a_key_decides_not_the_broker(box):
    signed = box.send("rollback", key=box.key_file, model="parts")
    assert (signed["status"], signed["data"]) == ("ok", {"model": "parts"})
    assert box.send("rollback", model="parts")["status"] == "error"
    assert len(box.done) == 1


def test_the_python_of_the_page_commands_a_box_and_prints_its_answer(box):
    (box.folder / "page.py").write_text(PYTHON)
    given = ("anna", "belt-3", "rollback", '{"model": "parts"}', "127.0.0.1", box.broker.port)
    answer = json.loads(box.run(sys.executable, "page.py", *given))
    assert (answer["status"], answer["data"]) == ("ok", {"model": "parts"})
    assert len(box.done) == 1


def test_the_shell_of_the_page_commands_a_box_and_prints_its_answer(box):
    where = {"HOST": "127.0.0.1", "PORT": str(box.broker.port), "DEVICE": "belt-3", "VERB": "rollback"}
    answer = json.loads(
        box.run("bash", "-euc", SHELL, KEY="anna", KEY_ID=box.key.id, ARGUMENTS='{"model": "parts"}', **where)
    )
    assert (answer["status"], answer["data"]) == ("ok", {"model": "parts"})
    assert len(box.done) == 1


def test_the_shell_of_the_page_makes_a_file_of_a_picture(box):
    where = {"HOST": "127.0.0.1", "PORT": str(box.broker.port), "DEVICE": "belt-3", "VERB": "snapshot"}
    command = f"{SHELL.strip()} {TO_FILE}"
    box.run("bash", "-euc", command, KEY="anna", KEY_ID=box.key.id, ARGUMENTS='{"camera": "belt"}', **where)
    assert (box.folder / "belt.jpg").read_bytes() == PICTURE


def test_a_picture_is_written_into_a_file_of_its_own(box):
    config = box.folder / "box.yaml"
    config.write_text(f"device: belt-3\nmqtt: {{host: 127.0.0.1, port: {box.broker.port}}}\n")
    asked = ["send", "snapshot", "--config", str(config), "--key", str(box.key_file), "--camera", "belt"]
    out = box.folder / "belt.jpg"
    done = CliRunner().invoke(cli, [*asked, "--out", str(out)], standalone_mode=False)
    assert done.return_value == 0, done.output
    assert out.read_bytes() == PICTURE
    assert json.loads(done.output)["data"] == {}


def test_a_key_of_openssl_is_one_that_a_box_takes(tmp_path):
    command = ["bash", "-euc", MAKE_KEY]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=WAIT_S, cwd=tmp_path)
    assert done.stdout == load_command_key(tmp_path / "anna.pub").id


def test_a_group_is_commanded_with_one_message(box):
    claims = {"aud": "line-3", "exp": time.time() + 60, "jti": "g1", "verb": "status"}
    token = sign(json.dumps(claims).encode(), load_signing_key(box.key_file))
    to = ["-h", "127.0.0.1", "-p", box.broker.port, "-V", "5", "-W", "30"]
    topics = ["-t", "edge/groups/line-3/request/status", "-e", "edge/belt-3/response/all"]
    answer = json.loads(box.run("mosquitto_rr", *to, *topics, "-m", token.decode()))
    assert (answer["status"], answer["transaction"]) == ("ok", "g1")
