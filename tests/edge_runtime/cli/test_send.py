"""A command sent over a real broker to a real command listener, as ``edge-runtime send`` does."""

import io
import time
from datetime import datetime
from functools import partial

import click
import orjson
import pytest

from edge_runtime.cli.main import cli, main
from edge_runtime.cli.remote import send_command
from edge_runtime.config import Address
from edge_runtime.errors import BrokerLost, CommandError, NoAnswer, StateError
from edge_runtime.messaging.commands.callers import Callers
from edge_runtime.messaging.commands.later import Later
from edge_runtime.messaging.commands.listener import CommandListener
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.settings import MqttSettings
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.system.supervised_thread import Crashes
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.used_transactions import UsedInMemory
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


def config(port, device="box", **keys):
    return Address.model_validate({"device": device, "mqtt": {"host": "127.0.0.1", "port": port, **keys}})


@pytest.fixture
def device(broker):
    """A device that obeys seven verbs, one of them later."""

    def refuse(request):
        raise CommandError(f"no model {request.arguments.model!r}")

    client = MqttClient(MqttSettings(broker.host, "box", broker.port), Crashes())

    def work(progress):
        progress.report({"phase": "opening", "missing": [1, 2]})
        return {"outcome": "in_force"}

    handlers = {
        "status": lambda _: {"uptime_s": 1.5},
        "recalibrate": refuse,
        "rollback": lambda _: Later(work),
        "commission": lambda request: {
            "outcome": request.arguments.name,
            "wait_s": request.arguments.timeout_s,
        },
        "undo-config": lambda request: {"wait_s": request.arguments.timeout_s},
        "get-config": lambda _: {"text": "device: box\n", "in_force": True},
        "set-config": lambda request: {"text": request.arguments.text},
    }
    commands = CommandListener(
        client,
        partial(
            CommandHandler,
            handlers,
            CommandPolicy(is_enabled=True, callers=Callers(device="box", unsigned=Role.OWNER)),
            UsedInMemory(),
        ),
        Topics("edge", "box"),
        Crashes(),
    )
    client.start()
    assert until(lambda: client.connects)
    yield client
    commands.stop()
    client.stop()


@pytest.mark.usefixtures("device")
def test_brings_the_answer_back(broker):
    answer = send_command(config(broker.port), "status", {}, timeout_s=WAIT_S)
    assert (answer["status"], answer["data"]) == ("ok", {"uptime_s": 1.5})


