import hashlib

import orjson
import pytest

from edge_runtime.datatypes import Generation
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.rollout import Rollout
from edge_runtime.errors import StateError

BUNDLE = "parts/4"


@pytest.fixture
def model_state(tmp_path):
    return ModelState.open(tmp_path, "parts")


def finished_job(model_state, model=b"patched"):
    folder = model_state.jobs / "job" / "patch"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    digest = hashlib.sha256(model).hexdigest()
    (folder / "report.json").write_bytes(orjson.dumps({"model_sha256": digest}))
    return folder


def adopt(model_state):
    patch_id = model_state.make_patch_id()
    model_state.adopt(finished_job(model_state), patch_id)
    return patch_id


def test_starts_at_the_base(model_state):
    assert model_state.load_rollout(BUNDLE) == Rollout(Generation(BUNDLE))


def test_remembers_what_is_active(model_state):
    first, second = adopt(model_state), adopt(model_state)
    state = Rollout(Generation(BUNDLE, second), previous=Generation(BUNDLE, first))
    model_state.record(state)
    assert model_state.load_rollout(BUNDLE) == state


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"bundle": "parts/4", "patch": "../x", "previous": null}']
)
def test_a_damaged_record_is_said(model_state, content):
    model_state.active_path.write_bytes(content)
    with pytest.raises(StateError):
        model_state.load_rollout(BUNDLE)


def test_a_patch_of_another_bundle_version_is_not_used(model_state):
    model_state.record(Rollout(Generation(BUNDLE, adopt(model_state))))
    assert model_state.load_rollout("parts/5") == Rollout(Generation("parts/5"))


def test_a_record_of_a_missing_patch_is_said(model_state):
    model_state.record(Rollout(Generation(BUNDLE, "p9")))
    with pytest.raises(StateError, match="p9"):
        model_state.load_rollout(BUNDLE)


def test_gives_the_patched_model_only_with_the_right_hash(model_state):
    patch_id = adopt(model_state)
    assert model_state.read_patched(patch_id).model.data == b"patched"
    assert model_state.read_patched(patch_id).answers is None, "a patch of an earlier version"
    (model_state.patches / patch_id / "model.onnx").write_bytes(b"patchee")
    with pytest.raises(StateError):
        model_state.read_patched(patch_id)


def test_prune_keeps_the_newest_and_the_spared(model_state):
    ids = [adopt(model_state) for _ in range(5)]
    model_state.prune(keep=2, spare={ids[0]})
    assert sorted(path.name for path in model_state.patches.iterdir()) == [ids[0], ids[3], ids[4]]


def test_opening_leaves_the_job_of_a_running_daemon_alone_until_leftovers_are_cleared(model_state, tmp_path):
    finished_job(model_state)
    run_in_background = ModelState.open(tmp_path, "parts")
    assert len(list(run_in_background.jobs.iterdir())) == 1
    run_in_background.clear_jobs()
    assert list(run_in_background.jobs.iterdir()) == []


def test_a_state_directory_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError):
        ModelState.open(tmp_path / "file", "parts")


def test_the_times_of_the_schedule_are_remembered(model_state):
    assert model_state.load_slots() == []
    model_state.record_slots((1.5, 2.0))
    assert model_state.load_slots() == [1.5, 2.0]


@pytest.mark.parametrize(
    "note",
    [
        b"", b"{", b"[]", b"null", b"1", b'{"came_wall_s": 1}', b'{"came_wall_s": ["x"]}', b'{"came_wall_s": [null]}',
        b'{"came_wall_s": {"a": 1}}', b"\xff\xfe", b"[" * 10_000, b'{"came_wall_s": [1' + b"0" * 400 + b"]}",
    ],
)  # fmt: skip
def test_a_damaged_note_of_the_schedule_is_none(model_state, note):
    (model_state.folder / "schedule.json").write_bytes(note)
    assert model_state.load_slots() == []
