"""A recording answered again: the same by the bundle's tolerance, or told frame by frame."""

import shutil
from dataclasses import replace

import numpy as np
import orjson
import pytest

from calibration.patch import Affine, Patch
from edge_runtime.errors import RecordingError
from edge_runtime.recordings import arms
from edge_runtime.recordings.arms import open_arm
from edge_runtime.recordings.reader import open_recording
from edge_runtime.recordings.replay import replay
from tests.support.command_line import run_command
from tests.support.recordings import record_bundle
from tests.support.small_site import frames_of, small_bundle

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def patch(bundle, tmp_path_factory):
    """One that changes the answers."""
    path = tmp_path_factory.mktemp("patch") / "p1.safetensors"
    affine = Affine(np.full(3, 1.5, np.float32), np.full(3, 0.5, np.float32))
    Patch({"input": affine}, bundle.model_files.sha256, "baseline", "input", 8, 0.0).save(path)
    return path


@pytest.fixture(scope="module")
def recorded(bundle, tmp_path_factory):
    return record_bundle(tmp_path_factory.mktemp("recorded") / "r", bundle, frames_of(12, 7))


@pytest.fixture
def folder(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / "copy")


class KeptOpen:
    """An engine that several replays use: opening one takes a process."""

    def __init__(self, engine):
        self.infer, self.input, self.runs_on = engine.infer, engine.input, engine.runs_on

    def close(self):
        """Later."""


@pytest.fixture(scope="module")
def arm(bundle):
    arm = open_arm(bundle.path)
    yield replace(arm, engine=KeptOpen(arm.engine))
    arm.close()


@pytest.fixture
def opened(arm, monkeypatch):
    """What the command opens: folders of bundles; one arm answers for all."""
    opened = []
    monkeypatch.setattr(arms, "open_arm", lambda folder, *_: opened.append(folder) or arm)
    return opened


def answer_again(folder, arm):
    recording = open_recording(folder)
    folder = arm.bundle.path

    def open_one(model, patch):
        return arm if patch is None else open_arm(folder, recording.patch_path(model, patch))

    [found] = replay(recording, open_one)
    return found


def edit_answers(folder, edit):
    path = folder / "answers.jsonl"
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in edit(lines)))


def test_the_same_bundle_gives_the_same_answers(folder, arm):
    found = answer_again(folder, arm)
    assert (found.compared, found.same, found.differences) == (12, 12, [])
    assert found.worst < 1e-6
    assert (found.labelled, found.labels_same) == (12, 12)
    assert found.has_same_model


def test_another_model_file_is_told(folder, bundle, arm):
    path = folder / "recording.json"
    path.write_text(path.read_text().replace(bundle.manifest.files[bundle.manifest.model], "1" * 64))
    assert not answer_again(folder, arm).has_same_model


@pytest.mark.parametrize("keeps_raw", [True, False])
def test_another_answer_is_told_with_both(folder, keeps_raw, arm):
    def edit(lines):
        wrong = lines[3]
        wrong["top"] = [{"index": 0, "label": "zebra", "score": 1.0}]
        wrong["raw"]["logits" if "logits" in wrong["raw"] else next(iter(wrong["raw"]))]["data"][0] += 1e4
        for line in lines:
            if not keeps_raw:
                del line["raw"]
        return lines

    edit_answers(folder, edit)
    found = answer_again(folder, arm)
    assert (found.compared, found.same) == (12, 11)
    assert [(one.stream, one.seq) for one in found.differences] == [("belt", 3)]
    assert "zebra" in found.differences[0].recorded


def test_a_rejection_must_have_the_same_reason(folder, arm):
    about = {"stream": "belt", "seq": 0, "model": "parts", "rejected": "empty"}
    edit_answers(folder, lambda lines: [about, *lines[1:]])
    found = answer_again(folder, arm)
    assert (found.compared, found.same, found.differences[0].gap) == (12, 11, None)


def test_frames_without_a_comparable_answer_are_counted(folder, arm):
    def edit(lines):
        lines[1]["generation"] = "small/2"
        lines[2] = {"stream": "belt", "seq": 2, "model": "parts", "rejected": "engine_error"}
        return lines[1:]

    edit_answers(folder, edit)
    found = answer_again(folder, arm)
    assert dict(found.not_compared) == {"unanswered": 1, "another version": 1, "engine_error": 1}
    assert (found.compared, found.same) == (9, 9)
    edit_answers(folder, lambda lines: [])
    with pytest.raises(RecordingError, match="no frame with an answer"):
        answer_again(folder, arm)


