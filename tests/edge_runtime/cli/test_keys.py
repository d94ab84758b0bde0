"""Commands about keys: make, rotate, revoke, list; and signing and verifying a bundle with them."""

import json
import os
import stat

import pytest

from edge_runtime.cli.main import main
from edge_runtime.config import load_config
from tests.support.signed_bundles import Publisher, build_small

CONFIG = """\
device: box   # the box
models: {parts: {bundle: demo:efficientnet-lite0}}
cameras: {belt: {path: demo:conveyor, model: parts}}
trust:
  # of the publisher
  keys: [%s]
"""


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return ended.value.code


def answer(capsys, *arguments):
    assert call(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def config(tmp_path):
    publisher = Publisher(tmp_path)
    path = tmp_path / "edge.yaml"
    path.write_text(CONFIG % publisher.public.name)
    return path


def test_a_key_is_made_for_its_owner_only_and_never_over_another_one(tmp_path, capsys):
    made = answer(capsys, "keys", "make", tmp_path / "k.pem")
    assert stat.S_IMODE((tmp_path / "k.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "k.pem.pub").stat().st_mode) & 0o044 == 0o044 & ~os.umask(os.umask(0))
    before = (tmp_path / "k.pem").read_bytes()
    assert call("keys", "make", tmp_path / "k.pem") == 78
    assert (tmp_path / "k.pem").read_bytes() == before
    assert "PRIVATE" not in json.dumps(made)
    listed = answer(capsys, "keys", "list", tmp_path / "k.pem.pub")
    assert listed["keys"] == [{"key": made["key"], "state": "", "file": str(tmp_path / "k.pem.pub")}]


def test_keys_of_callers_are_listed_with_their_roles(tmp_path, config, capsys):
    made = answer(capsys, "keys", "make", tmp_path / "anna", "--for", "commands")["key"]
    public = tmp_path / "anna.pub"
    assert answer(capsys, "keys", "list", public)["keys"] == [{"key": made, "state": "", "file": str(public)}]
    config.write_text(config.read_text() + "commands: {keys: {anna: {file: anna.pub, role: owner}}}\n")
    listed = answer(capsys, "keys", "list", "--config", config)["keys"]
    assert [one["state"] for one in listed] == ["trusted", "owner"]
    assert listed[1] == {"key": made, "state": "owner", "file": str(public)}
    public.write_text("no key")
    assert call("keys", "list", public) == 78


def test_a_bundle_is_signed_and_verified_by_key(tmp_path, capsys):
    bundle, publisher = build_small(tmp_path), Publisher(tmp_path / "keys")
    signed = answer(capsys, "bundle", "sign", bundle, "--key", publisher.private)
    assert signed["key"] == publisher.key_id
    assert call("bundle", "sign", bundle, "--key", publisher.public) == 78
    assert call("bundle", "sign", bundle, "--key", tmp_path / "gone") == 78


@pytest.mark.integration
def test_verify_with_trust_asks_for_a_signature_of_it(tmp_path, capsys):
    bundle, publisher = build_small(tmp_path), Publisher(tmp_path / "keys")
    other = Publisher(tmp_path / "other")
    assert call("bundle", "verify", bundle) == 0
    assert call("bundle", "verify", bundle, "--trust", publisher.public) == 65
    publisher.sign(bundle)
    capsys.readouterr()
    report = answer(capsys, "bundle", "verify", bundle, "--trust", other.public, "--trust", publisher.public)
    assert report["signed_by"] == publisher.key_id
    assert call("bundle", "verify", bundle, "--trust", other.public) == 65


def test_a_rotated_key_leaves_the_old_one_trusted_until_it_is_revoked(config, tmp_path, capsys):
    private = tmp_path / "publisher.pem"
    old = answer(capsys, "keys", "list", f"{private}.pub")["keys"][0]["key"]
    done = answer(capsys, "keys", "rotate", private, "--config", config)
    assert done["old_key"] == old != done["key"]
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    states = {one["key"]: one["state"] for one in answer(capsys, "keys", "list", "--config", config)["keys"]}
    assert states == {old: "trusted", done["key"]: "trusted"}
    assert call("keys", "revoke", old, "--config", config) == 0
    assert call("keys", "revoke", old, "--config", config) == 0
    capsys.readouterr()
    states = {one["key"]: one["state"] for one in answer(capsys, "keys", "list", "--config", config)["keys"]}
    assert states == {old: "revoked", done["key"]: "trusted"}
    assert load_config(config, {}).trust.revoked == (old,)
    assert "# the box" in config.read_text()
    assert "# of the publisher" in config.read_text()


def test_a_key_is_revoked_by_its_file_and_in_a_file_without_trust(tmp_path, capsys):
    publisher, config = Publisher(tmp_path), tmp_path / "edge.yaml"
    config.write_text(CONFIG.partition("trust:")[0])
    assert call("keys", "revoke", publisher.public, "--config", config) == 0
    assert load_config(config, {}).trust.revoked == (publisher.key_id,)
    capsys.readouterr()
    assert answer(capsys, "keys", "list", "--config", config)["keys"][0]["state"] == "revoked"


def test_an_interrupted_rotation_is_done_again(tmp_path):
    publisher = Publisher(tmp_path)
    (tmp_path / "publisher.pem.new").write_bytes(b"half")
    (tmp_path / "publisher.pem.new.pub").write_bytes(b"half")
    assert call("keys", "rotate", publisher.private) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "publisher.pem",
        f"publisher.pem.{publisher.key_id[:12]}",
        f"publisher.pem.{publisher.key_id[:12]}.pub",
        "publisher.pem.pub",
    ]


def test_a_trusted_key_must_be_there_when_the_configuration_is_read(config, tmp_path, capsys):
    (tmp_path / "publisher.pem.pub").unlink()
    assert call("keys", "list", "--config", config) == 78
    assert "trust.keys.0" in capsys.readouterr().err
