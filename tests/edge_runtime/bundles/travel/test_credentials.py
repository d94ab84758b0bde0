import base64
import json

import pytest

from edge_runtime.bundles.travel.credentials import Credentials, find_credentials
from edge_runtime.errors import RegistryRefused
from edge_runtime.system.redaction import PROCESS

JOE = base64.b64encode(b"joe:pa:ss-word-1").decode()


def find(tmp_path, content, host="host:5000"):
    (tmp_path / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return find_credentials(host, {"DOCKER_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    "auths",
    [
        {"host:5000": {"auth": JOE}},
        {"https://host:5000": {"auth": JOE}},
        {"https://host:5000/v1/": {"auth": JOE}},
        {"host:5000": {"username": "joe", "password": "pa:ss-word-1"}},
    ],
)
def test_what_docker_wrote_is_read_and_hidden_from_the_log(tmp_path, auths):
    assert find(tmp_path, {"auths": auths}) == Credentials("joe", "pa:ss-word-1")
    assert "pa:ss" not in PROCESS.text("login with pa:ss-word-1")
    assert "pa:ss" not in repr(Credentials("joe", "pa:ss-word-1"))


def test_another_host_or_no_file_has_none(tmp_path):
    assert find(tmp_path, {"auths": {"host": {"auth": JOE}}, "HttpHeaders": {"a": "b"}}) is None
    assert find_credentials("host", {"HOME": str(tmp_path / "nobody")}) is None


def test_the_places_are_dockers_and_podmans(tmp_path):
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {"h": {"auth": JOE}}}))
    assert find_credentials("h", {"HOME": str(tmp_path)})
    other = tmp_path / "auth.json"
    other.write_text("{}")
    assert find_credentials("h", {"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(other)}) is None
    with pytest.raises(RegistryRefused):
        find_credentials("h", {"REGISTRY_AUTH_FILE": str(tmp_path / "gone")})


def test_docker_hub_is_kept_under_its_old_address(tmp_path):
    kept = {"auths": {"https://index.docker.io/v1/": {"auth": JOE}}}
    assert find(tmp_path, kept, "docker.io") == Credentials("joe", "pa:ss-word-1")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "[" * 100_000, {"auths": {"host:5000": {"auth": "*"}}}, {"auths": []},
     {"auths": {"host:5000": {"auth": base64.b64encode(b"secret-without-colon").decode()}}},
     {"auths": {"host:5000": {"identitytoken": "x" * 20}}}, {"credsStore": "../evil"}],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_without_its_content(tmp_path, content):
    with pytest.raises(RegistryRefused) as caught:
        find(tmp_path, content)
    assert "secret-without-colon" not in str(caught.value)


HELPER = """#!/bin/sh
read host
case $host in
known) echo '{"ServerURL":"known","Username":"joe","Secret":"from-the-helper"}' ;;
broken) exit 3 ;;
*) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""


@pytest.mark.integration
def test_a_helper_program_is_asked(tmp_path, monkeypatch):
    helper = tmp_path / "docker-credential-tests"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    kept = {"auths": {"known": {}}, "credsStore": "tests", "credHelpers": {"other": "absent"}}
    assert find(tmp_path, kept, "known") == Credentials("joe", "from-the-helper")
    assert find(tmp_path, kept, "unknown") is None
    for host in ("broken", "other"):
        with pytest.raises(RegistryRefused):
            find(tmp_path, kept, host)