def test_a_patch_answers_what_it_answered(bundle, patch, tmp_path, arm):
    folder = record_bundle(tmp_path / "r", bundle, frames_of(6, 7), patch=patch)
    with pytest.raises(RecordingError, match=r"p1\.safetensors"):
        answer_again(folder, arm)
    kept = folder / "patches" / "parts" / "p1.safetensors"
    kept.parent.mkdir(parents=True)
    shutil.copy(patch, kept)
    found = answer_again(folder, arm)
    assert (found.compared, found.same) == (6, 6)
    assert dict(found.generations) == {"small/1+p1": 6}


def test_a_recording_names_no_patch_outside_of_itself(folder, patch, bundle, opened):
    """The line of an answer comes from a stranger, and its patch becomes a part of a path."""
    outside = folder.parent / "p1.safetensors"
    shutil.copy(patch, outside)
    for name in ("../../../p1", outside.with_suffix("")):
        edit_answers(
            folder, lambda lines, name=name: [{**line, "generation": f"small/1+{name}"} for line in lines]
        )
        assert run_command("replay", folder, "--bundle", bundle.path) == (65, "")
    assert opened == 2 * [bundle.path]  # the model without a patch


def test_what_a_stranger_wrote_does_not_steer_the_terminal(folder, bundle, opened, capsys):
    evil = "\x1b]0;x\x07\x9b31m"

    def edit(lines):
        lines[0]["top"][0]["label"] = evil
        lines[0]["raw"] = None
        lines[0]["top"][0]["score"] += 9
        return [*lines[:2], {"stream": "belt", "seq": 2, "model": "parts", "rejected": evil}, *lines[3:]]

    edit_answers(folder, edit)
    code, said = run_command("replay", folder, "--bundle", bundle.path)
    assert (code, evil in said, "?]0;x??31m" in said) == (65, False, True)
    path = folder / "recording.json"
    note = orjson.loads(path.read_bytes())
    note["models"]["parts"]["folder"] = evil
    path.write_bytes(orjson.dumps(note))
    assert run_command("replay", folder)[0] == 65
    assert "\x1b" not in capsys.readouterr().err
    assert opened == [bundle.path]


def test_the_recorded_version_answers(folder, bundle, opened, tmp_path):
    """The bundle may be named by the folder of its versions, by a configuration, or as an installed one."""
    store = tmp_path / "state" / "bundles" / "small"
    for version in ("1", "2"):
        (store / version).mkdir(parents=True)
    models = {"parts": {"bundle": "small"}}
    cameras = {"belt": {"path": "demo:conveyor", "model": "parts"}}
    config = tmp_path / "box.yaml"
    keys = {"device": "box", "state_dir": str(tmp_path / "state"), "models": models, "cameras": cameras}
    config.write_bytes(orjson.dumps(keys))
    named = (["--bundle", store], ["--config", config], ["--config", config, "--bundle", "parts=small"])
    for given in named:
        assert run_command("replay", folder, *given)[0] == 0
    assert opened == len(named) * [store / "1"]
    path = folder / "recording.json"
    path.write_text(path.read_text().replace("small/1", "small/x"))
    assert run_command("replay", folder, "--bundle", store) == (65, "")


def test_a_bundle_that_is_not_here_is_told(folder, bundle, monkeypatch):
    path = folder / "recording.json"
    note = orjson.loads(path.read_bytes())
    shutil.copytree(bundle.path, folder / "brought" / "1")
    monkeypatch.chdir(folder)
    for named in ("/srv/nowhere", "/" + "x" * 5000, "/\0", "brought", "brought/1", str(folder / "brought")):
        note["models"]["parts"]["folder"] = named
        path.write_bytes(orjson.dumps(note))
        assert run_command("replay", folder) == (65, "")


def test_the_command_says_it_by_its_exit_code(folder, bundle):
    code, said = run_command("replay", folder, "--json")
    answer = orjson.loads(said)
    assert (code, answer["same"], answer["models"][0]["compared"]) == (0, True, 12)
    edit_answers(folder, lambda lines: [{**lines[0], "raw": None, "rejected": "empty"}, *lines[1:]])
    code, said = run_command("replay", folder, "--bundle", f"parts={bundle.path}")
    assert (code, "11 of 12" in said) == (65, True)
    assert run_command("replay", folder, "--bundle", f"other={bundle.path}") == (64, "")
    empty = folder / "frames"
    assert run_command("replay", empty) == (65, "")
