"""Patches are signed by the box that made them; one from elsewhere is not used."""

import shutil
import stat

import pytest

from edge_runtime.bundles.signing.patches import open_patch_signer
from edge_runtime.config.trust import TrustConfig
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.errors import StateError
from tests.edge_runtime.deployment.test_model_state import adopt
from tests.support.signed_bundles import Publisher


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "keys")


def open_state(folder, *keys, **more):
    folder.mkdir(exist_ok=True)
    signer = open_patch_signer(folder, TrustConfig(keys=keys, **more))
    return ModelState.open(folder, "parts", signer)


def copy_patch(source, target):
    """As a person does who brings a patch from another box."""
    shutil.copytree(source.patches / "p1", target.patches / "p1")


def test_a_box_uses_its_own_patch_also_after_a_restart(publisher, tmp_path):
    adopt(open_state(tmp_path / "box", publisher.public))
    again = open_state(tmp_path / "box", publisher.public, require_signed=True)
    assert again.read_patched("p1").model.data == b"patched"
    key = tmp_path / "box" / "keys" / "box.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_patch_of_another_box_is_used_only_if_its_key_is_trusted(publisher, tmp_path):
    other = open_state(tmp_path / "other", publisher.public)
    adopt(other)
    box = open_state(tmp_path / "box", publisher.public)
    copy_patch(other, box)
    with pytest.raises(StateError, match="unknown key"):
        box.read_patched("p1")
    trusting = open_state(tmp_path / "box", publisher.public, tmp_path / "other" / "keys" / "box.pem.pub")
    assert trusting.read_patched("p1").model.data == b"patched"


@pytest.mark.parametrize("name", ["report.json", "model.onnx", "patch.sig"])
def test_a_changed_patch_is_not_used(publisher, tmp_path, name):
    box = open_state(tmp_path / "box", publisher.public)
    adopt(box)
    path = box.patches / "p1" / name
    path.write_bytes(path.read_bytes()[:-2] + b" }")
    with pytest.raises(StateError):
        box.read_patched("p1")


def test_answers_that_were_added_are_not_used(publisher, tmp_path):
    box = open_state(tmp_path / "box", publisher.public)
    adopt(box)
    (box.patches / "p1" / "answers.safetensors").write_bytes(b"x")
    with pytest.raises(StateError, match="not what was signed"):
        box.read_patched("p1")


def test_pages_and_notes_may_change(publisher, tmp_path):
    box = open_state(tmp_path / "box", publisher.public)
    adopt(box)
    (box.patches / "p1" / "report.html").write_text("without pictures")
    box.withdraw("p1", "command")
    assert box.read_patched("p1")


def test_unsigned_patches_of_before_go_on_unless_signatures_are_required(publisher, tmp_path):
    adopt(open_state(tmp_path / "box"))
    assert not (tmp_path / "box" / "keys").exists()
    assert open_state(tmp_path / "box", publisher.public).read_patched("p1")
    strict = open_state(tmp_path / "box", publisher.public, require_signed=True)
    with pytest.raises(StateError, match="unsigned"):
        strict.read_patched("p1")


def test_a_revoked_box_key_is_replaced_and_its_patches_are_not_used(publisher, tmp_path):
    box = open_state(tmp_path / "box", publisher.public)
    adopt(box)
    old = box.signer.own.public.id
    again = open_state(tmp_path / "box", publisher.public, revoked=(old,))
    assert again.signer.own.public.id != old
    with pytest.raises(StateError, match="revoked"):
        again.read_patched("p1")
    assert again.read_patched(adopt(again)).model.data == b"patched"


def test_a_key_that_was_half_made_does_no_harm(publisher, tmp_path):
    (tmp_path / "box" / "keys").mkdir(parents=True)
    (tmp_path / "box" / "keys" / "box.pem.new").write_bytes(b"half")
    assert adopt(open_state(tmp_path / "box", publisher.public)) == "p1"
