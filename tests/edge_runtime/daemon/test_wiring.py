"""The composition root: sources are opened, and what the disk refuses is a declared error."""

import socket
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_runtime.config import (
    CameraConfig,
    Effect,
    HttpConfig,
    PicturesConfig,
    changes,
    find_safe_config,
    parse_config,
)
from edge_runtime.daemon.lifecycle import StopRequest
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.wiring.daemon import build_daemon
from edge_runtime.daemon.wiring.editing import prove_start, restart_by_command
from edge_runtime.daemon.wiring.messaging import make_callers, make_command_handlers
from edge_runtime.daemon.wiring.models import open_model
from edge_runtime.daemon.wiring.sources import open_source
from edge_runtime.deployment.open_bundle import OpenedModel
from edge_runtime.errors import CommandError, ConfigError, SourceLost, StateError
from edge_runtime.messaging.commands.callers import Request
from edge_runtime.messaging.commands.later import Later
from edge_runtime.messaging.commands.request import ARGUMENTS
from edge_runtime.messaging.mqtt.message import Message
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.recalibration.task import Approval, TaskRequest
from edge_runtime.serving.listener import PortUnavailable
from edge_runtime.sources.base import EndOfStream
from edge_runtime.system.state_lock import lock_state_dir
from edge_runtime.system.supervised_thread import Crashes
from edge_runtime.system.systemd import SystemdNotify
from tests.support.fake_engine import FakeEngine
from tests.support.mosquitto import free_port
from tests.support.progress import Heard

TOO_LONG = "/srv/" + "x" * 300  # the file system answers with an error instead of "no"


TEXT = """
device: box
state_dir: {folder}/state
http: {{port: {port}}}
models: {{parts: {{bundle: parts}}}}
cameras: {{belt: {{path: clip.mp4, model: parts}}}}
"""


class Broker:
    """What a source needs of the MQTT client."""

    def __init__(self):
        self.handlers = []

    def subscribe(self, topic, handler, *, keeps_retain_flag):
        assert not keeps_retain_flag
        entry = (topic, handler)
        self.handlers.append(entry)
        return lambda: self.handlers.remove(entry) if entry in self.handlers else None


def open_on(broker, **options):
    topics = Topics("edge", "box")
    connection = SimpleNamespace(client=broker, topics=topics, may_answer=topics.allows_response_to)
    camera = CameraConfig(**{"path": "mqtt", "model": "parts", **options})
    return open_source("belt", camera, 7, connection=connection, answered=None, pictures=PicturesConfig())


def test_a_camera_path_that_the_disk_refuses_is_a_lost_source():
    with pytest.raises(SourceLost):
        open_on(None, path=TOO_LONG)


def test_a_folder_of_pictures_is_opened_as_such(tmp_path):
    source = open_on(None, path=str(tmp_path))
    assert not source.is_live
    source.close()


def test_a_closed_picture_stream_hears_of_no_more_pictures():
    broker = Broker()
    source = open_on(broker)
    [(topic, post)] = broker.handlers
    assert topic == "edge/box/picture/belt"
    post(Message(topic, b"jpeg"))
    frame = source.read(0)
    assert (frame.seq, frame.payload) == (7, b"jpeg")
    source.close()
    source.close()
    assert broker.handlers == []
    with pytest.raises(EndOfStream):
        source.read(0)


def test_a_retained_picture_is_not_used_and_said_to_be_ignored():
    broker = Broker()
    source = open_on(broker)
    [(topic, post)] = broker.handlers
    post(Message(topic, b"jpeg", is_retained=True))
    assert source.read(0) is None
    assert source.stats().dropped == 1
    assert "retained" in source.stats().last_problem


def test_a_daemon_that_cannot_be_made_lets_go_of_its_state_directory(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    text = """
    device: box
    state_dir: {folder}/state
    models: {{parts: {{bundle: parts}}}}
    cameras: {{belt: {{path: clip.mp4, model: parts}}}}
    mqtt: {{host: broker, tls: {{ca: {folder}/ca.pem}}}}
    """
    config = parse_config(text.format(folder=tmp_path), "box.yaml", {})
    with pytest.raises(ConfigError) as caught:
        build_daemon(config, tmp_path / "box.yaml")
    lock_state_dir(tmp_path / "state").close()
    assert caught.value.exit_code == 78  # looked at last: it keeps the frames of what failed


def test_in_safe_mode_a_broker_that_cannot_be_used_is_left_out_until_an_edit_brings_it_back(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    path = tmp_path / "box.yaml"
    path.write_text(f"""
    device: box
    state_dir: {tmp_path}/state
    http: {{port: {free_port()}}}
    mqtt: {{host: broker, commands: true, tls: {{ca: {tmp_path}/ca.pem}}}}
    """)
    config = find_safe_config(path, {})
    daemon = build_daemon(config, path, refused=ConfigError("box.yaml", ()))
    try:
        assert daemon.running.connection.client is None
        assert changes(daemon.running.config, config).paths(Effect.RECONNECT) == ("mqtt", "commands.unsigned")
    finally:
        daemon.shutdown()


def test_a_start_is_proven_to_have_its_state_directory_and_its_port(tmp_path):
    here, port = parse_config(TEXT.format(folder=tmp_path, port=free_port()), "box.yaml", {}), free_port()
    running = Running(here)
    elsewhere = here.model_copy(update={"state_dir": tmp_path / "other", "http": HttpConfig(port=port)})
    prove_start(running, here)
    prove_start(running, elsewhere)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortUnavailable):
        prove_start(running, elsewhere)
    both = here.model_copy(update={"http": HttpConfig(port=here.http.port, grpc_port=port)})
    prove_start(running, both)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortUnavailable):
        prove_start(running, both)
    with socket.create_server(("127.0.0.1", here.http.port)):  # of this process
        prove_start(running, here)
    with pytest.raises(StateError):
        prove_start(running, here.model_copy(update={"state_dir": Path("/proc/nowhere")}))


