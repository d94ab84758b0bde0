"""Secrets are known by their place, in values that are to be set and in texts that are shown."""

import pytest

from edge_runtime.config.secret_values import find_secrets, hide_secrets
from edge_runtime.config.strict_yaml import load


@pytest.mark.parametrize("path", [
    "rtsp://viewer:hunter2@cam/1", "rtsp://hunter2@cam/1", "http://cam/x?token=hunter2", "viewer:hunter2@cam",
    "rtsp://viewer:{EDGE_A}hunter2@cam/1", "http://cam/{EDGE_A}?pwd=hunter2", "rtsp://viewer:hunter2@cam@cam/1",
])  # fmt: skip
def test_an_address_with_credentials_is_a_secret(path):
    assert list(find_secrets({"cameras": {"belt": {"path": path}}})) == ["cameras.belt.path"]


@pytest.mark.parametrize("path", [
    "rtsp://viewer:{EDGE_A}@cam/1", "rtsp://{EDGE_A}@cam/1", "http://cam/x?token={EDGE_A}", "/dev/video0", "mqtt",
    "http://cam/x?channel=1", "pictures@home",
])  # fmt: skip
def test_an_address_whose_credentials_come_from_the_environment_is_none(path):
    assert list(find_secrets({"cameras.belt.path": path})) == []


@pytest.mark.parametrize(
    "key", ["password", "passwort", "pasword", "api_key", "token", "client_secret", "PASSWORD"]
)
def test_a_value_is_a_secret_by_its_key(key):
    assert list(find_secrets({f"mqtt.{key}": "hunter2"})) == [f"mqtt.{key}"]
    assert list(find_secrets({"mqtt": {key: 4711}})) == [f"mqtt.{key}"]
    assert list(find_secrets({f"mqtt.{key}": "{EDGE_A}"})) == []


def test_a_file_that_holds_a_secret_is_none():
    assert list(find_secrets({"mqtt.password_file": "/etc/x", "mqtt.tls": {"key": "/etc/key.pem"}})) == []


@pytest.mark.parametrize("text", [
    "mqtt: {host: b, password: %s}", "mqtt: {password: '%s', host: b}", 'password: "%s" # old',
    "a:\n  token: |\n    %s\n",
    "password: [%s]", "cameras: {belt: {path: 'rtsp://u:%s@cam/1'}}", "path: http://cam/?sid=%s",
    "# password: %s\na: 1",
    "mqtt: {host: [, password: %s", "password:\n  %s\nb: [", "a: {\n  token: >\n    %s\n", "\t x: rtsp://u:%s@h/1",
])  # fmt: skip
def test_no_secret_of_a_text_is_shown_whether_it_is_yaml_or_not(text):
    assert "hunter2-xyz" not in hide_secrets(text % "hunter2-xyz")
    assert "{EDGE_A}" in hide_secrets("password: '{EDGE_A}'")


@pytest.mark.parametrize("written", [
    "password: >\n    %s\n    %s", "password: >-\n    %s %s\n    %s", 'password: "%s\n    %s"',
    'password: "%s\\\n    %s"',
    "password: '%s\n    %s'",
    "password: %s\n    %s", "password: [%s,\n    '%s\n   %s']", '"pass\\x77ord": "%s"',
    "path: \"rtsp://u:%s\\\n    %s@h/1\"", 'path: "rtsp://u:%s\\x40h/1"', 'path: "http://h/x?pwd\\x3d%s"',
    'path: "rtsp:\\/\\/u:%s\\u0040h"',
])  # fmt: skip
@pytest.mark.parametrize("before", ["", "\ufeff", "# Grün 🙂\n"])
def test_no_spelling_of_a_value_shows_it(written, before):
    text = f"{before}mqtt:\n  user: u\n  {written.replace('%s', 'hunter2-xyz')}\n  host: b # here\n"
    load(text.encode(), "")
    shown = hide_secrets(text)
    assert "hunter2" not in shown
    assert shown.startswith(f"{before}mqtt:\n  user: u\n")
    assert shown.endswith("\n  host: b # here\n")


@pytest.mark.parametrize("written", ["hunter2-xy\\x7a", "\\x68unter2-xyz", "\\u0068\\x75nter2-xyz"])
def test_a_value_with_escapes_is_not_shown(written):
    assert hide_secrets(f'a: 1\npassword: "{written}" # old\nb: 2\n') == 'a: 1\npassword: "***" # old\nb: 2\n'


def test_a_short_secret_is_not_shown_at_its_place():
    assert hide_secrets("password: ab\nhost: ab1\n") == "password: ***\nhost: ab1\n"


@pytest.mark.parametrize("text", [
    "? password\n  : %s\n  host: [\n", 'm:\n  "password"\n   : %s\n  host: [\n', "m: {password:\n%s, host: [\n",
    'm:\n  "pass\\x77ord": %s\n  host: [\n', 'm:\n  password: "\n%s\n%s"\n  host: [\n',
    "m: {a: 1, password\n: %s, b: [",
])  # fmt: skip
def test_no_secret_of_a_broken_text_is_shown_wherever_its_lines_begin(text):
    assert "hunter2" not in hide_secrets(text.replace("%s", "hunter2-xyz"))


def test_what_follows_a_secret_that_is_not_there_is_shown_of_a_broken_text():
    text = "# a word about the password\nmqtt:\n  password: {}\n  host: b\n  user: u\nx: ["
    assert hide_secrets(text.format("")) == text.format("***")


def test_everything_else_of_a_text_stays():
    text = '# the box\ndevice: box\nmqtt:\n  host: b # here\n  password: "{EDGE_A}"\n  password_file: /x\n'
    assert hide_secrets(text) == text
