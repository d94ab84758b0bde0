"""No secret leaves the process: shapes of secrets and of the texts they stand in, by all ways out."""

import io
import json
from types import SimpleNamespace
from urllib.parse import quote

import pytest
import structlog

from edge_runtime.cli.main import main
from edge_runtime.config import parse_config
from edge_runtime.config.load import secrets_of
from edge_runtime.daemon.health import Health
from edge_runtime.daemon.wiring.messaging import make_command_handlers
from edge_runtime.errors import CommandError, ConfigError
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.events import ConfigRefused, Event, TaskFailed
from edge_runtime.system import redaction
from edge_runtime.system.log import configure_log
from edge_runtime.system.redaction import Redactor
from tests.support.progress import Heard

YAML = """\
device: box
models: {parts: {bundle: demo:efficientnet-lite0}}
cameras: {belt: {path: %s, model: parts}}
mqtt: {host: %s, user: u, %s}
"""

SECRETS = [
    "hunter2-the-password", "with/slash", "with space", "at@sign", "co:lon", "quo'te", 'dou"ble', "back\\slash",
    "p%41ss", "ümläut-ß", "s5!x", "abc", "1234", "#hash?query&and=more", "(paren[thesis]{brace}", "--dash", "tok.en",
    "日本語の鍵",
]  # fmt: skip
TEXTS = [
    "{}", "401 for {} twice", "rtsp://admin:{}@cam:554/1", "http://cam/{}/stream", "http://cam/x?sid={}&n=1",
    "'{}'", "u:{}@host", "[{}]", "cannot open {}: refused", "a={}, b=2",
]  # fmt: skip


@pytest.fixture
def process(monkeypatch):
    """A process that knows all these."""
    known = Redactor()
    for module in (
        "edge_runtime.messaging.delivery", "edge_runtime.daemon.wiring.messaging", "edge_runtime.system.log",
        "edge_runtime.config.problems", "edge_runtime.cli.main", "edge_runtime.daemon.status",
    ):  # fmt: skip
        monkeypatch.setattr(f"{module}.PROCESS", known)
    monkeypatch.setattr(redaction, "PROCESS", known)
    return known


def forms(secret):
    return {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}


def by_log(text):
    lines = io.StringIO()
    configure_log(stream=lines)
    structlog.get_logger().warning("cannot open", reason=text, inner={"list": [text]})
    try:
        int(f"x{text}")
    except ValueError:
        structlog.get_logger().exception("failed")
    configure_log()
    return lines.getvalue()


def by_event(text):
    sent = []
    delivery = Delivery("box", lambda _: None)
    delivery.channels = (
        SimpleNamespace(outbox=SimpleNamespace(put=lambda _, payload: sent.append(payload))),
    )
    delivery.add_event(Event(0.0, ConfigRefused((text, text))))
    delivery.add_event(Event(0.0, TaskFailed("recalibrate", text, "schedule", False), "parts"))
    return b"".join(sent).decode() + json.dumps(delivery.recent_events(9), ensure_ascii=False)


def by_answer(text):
    def refuse(*_):
        raise CommandError(text)

    reporter = SimpleNamespace(status=lambda: Health(live=True, ready=False, reasons=(text,)))
    handlers = make_command_handlers(
        SimpleNamespace(request=refuse, models={"parts": None}), reporter, list, *[SimpleNamespace()] * 3
    )
    request = SimpleNamespace(arguments=SimpleNamespace(model=None))
    with pytest.raises(CommandError) as caught:
        handlers["rollback"](request).work(Heard())
    return f"{caught.value} {handlers['status'](None)}"


def by_value(text):
    return repr(
        redaction.PROCESS.value({"a": [text, (text, {"b": text})], "health": Health(True, True, (text,))})
    )


WAYS = [by_log, by_event, by_answer, by_value]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_known_secret_leaves_by_no_way(process, secret, way):
    process.learn([secret])
    for text in TEXTS:
        for form in forms(secret):
            shown = way(text.format(form))
            if len(secret) < 6 and text.format(form) == form:
                continue  # a value that is nothing but a short word
            assert not any(one in shown for one in forms(secret)), text