def test_a_model_whose_state_cannot_be_used_is_closed(tmp_path, monkeypatch):
    text = "models: {m: {bundle: m}}\ncameras: {belt: {path: clip.mp4, model: m}}\n"
    (tmp_path / "models").symlink_to("/proc/nowhere")  # nothing can be made there, and a link is not replaced
    config = parse_config(f"device: box\nstate_dir: {tmp_path}\n{text}", "box.yaml", {})
    engine = FakeEngine()
    opened = OpenedModel(None, None, None, None, engine)
    monkeypatch.setattr(
        "edge_runtime.daemon.wiring.models.open_bundle", lambda config, name, *, should_stop: opened
    )
    with pytest.raises(StateError, match=r"models\.m"):
        open_model(
            config, "m", bool, delivery=None, crashes=Crashes(), hand_over=list, in_force=lambda: config
        )
    assert engine.is_closed


@pytest.mark.parametrize("verb", ["approve", "bless"])
def test_the_old_name_of_approving_a_baseline_does_the_same(verb):
    sent = []
    running = SimpleNamespace(
        models={"parts": None}, request=lambda request, model: sent.append((request, model)) or {}
    )
    request = Request(ARGUMENTS[verb](model="parts", name="day"), None, None)
    handlers = make_command_handlers(running, SimpleNamespace(), list, *[SimpleNamespace()] * 3)
    assert handlers[verb](request).work(Heard()) == {}
    assert sent == [(TaskRequest("approve", approval=Approval("day")), "parts")]


@pytest.mark.parametrize("verb", ["commission", "recalibrate"])
def test_a_task_is_waited_for_where_the_caller_says_how_long(verb):
    sent = []
    running = SimpleNamespace(
        models={"parts": None},
        request=lambda request, model: sent.append(request) or {"begun": verb},
        follow=lambda request, model, timeout_s, progress: {"outcome": "goes_on", "after_s": timeout_s},
    )
    handler = make_command_handlers(running, SimpleNamespace(), list, *[SimpleNamespace()] * 3)[verb]
    at_once = handler(Request(ARGUMENTS[verb](), None, None))
    assert at_once.work(Heard()) == {"begun": verb}
    assert at_once.in_turn is not None
    later = handler(Request(ARGUMENTS[verb](timeout_s=5), None, None))
    assert isinstance(later, Later)
    assert later.work(None) == {"outcome": "goes_on", "after_s": 5.0}
    assert len(sent) == 1


def test_every_verb_that_is_understood_has_a_handler():
    assert make_command_handlers(*[SimpleNamespace()] * 6).keys() == ARGUMENTS.keys()


@pytest.mark.parametrize("env", [{"NOTIFY_SOCKET": "/run/systemd/notify"}, {}])
def test_a_restart_ends_the_process_only_where_systemd_starts_it_again(env):
    stop = StopRequest()
    restart = partial(restart_by_command, SystemdNotify(env), stop)
    handlers = make_command_handlers(*[SimpleNamespace()] * 2, restart, *[SimpleNamespace()] * 3)
    later = handlers["restart"](Request(ARGUMENTS["restart"](), None, None))
    assert not stop.was_made()
    if env:
        assert later.work(Heard()) == {"restarting": True}
    else:
        with pytest.raises(CommandError):
            later.work(Heard())
    assert stop.was_made() is bool(env)


def test_every_key_that_cannot_be_used_is_named(tmp_path):
    for name in ("anna", "otto"):
        (tmp_path / f"{name}.pub").write_text("no key")
    text = f"""device: box
models: {{m: {{bundle: m}}}}
cameras: {{belt: {{path: clip.mp4, model: m}}}}
commands: {{keys: {{anna: {{file: {tmp_path}/anna.pub}}, otto: {{file: {tmp_path}/otto.pub}}}}}}
"""
    with pytest.raises(ConfigError) as found:
        make_callers(parse_config(text, "box.yaml", {}))
    assert [one.where for one in found.value.problems] == [
        "commands.keys.anna.file",
        "commands.keys.otto.file",
    ]
    assert {one.line for one in found.value.problems} == {4}