@pytest.mark.usefixtures("device")
def test_shows_the_progress_and_then_brings_the_answer(broker):
    shown = []
    answer = send_command(config(broker.port), "rollback", {}, timeout_s=WAIT_S, on_progress=shown.append)
    assert (answer["status"], shown) == ("ok", [{"phase": "opening", "missing": [1, 2]}])


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_a_line_for_a_person_only(broker, monkeypatch, tmp_path, is_terminal):
    path = tmp_path / "box.yaml"
    path.write_text(f"device: box\nmqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
    screen = io.StringIO()
    screen.isatty = lambda: is_terminal
    monkeypatch.setattr("sys.stderr", screen)
    assert cli(["send", "rollback", "--config", str(path)], standalone_mode=False) == 0
    assert ("opening" in screen.getvalue()) is is_terminal
    assert "missing" not in screen.getvalue()


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("outcome", "code"), [("recorded", 0), ("goes-on", 0), ("failed", 65)], ids=["done", "goes on", "failed"]
)
def test_the_outcome_of_a_task_that_is_waited_for_decides_the_exit_code(
    broker, tmp_path, capsys, outcome, code
):
    path = tmp_path / "box.yaml"
    path.write_text(f"device: box\nmqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
    command = ["send", "commission", "--wait", "--name", outcome, "--config", str(path)]
    assert cli(command, standalone_mode=False) == code
    assert orjson.loads(capsys.readouterr().out)["data"]["outcome"] == outcome


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("options", "waits_s"),
    [
        (["commission"], 0.0),
        (["commission", "--wait"], 7200.0),
        (["commission", "--wait", "5"], 5.0),
        (["undo-config"], 60.0),
        (["undo-config", "--wait"], 900.0),
        (["undo-config", "--wait", "90", "--timeout", "30"], 90.0),
    ],
)
def test_how_long_the_box_may_wait_is_independent_of_how_long_it_may_be_silent(
    broker, tmp_path, capsys, options, waits_s
):
    path = tmp_path / "box.yaml"
    path.write_text(f"device: box\nmqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
    assert cli(["send", *options, "--config", str(path)], standalone_mode=False) == 0
    assert orjson.loads(capsys.readouterr().out)["data"]["wait_s"] == waits_s


def test_what_is_answered_at_once_is_not_waited_for(tmp_path):
    with pytest.raises(click.UsageError):
        cli(["send", "status", "--wait", "--config", str(tmp_path / "box.yaml")], standalone_mode=False)


@pytest.mark.usefixtures("device")
def test_a_configuration_is_fetched_into_a_file_and_sent_back_as_a_whole(broker, tmp_path, capsys):
    path, fetched = tmp_path / "box.yaml", tmp_path / "fetched.yaml"
    path.write_text(f"device: box\nmqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")

    assert (
        cli(["send", "get-config", "--out", str(fetched), "--config", str(path)], standalone_mode=False) == 0
    )
    assert orjson.loads(capsys.readouterr().out)["data"] == {"in_force": True}
    assert fetched.read_text() == "device: box\n"

    fetched.write_text("device: box  # edited\n")
    assert (
        cli(["send", "set-config", "--text", str(fetched), "--config", str(path)], standalone_mode=False) == 0
    )
    assert orjson.loads(capsys.readouterr().out)["data"] == {"text": "device: box  # edited\n"}


def test_a_text_that_cannot_be_read_is_not_sent(tmp_path):
    text = tmp_path / "text.yaml"
    text.write_bytes(b"device: \xff\n")
    with pytest.raises(StateError):
        cli(["send", "set-config", "--text", str(text), "--config", str(text)], standalone_mode=False)
    with pytest.raises(click.UsageError):
        cli(["send", "undo-config", "--text", str(text), "--config", str(text)], standalone_mode=False)


@pytest.mark.usefixtures("device")
def test_brings_a_refusal_back_in_words(broker):
    answer = send_command(config(broker.port), "recalibrate", {"model": "x"}, timeout_s=WAIT_S)
    assert (answer["status"], answer["error"]) == ("error", "no model 'x'")


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("command", [["send", "recalibrate", "--config"], ["baseline", "list"]])
def test_a_refusal_has_an_exit_code_of_its_own(broker, command, tmp_path):
    path = tmp_path / "box.yaml"
    path.write_text(f"device: box\nmqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
    with pytest.raises(SystemExit) as ended:
        main([*command, str(path)])
    assert ended.value.code == 65


def test_a_device_that_is_not_there_is_named(broker):
    with pytest.raises(NoAnswer, match=r"other.*'status'") as caught:
        send_command(config(broker.port, device="other"), "status", {}, timeout_s=0.5)
    assert caught.value.exit_code == 69
    assert "may still have the name or the broker it was started with" in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "topic"),
    [("read edge/other/response/#", "edge/other/request/status"), ("write edge/other/request/#", None)],
    ids=["may not publish", "nobody listens"],
)
def test_a_silence_that_the_broker_explains_is_explained(tmp_path, rule, topic):
    rules = tmp_path / "acl"
    rules.write_text(f"user anna\ntopic {rule}\n")
    with Mosquitto(tmp_path, passwords={"anna": "secret"}, extra=f"acl_file {rules}") as running:
        box = config(running.port, device="other", user="anna", password="secret")
        with pytest.raises(NoAnswer) as caught:
            send_command(box, "status", {}, timeout_s=1.0)
    denied = "not authorized" in str(caught.value)
    assert denied is (topic is not None)
    assert "edge/other/request/status" in str(caught.value)


def test_a_broker_that_is_not_there_is_named():
    port = free_port()
    with pytest.raises(BrokerLost, match=str(port)):
        send_command(config(port), "status", {}, timeout_s=5)


