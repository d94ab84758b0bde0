"""Two models on one recording: agreement, what became of what, latency, drift, labels, and the page of it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import pytest

import calibration
from calibration.patch import Affine, Patch
from edge_runtime.cli.compare import require_own
from edge_runtime.errors import RecordingError
from edge_runtime.inference.preprocess import PicturePreprocessor, channels_first
from edge_runtime.recordings import comparison
from edge_runtime.recordings.arms import open_arm
from edge_runtime.recordings.comparison import MOST_SHOTS, compare
from edge_runtime.recordings.comparison_page import is_pace_alike, make_page, shorten_names
from edge_runtime.recordings.labels import read_labels
from edge_runtime.recordings.reader import open_recording
from tests.support.command_line import run_command
from tests.support.html_tags import parse
from tests.support.recordings import record_bundle
from tests.support.small_site import frames_of, small_bundle

pytestmark = pytest.mark.integration

FRAMES = 60
NOT_SCORED = SimpleNamespace(status=None, note="too few frames")
EVIL = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    """With a patch that changes many answers, and the baseline of the site."""
    folder = record_bundle(tmp_path_factory.mktemp("recorded") / "r", bundle, frames_of(FRAMES, 7))
    affine = Affine(np.full(3, 3.0, np.float32), np.full(3, 1.0, np.float32))
    patch = Patch({"input": affine}, bundle.model_files.sha256, "baseline", "input", 8, 0.0)
    preprocess = bundle.manifest.preprocess
    healthy = np.stack([PicturePreprocessor(preprocess).normalise(frame) for frame in frames_of(64, 100)])
    baseline = calibration.profile(bundle.model_files, channels_first(healthy, preprocess))
    for name, part in (("patches/parts/p1", patch), ("baselines/parts", baseline)):
        path = folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True)
        part.save(path)
    return folder


@pytest.fixture(scope="module")
def recording(folder):
    return open_recording(folder)


@pytest.fixture(scope="module")
def arms(bundle, recording):
    arms = open_arm(bundle.path), open_arm(bundle.path, recording.patch_path("parts", "p1"))
    yield arms
    for arm in arms:
        arm.close()


@pytest.fixture(scope="module")
def found(recording, arms):
    baseline = calibration.Baseline.load(recording.baseline_path("parts"))
    labels = {key: one.answer.top[0].label for key, one in list(recording.answers.items())[:10]}
    return compare(recording, "parts", arms, lambda _: baseline, labels)


def test_a_model_agrees_with_itself(recording, arms):
    found = compare(recording, "parts", (arms[0], arms[0]), lambda _: None)
    assert (found.agreement, found.alike, found.compared, found.changes, found.shots) == (1.0, 60, 60, (), ())
    assert found.first.name != found.second.name
    assert found.first.drift.score is None
    assert found.first.drift.note
    assert len(found.first.infer_ms) == FRAMES


def test_what_a_patch_changes_is_counted_and_shown(found):
    assert 0 < found.alike < FRAMES
    assert found.agreement == found.alike / FRAMES
    assert sum(count for *_, count in found.changes) == FRAMES - found.alike
    assert all(before != after for before, after, _ in found.changes)
    assert len(found.shots) == min(MOST_SHOTS, FRAMES - found.alike)
    assert all(shot.agreement == 0.0 and shot.picture.startswith("data:") for shot in found.shots)


def test_labels_tell_which_one_is_right(found):
    assert (found.labelled, found.first.right) == (10, 10)
    assert found.second.right < 10


def test_drift_is_that_of_the_frames_and_the_layers_those_that_answer(found):
    first, second = found.first.drift, found.second.drift
    assert first.score.status.score == second.score.status.score
    assert first.layers.keys() >= second.layers.keys() != set()
    assert second.layers["input"] > first.layers["input"]


def test_drift_is_scored_on_as_many_frames_as_fit(recording, arms, monkeypatch):
    baseline = calibration.Baseline.load(recording.baseline_path("parts"))
    shape, held = arms[0].preprocessor.spec.tensor_shape, []
    monkeypatch.setattr(comparison, "MOST_DRIFT_BYTES", 20 * 4 * np.prod(shape))
    monkeypatch.setattr(calibration, "watch_drift", lambda _, __, x: held.append(len(x)) or NOT_SCORED)
    found = compare(recording, "parts", arms, lambda arm: baseline if arm.patch is None else None)
    assert held == [20]
    assert (found.first.drift.note, found.second.drift.score) == (NOT_SCORED.note, None)


def test_arms_are_named_by_what_tells_them_apart(found, arms):
    assert shorten_names(found.first, found.second) == ("without a patch", "with p1")
    assert str(arms[1].generation) == found.second.name == "small/1+p1"


def test_a_pace_that_chance_explains_is_no_difference():
    rng = np.random.default_rng(1)
    busy = [rng.lognormal(2, 0.5, 25) for _ in range(2)]
    busy[1] *= (
        1.15 * np.median(busy[0]) / np.median(busy[1])
    )  # what a busy machine shows of a model and itself
    assert is_pace_alike(*busy)
    quiet = rng.normal(10, 0.5, 25)
    assert not is_pace_alike(quiet, quiet * 1.15 + rng.normal(0, 0.1, 25))
    assert is_pace_alike(quiet, quiet * 1.01)


def test_the_page_is_whole_and_escapes_what_it_shows(found):
    page = make_page(
        replace(found, device=EVIL, changes=((EVIL, EVIL, 1),), first=replace(found.first, name=EVIL))
    )
    tags = parse(page)
    assert "script" not in tags.seen
    assert tags.styles == []
    assert all(link.startswith("data:") for link in tags.links)
    assert len([link for link in tags.links if link.startswith("data:image")]) == len(found.shots)
    assert found.second.name in page
    assert len(page) < 1_000_000


def test_the_command_writes_the_page_and_the_figures(folder, bundle, tmp_path):
    page, labels = tmp_path / "page.html", tmp_path / "labels.csv"
    labels.write_text("frame,label\nbelt/0,zebra\nbelt/000000001.png,zebra\n")
    given = (folder, bundle.path, f"{bundle.path}+p1", "--out", page, "--labels", labels)
    code, said = run_command("compare", *given, "--json")
    told = orjson.loads(said)
    assert (code, told["compared"], told["labelled"]) == (0, FRAMES, 2)
    assert told["second"]["drift"]["score"] > 0
    assert told["first"]["latency_ms"]["p50"] > 0
    assert page.read_text().startswith("<!doctype html>")
    assert run_command("compare", folder, bundle.path, f"{bundle.path}+p9", "--out", page) == (65, "")
    assert run_command("compare", folder, bundle.path, folder / "nothing", "--out", page) == (64, "")


def test_a_baseline_of_no_compared_model_is_refused(recording):
    baseline = calibration.Baseline.load(recording.baseline_path("parts"))
    known = {baseline.model_sha256: baseline}
    require_own((Path("a"),), known, {baseline.model_sha256})
    require_own((), known, {"another"})  # that of the recording
    with pytest.raises(RecordingError, match=baseline.name):
        require_own((Path("a"),), known, {"another"})


@pytest.mark.parametrize("text", ["belt/0\n", "gate/0,a\n", "", "belt/0,a,b\n", f"belt/0,{200_000 * 'a'}\n"])
def test_labels_of_nothing_are_refused(recording, tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(RecordingError):
        read_labels(path, recording)
