import hashlib

import orjson
import pytest

from edge_runtime.datatypes import Generation
from edge_runtime.deployment.model_state import Registry
from edge_runtime.deployment.rollout import Rollout
from edge_runtime.errors import StateError

BUNDLE = "parts/4"


@pytest.fixture
def registry(tmp_path):
    return Registry.open(tmp_path, "parts")


def finished_job(registry, model=b"patched"):
    folder = registry.jobs / "job" / "patch"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    digest = hashlib.sha256(model).hexdigest()
    (folder / "report.json").write_bytes(orjson.dumps({"model_sha256": digest}))
    return folder


def adopt(registry):
    patch_id = registry.new_patch_id()
    registry.adopt(finished_job(registry), patch_id)
    return patch_id


def test_starts_at_the_base(registry):
    assert registry.rollout(BUNDLE) == Rollout(Generation(BUNDLE))


def test_remembers_what_is_active(registry):
    first, second = adopt(registry), adopt(registry)
    state = Rollout(Generation(BUNDLE, second), previous=Generation(BUNDLE, first))
    registry.record(state)
    assert registry.rollout(BUNDLE) == state


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"bundle": "parts/4", "patch": "../x", "previous": null}']
)
def test_a_damaged_record_means_the_base(registry, content):
    (registry.folder / "active.json").write_bytes(content)
    assert registry.rollout(BUNDLE) == Rollout(Generation(BUNDLE))


def test_a_patch_of_another_bundle_version_is_not_used(registry):
    registry.record(Rollout(Generation(BUNDLE, adopt(registry))))
    assert registry.rollout("parts/5") == Rollout(Generation("parts/5"))


def test_a_record_of_a_missing_patch_means_the_base(registry):
    registry.record(Rollout(Generation(BUNDLE, "p9")))
    assert registry.rollout(BUNDLE) == Rollout(Generation(BUNDLE))


def test_gives_the_patched_model_only_with_the_right_hash(registry):
    patch_id = adopt(registry)
    assert registry.patched(patch_id).model.data == b"patched"
    assert registry.patched(patch_id).answers is None, "a patch of an earlier version"
    (registry.patches / patch_id / "model.onnx").write_bytes(b"patchee")
    with pytest.raises(StateError, match="does not have the hash"):
        registry.patched(patch_id)


def test_prune_keeps_the_newest_and_the_spared(registry):
    ids = [adopt(registry) for _ in range(5)]
    registry.prune(keep=2, spare={ids[0]})
    assert sorted(path.name for path in registry.patches.iterdir()) == [ids[0], ids[3], ids[4]]


def test_opening_leaves_the_job_of_a_running_daemon_alone_until_leftovers_are_cleared(registry, tmp_path):
    finished_job(registry)
    beside = Registry.open(tmp_path, "parts")
    assert len(list(beside.jobs.iterdir())) == 1
    beside.clear_jobs()
    assert list(beside.jobs.iterdir()) == []


def test_a_state_directory_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError, match="state directory"):
        Registry.open(tmp_path / "file", "parts")