@pytest.mark.parametrize(
    "path",
    [
        "rtsp://admin:lit/eral-7@cam/s", "rtsp://admin:lit eral-7@cam/s", "rtsp://admin:l@t:eral-7@cam/s",
        "admin:lit-eral-7@cam", "rtsp:/admin:lit-eral-7@cam", "foo://admin:lit-eral-7@cam/x", "http://lit-eral-7@/x",
        "rtsp://admin:lit-eral-7@cam:99999/x", "http://cam:x/?password=lit-eral-7", "http://cam:x/?p=lit-eral-7&login=lit-eral-7",
        "rtsp://:lit-eral-7@/x y", "rtsp://a b:lit-eral-7@cam", "rtsp://admin:lit\teral-7@cam/s",
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["path", "host"])
def test_a_literal_secret_of_a_refused_edit_is_not_shown(process, path, where):
    shown = json.dumps(path)
    text = (
        YAML % (shown, "h", "prefix: e") if where == "path" else YAML % ("demo:conveyor", shown, "prefix: e")
    )
    with pytest.raises(ConfigError) as caught:
        parse_config(text + "no_such_key: 1\n", "box.yaml", {})
    for shown in (
        str(caught.value),
        by_event(str(caught.value)),
        *map(by_log, map(str, caught.value.problems)),
    ):
        assert "eral-7" not in shown


def test_passwords_of_the_configuration_are_known(process, tmp_path):
    (tmp_path / "password").write_text("from-a-file\n")
    env = {"EDGE_CAM": "p@ss/word", "EDGE_UNUSED": "not-in-the-file", "HOME": "/root-of-all"}
    text = YAML % (
        json.dumps("rtsp://u:lit%2Feral@cam/{EDGE_CAM}"),
        "h",
        f"password_file: {tmp_path}/password",
    )
    secrets = secrets_of(parse_config(text, "box.yaml", env), env)
    assert secrets == {"p@ss/word", "not-in-the-file", "from-a-file", "lit/eral"}


@pytest.mark.parametrize(
    "value", ["secret\r", "secret\n", "sec\tret", "sec\0ret", "\x1bsecret", "secret\x7f", "\r", "a\r\nb"]
)
@pytest.mark.parametrize("key", ["password", "path"])
def test_a_secret_with_control_characters_is_refused_in_words(value, key):
    path = '"rtsp://u:{EDGE_X}@cam/1"' if key == "path" else "demo:conveyor"
    password = 'password: "{EDGE_X}"' if key == "password" else "prefix: e"
    with pytest.raises(ConfigError) as caught:
        parse_config(YAML % (path, "h", password), "box.yaml", {"EDGE_X": value})
    (problem,) = caught.value.problems
    assert problem.where in ("mqtt.password", "cameras.belt.path")
    assert "control character" in problem.found
    assert "secret" not in str(caught.value)


@pytest.mark.integration
def test_the_command_line_hides_what_the_environment_holds(process, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("EDGE_TOKEN", "tok3n-of-the-box")
    (tmp_path / "tok3n-of-the-box.yaml").write_text("[]")
    for command in (["run"], ["send", "status", "--config"]):
        with pytest.raises(SystemExit):
            main([*command, str(tmp_path / "tok3n-of-the-box.yaml")])
    shown = capsys.readouterr()
    assert "***.yaml" in shown.err
    assert "tok3n" not in shown.err + shown.out


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("ok", "it is ok"), ("no", "no"), ("abc", "abcd"), ("abc", "xabc"), ("123", "1234 of 41235"), ("belt", "belts"),
        ("ok!", "ok"), ("x", "x"), ("", "anything"), ("parts", "parts"),
    ],
)  # fmt: skip
def test_short_secrets_hide_no_other_words(secret, text):
    assert Redactor([secret]).value(text) == text


def test_a_secret_is_known_for_good():
    redactor = Redactor(["the-first-one"])
    redactor.learn(["the-second-one"])
    assert redactor.text("the-first-one, the-second-one") == "***, ***"