@pytest.mark.usefixtures("device")
def test_the_availability_of_the_device_is_left_alone(broker):
    seen = []
    watcher = MqttClient(MqttSettings(broker.host, "watcher", broker.port), Crashes())
    watcher.subscribe("edge/box/availability", lambda message: seen.append(message.payload))
    watcher.start()
    assert until(lambda: watcher.connects)
    send_command(config(broker.port), "status", {}, timeout_s=WAIT_S)
    watcher.stop()
    assert seen == [b"online"]


def test_a_wrong_password_is_a_lost_broker(tmp_path):
    with Mosquitto(tmp_path / "guarded", passwords={"belt": "s3cret"}) as guarded:
        address = config(guarded.port, user="belt", password="no")
        with pytest.raises(BrokerLost, match=r"mqtt\.password"):
            send_command(address, "status", {}, timeout_s=WAIT_S)


def test_a_request_names_its_device_and_its_end(broker):
    seen = []
    watcher = MqttClient(MqttSettings(broker.host, "watcher", broker.port), Crashes())
    watcher.subscribe("edge/nobody/request/+", lambda message: seen.append(orjson.loads(message.payload)))
    watcher.start()
    assert until(lambda: watcher.connects)
    with pytest.raises(NoAnswer):
        send_command(config(broker.port, device="nobody"), "rollback", {}, timeout_s=0.1, expires_s=3600)
    assert until(lambda: seen)
    watcher.stop()
    assert seen[0]["device"] == "nobody"
    assert len(seen[0]["transaction"]) == 16
    expires_s = datetime.fromisoformat(seen[0]["expires_at"]).timestamp() - time.time()
    assert 3600 - WAIT_S < expires_s <= 3600


@pytest.fixture
def line(broker):
    """Two devices of a group, and a third that is not in it; the second one has no patch to take back."""

    def refuse(request):
        raise CommandError("there is no patch")

    def work(progress):
        progress.report({"phase": "opening"})
        return {"generation": "parts/4"}

    parts = []
    for name, groups, obey in (
        ("belt-1", ("line-3",), lambda _: Later(work)),
        ("belt-2", ("line-3",), refuse),
        ("yard", ("line-4",), lambda _: {}),
    ):
        client = MqttClient(MqttSettings(broker.host, name, broker.port), Crashes())
        policy = CommandPolicy(True, Callers(device=name, groups=frozenset(groups)))
        make = partial(
            CommandHandler, {"rollback": obey, "status": lambda _: {"n": 1}}, policy, UsedInMemory()
        )
        parts.append((CommandListener(client, make, Topics("edge", name), Crashes(), groups=groups), client))
        client.start()
    assert until(lambda: all(client.is_subscribed(f"edge/{n}/request/+") for (_, client), n in zip(
        parts, ("belt-1", "belt-2", "yard"), strict=True)))  # fmt: skip
    yield
    for commands, client in parts:
        commands.stop()
        client.stop()


@pytest.mark.usefixtures("line")
def test_a_group_is_commanded_at_once_and_each_answer_is_printed_by_its_name(broker, tmp_path, capsys):
    path = tmp_path / "me.yaml"
    path.write_text(f"device: me\nmqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
    command = ["send", "--group", "line-3", "--config", str(path), "--timeout", "2"]
    assert cli([*command, "rollback"], standalone_mode=False) == 65
    shown = orjson.loads(capsys.readouterr().out)
    assert {name: one["status"] for name, one in shown.items()} == {"belt-1": "ok", "belt-2": "error"}
    assert shown["belt-1"]["data"] == {"generation": "parts/4"}
    assert cli([*command, "status"], standalone_mode=False) == 0
    assert orjson.loads(capsys.readouterr().out).keys() == {"belt-1", "belt-2"}
    with pytest.raises(NoAnswer):
        cli([*command[:2], "line-9", *command[3:], "status"], standalone_mode=False)
    with pytest.raises(click.UsageError):
        cli([*command, "get-config", "--out", str(tmp_path / "x.yaml")], standalone_mode=False)
